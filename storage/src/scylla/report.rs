//! What the CQL servers say of themselves, for operators who look at an installation.

use jiff::Timestamp;
use scylla::client::session::Session;

use super::failure::refused;
use super::options::ScyllaOptions;
use super::session::open;
use super::value::damaged;
use crate::StoreError;

/// How the CQL servers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CqlReport {
    /// The version of Cassandra that the server is, or behaves like.
    pub release: String,
    /// The version of ScyllaDB, if that is what it is.
    pub scylla: Option<String>,
    /// Servers of the cluster.
    pub servers: usize,
    /// Those of them that take connections from here.
    pub connected: usize,
    /// By how many milliseconds this machine's clock is ahead, without what the question took; below 0 if it is behind.
    pub clock_ahead: i64,
}

/// Asks a server of the cluster. Needs no keyspace, and changes nothing.
pub async fn report(options: &ScyllaOptions) -> Result<CqlReport, StoreError> {
    let session = open(options, None).await?;
    let asked = Timestamp::now().as_millisecond();
    let select = "SELECT release_version, toUnixTimestamp(now()) FROM system.local";
    let rows =
        session.query_unpaged(select, ()).await.map_err(refused)?.into_rows_result().map_err(damaged)?;
    let answered = Timestamp::now().as_millisecond();
    let (release, server) = rows.first_row::<(String, i64)>().map_err(damaged)?;
    let scylla = scylla_version(&session).await;
    let cluster = session.get_cluster_state();
    let servers = cluster.get_nodes_info();
    Ok(CqlReport {
        release,
        scylla,
        servers: servers.len(),
        connected: servers.iter().filter(|server| server.is_connected()).count(),
        clock_ahead: (asked - server).max(0) + (answered - server).min(0),
    })
}

/// Cassandra has no such table.
async fn scylla_version(session: &Session) -> Option<String> {
    let select = "SELECT version FROM system.versions WHERE key = 'local'";
    let rows = session.query_unpaged(select, ()).await.ok()?.into_rows_result().ok()?;
    rows.maybe_first_row::<(String,)>().ok()?.map(|(version,)| version)
}
