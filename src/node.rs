//! A node: the only place where everything is put together, and where it is taken apart again in order.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use mundotango_actors::{Engine, EngineParts};
use mundotango_gateway::tokens::Tokens;
use mundotango_gateway::{GatewayParts, HealthCheck, PartHealth, Revocations, TokenAuthenticator};
use mundotango_storage::embedded::EmbeddedStore;
use mundotango_storage::hot::MemoryHotState;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::community::{self, Community};
use crate::config::Config;

/// What a client sees as the server's version.
pub const VERSION: &str = concat!("MundoTango ", env!("CARGO_PKG_VERSION"));
/// Where the embedded store lies in the data folder.
const STORE_FOLDER: &str = "store";
/// Where hot state waits for the next start.
const HOT_STATE_FILE: &str = "hot-state";
/// Tells other commands of the running node.
const NODE_FILE: &str = "node.json";
/// How often expired hot state is cleared away.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// What a running node tells other commands on its data folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeFile {
    /// The node's process.
    pub pid: u32,
    /// Where it listens.
    pub listen: SocketAddr,
}

impl NodeFile {
    /// What the node that runs on a data folder says of itself, if one does.
    pub fn read(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(data_dir.join(NODE_FILE)).ok()?).ok()
    }

    fn write(&self, data_dir: &Path) -> anyhow::Result<()> {
        let path = data_dir.join(NODE_FILE);
        let temporary = path.with_extension("new");
        fs::write(&temporary, serde_json::to_vec(self)?)
            .and_then(|()| fs::rename(&temporary, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Where the embedded store of a data folder lies.
pub fn store_path(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join(STORE_FOLDER)
}

struct NodeHealth {
    store: Arc<EmbeddedStore>,
}

#[async_trait]
impl HealthCheck for NodeHealth {
    async fn parts(&self) -> Vec<PartHealth> {
        let detail = self.store.failure();
        vec![PartHealth { name: "store", healthy: detail.is_none(), detail }]
    }
}

/// Runs a node until a signal or a failure ends it.
///
/// The first SIGTERM or SIGINT drains it: no new connections, clients told to come back elsewhere, accepted work
/// finished, the store closed. A second signal ends it at once.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    config.check()?;
    // The keys of tokens may come over TLS. Another part of the process may have chosen the same already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    allow_open_files(config.http.max_connections);
    let data_dir = config.data_dir.clone();
    fs::create_dir_all(&data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let store = EmbeddedStore::open(&store_path(&data_dir), &config.store)?;
    let store = Arc::new(store);
    let secret = config.auth.secret_or_made(&data_dir)?;
    let tokens = Tokens::new(secret.expose().as_bytes(), config.auth.access_token_ttl);
    let tokens = Arc::new(tokens.with_keys(&config.auth.token)?);
    let revocations = Revocations::load(store.stores().revocations).await.context("revocations not read")?;
    let revocations = Arc::new(revocations);
    let authenticator = Arc::new(TokenAuthenticator::new(Arc::clone(&tokens), Arc::clone(&revocations)));

    let hot = Arc::new(MemoryHotState::new());
    match hot.restore(&data_dir.join(HOT_STATE_FILE)) {
        Ok(channels) => tracing::debug!(channels, "channel histories restored"),
        // Clients learn it by the epochs that change.
        Err(error) => tracing::warn!(%error, "channel histories not restored"),
    }
    let engine = Engine::start(EngineParts {
        version: VERSION.to_owned(),
        session_options: config.session.clone(),
        channels_options: config.channels.clone(),
        hot: Arc::<MemoryHotState>::clone(&hot),
        authenticator: Arc::<TokenAuthenticator>::clone(&authenticator),
    })
    .await
    .context("the supervision tree did not start")?;
    let community = Community::new(
        store.stores(),
        Arc::clone(&engine),
        Arc::clone(&tokens),
        Arc::clone(&revocations),
        &config.auth,
    )?;
    let router = mundotango_gateway::router(
        &config.http,
        GatewayParts {
            engine: Arc::clone(&engine),
            authenticator,
            revocations: Arc::clone(&revocations),
            health: Arc::new(NodeHealth { store: Arc::clone(&store) }),
            application: community::router(Arc::new(community)),
            version: VERSION.to_owned(),
        },
    );

    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let listen = listener.local_addr()?;
    NodeFile { pid: std::process::id(), listen }.write(&data_dir)?;
    tracing::info!(%listen, data_dir = %data_dir.display(), version = VERSION, "serving");
    print_welcome(listen, &data_dir);

    let sweeping = tokio::spawn(sweep(Arc::clone(&hot)));
    let (stop, stopped) = watch::channel(false);
    let drain = config.drain.clone();
    let accepting = tokio::spawn(async move {
        let mut stopped = stopped;
        let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        mundotango_gateway::serve(listener, router, &config.http, stop, config.drain.deadline).await;
    });

    let failed = tokio::select! {
        signal = next_signal() => {
            tracing::info!(signal = signal?, "draining");
            false
        }
        () = engine.failed() => true,
    };
    let draining = async {
        // Sessions end first: their last calls are requests that the accept loop then waits for.
        stop.send_replace(true);
        engine.drain(drain.window, drain.deadline).await;
        if let Err(error) = accepting.await {
            tracing::error!(%error, "accept loop failed");
        }
        sweeping.abort();
        if let Err(error) = hot.save(&data_dir.join(HOT_STATE_FILE)) {
            tracing::warn!(%error, "channel histories not saved");
        }
        tokio::task::spawn_blocking(move || store.close()).await
    };
    let drained = tokio::select! {
        drained = tokio::time::timeout(drain.deadline * 2, draining) => drained,
        _ = next_signal() => anyhow::bail!("ended at once by a second signal"),
    };
    // A leftover is harmless: its process is gone.
    let _ = fs::remove_file(data_dir.join(NODE_FILE));
    drained.context("not drained within the deadline")?.context("the store was not closed")?;
    anyhow::ensure!(!failed, "the supervision tree failed more often than it may");
    tracing::info!("drained");
    Ok(())
}

/// Raises the process' limit of open files as far as it may be, as many systems begin with 1,024: each connection is one.
fn allow_open_files(connections: usize) {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) if files < connections as u64 => {
            tracing::warn!(files, connections, "fewer open files allowed than http.max_connections wants");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "limit of open files not raised"),
    }
}

async fn next_signal() -> anyhow::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

async fn sweep(hot: Arc<MemoryHotState>) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        interval.tick().await;
        hot.sweep();
    }
}

/// Tells a person at a terminal what to do next. Goes to standard output; logs go to standard error.
fn print_welcome(listen: SocketAddr, data_dir: &Path) {
    println!(
        "\n  {VERSION} serves http://{listen}, docs at http://{listen}/api/docs, data in {data}\n\n  \
         curl -s http://{listen}/api/auth/register -H 'content-type: application/json' \\\n    \
         -d '{{\"email\":\"ana@example.com\",\"password\":\"abrazo-1234\",\"username\":\"ana\",\"fullName\":\"Ana\"}}'\n\n  \
         const client = new Centrifuge('ws://{listen}/connection/websocket', {{ token }}); client.connect()\n",
        data = data_dir.display()
    );
}
