//! Opens the session anew when all connections are lost and a server is there again. The driver would come back by
//! itself, but its pause between two attempts grows to 10 s, and that cannot be set.

use std::sync::Weak;
use std::time::Duration;

use futures_util::future::select_ok;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::options::ScyllaOptions;
use super::session::Cql;

/// How often it is looked whether there are connections.
const LOOK: Duration = Duration::from_millis(500);
/// How long a server that is there takes to take a connection.
const TAKES_WITHIN: Duration = Duration::from_secs(1);

/// Looks after a session until it is dropped.
pub(super) async fn look_after(cql: Weak<Cql>, options: ScyllaOptions) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(cql) = cql.upgrade() else { return };
        if cql.connected() > 0 || !is_there(&options.nodes).await {
            continue;
        }
        match cql.reopen(&options).await {
            Ok(()) => tracing::info!("connected with the CQL servers anew"),
            Err(error) => tracing::debug!(%error, "session not opened anew"),
        }
    }
}

/// Whether any of the servers takes connections.
async fn is_there(nodes: &[String]) -> bool {
    let knocking = nodes.iter().map(|node| Box::pin(TcpStream::connect(node)));
    matches!(timeout(TAKES_WITHIN, select_ok(knocking)).await, Ok(Ok(_)))
}
