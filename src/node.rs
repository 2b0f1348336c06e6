//! A node: the only place where everything is put together, and where it is taken apart again in order.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use mundotango_actors::{Engine, EngineParts};
use mundotango_gateway::tokens::Tokens;
use mundotango_gateway::{GatewayParts, Revocations, Starting, TokenAuthenticator};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::community::{self, Community};
use crate::config::Config;
use crate::engines::Engines;
use crate::invalidations;
use crate::life_ceo;

/// What a client sees as the server's version.
pub const VERSION: &str = concat!("MundoTango ", env!("CARGO_PKG_VERSION"));
/// Open files that are neither clients' nor the embedded store's: above all connections to engines.
const OWN_FILES: usize = 64;
/// Tells other commands of the running node.
const NODE_FILE: &str = "node.json";

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

/// Runs a node until a signal or a failure ends it.
///
/// The first SIGTERM or SIGINT drains it: no new connections, clients told to come back elsewhere, accepted work
/// finished, the store closed. A second signal ends it at once.
pub async fn serve(mut config: Config) -> anyhow::Result<()> {
    config.check()?;
    // The keys of tokens may come over TLS. Another part of the process may have chosen the same already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    fit_open_files(&mut config);
    let data_dir = config.data_dir.clone();
    fs::create_dir_all(&data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let own = if config.cluster.is_shared() { None } else { Some(Engines::open_own(&config)?) };

    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let listen = listener.local_addr()?;
    NodeFile { pid: std::process::id(), listen }.write(&data_dir)?;
    let starting = Arc::new(Starting::default());
    let (stop, stopped) = watch::channel(false);
    let drain = config.drain.clone();
    let accepting = tokio::spawn({
        let (router, http, deadline) = (starting.router(), config.http.clone(), drain.deadline);
        let mut stopped = stopped;
        let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        async move { mundotango_gateway::serve(listener, router, &http, stop, deadline).await }
    });
    let mut signals = Signals::new()?;

    let engines = if let Some(engines) = own {
        engines
    } else {
        tokio::select! {
            engines = Engines::connect(&config.cluster, config.node_name(listen), &starting) => engines?,
            signal = signals.next() => {
                tracing::info!(signal, "ended while it waited for the parts of the cluster");
                let _ = fs::remove_file(data_dir.join(NODE_FILE));
                return Ok(());
            }
        }
    };
    let (engine, router) = assemble(&config, &engines).await?;
    starting.ready(router);
    tracing::info!(%listen, node = engine.node_id(), data_dir = %data_dir.display(), version = VERSION, "serving");
    print_welcome(listen, &data_dir);

    let failed = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "draining");
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
        tokio::task::spawn_blocking(move || engines.close()).await
    };
    let drained = tokio::select! {
        drained = tokio::time::timeout(drain.deadline * 2, draining) => drained,
        _ = signals.next() => anyhow::bail!("ended at once by a second signal"),
    };
    // A leftover is harmless: its process is gone.
    let _ = fs::remove_file(data_dir.join(NODE_FILE));
    drained.context("not drained within the deadline")?.context("the store was not closed")?;
    anyhow::ensure!(!failed, "the supervision tree failed more often than it may");
    tracing::info!("drained");
    Ok(())
}

/// Puts the node together on its engines.
async fn assemble(config: &Config, engines: &Engines) -> anyhow::Result<(Arc<Engine>, axum::Router)> {
    let secret = config.auth.secret_or_made(&config.data_dir)?;
    let tokens = Tokens::new(secret.expose().as_bytes(), config.auth.access_token_ttl);
    let tokens = Arc::new(tokens.with_keys(&config.auth.token)?);
    let revocations = Revocations::load(Arc::clone(&engines.stores.revocations)).await;
    let revocations = Arc::new(revocations.context("revocations not read")?);
    let authenticator = Arc::new(TokenAuthenticator::new(Arc::clone(&tokens), Arc::clone(&revocations)));
    let engine = Engine::start(EngineParts {
        node: engines.node.clone(),
        version: VERSION.to_owned(),
        session_options: config.session.clone(),
        channels_options: config.channels.clone(),
        hot: Arc::clone(&engines.hot),
        authenticator: Arc::<TokenAuthenticator>::clone(&authenticator),
    })
    .await
    .context("the supervision tree did not start")?;
    revocations.join(&engine);
    if let Some(cache) = &engines.cache {
        invalidations::connect(cache, &engine);
    }
    let life_ceo = life_ceo::router(Arc::clone(&engines.stores.conversations), Arc::clone(&engine));
    let stores = engines.stores.clone();
    let community =
        Community::new(stores, Arc::clone(&engine), tokens, Arc::clone(&revocations), &config.auth)?;
    let router = mundotango_gateway::router(
        &config.http,
        GatewayParts {
            engine: Arc::clone(&engine),
            authenticator,
            revocations,
            health: Arc::clone(&engines.health),
            application: community::router(Arc::new(community)).merge(life_ceo),
            version: VERSION.to_owned(),
        },
    );
    Ok((engine, router))
}

/// Raises the process' limit of open files as far as it may be, as many systems begin with 1,024, and has the store and
/// clients make do with it: each connection is an open file.
fn fit_open_files(config: &mut Config) {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        tracing::warn!(%error, "limit of open files not known");
        u64::MAX
    });
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    config.store.max_open_files = config.store.max_open_files.min(files / 4);
    let possible = files.saturating_sub(config.store.max_open_files + OWN_FILES).max(1);
    let wanted = config.http.max_connections;
    if possible < wanted {
        tracing::warn!(
            files,
            possible,
            wanted,
            "fewer connections than http.max_connections, as no more files may be open"
        );
        config.http.max_connections = possible;
    }
}

/// The signals that end a node.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
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
