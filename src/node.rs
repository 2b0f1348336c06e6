//! A node: the only place where everything is put together, and where it is taken apart again in order.

mod work;

use std::io;
use std::io::{IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use mundotango_actors::{Engine, EngineParts, Pace};
use mundotango_gateway::tokens::Tokens;
use mundotango_gateway::{
    Certificates, Door, GatewayParts, HttpOptions, Revocations, Routers, Starting, TokenAuthenticator,
};
use mundotango_jobs::{Jobs, Pools, Schedules, Wakes};
use mundotango_ops::traces::{self, Instance, TracesOptions};
use mundotango_push::Pusher;
use mundotango_storage::db::Db;
use mundotango_storage::scylla;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use utoipa_axum::router::OpenApiRouter;

use self::work::{of_admins, queues, sagas, schedules};
use crate::analytics::counters::Counters;
use crate::analytics::{self, Analytics};
use crate::chosen_traces;
use crate::community::audit::store::AuditStore;
use crate::community::chat;
use crate::community::effects::{Effect, Effects};
use crate::community::events::tickets::Tickets;
use crate::community::housing::bookings::stays::Stays;
use crate::community::letters::{self, Letters};
use crate::community::notifications::ladder::{self, Teller};
use crate::community::notifications::preferences::PreferenceStore;
use crate::community::payments;
use crate::community::payments::payable::Payables;
use crate::community::payments::quote::Purpose;
use crate::community::payments::service::Payments;
use crate::community::personal_data;
use crate::community::personal_data::sweep::Visits;
use crate::community::posts::previews;
use crate::community::search::sources::sources;
use crate::community::site::Site;
use crate::community::{self, Community, CommunityParts, roles};
use crate::config::{Config, ConfigSource};
use crate::data_folder;
use crate::doctor;
use crate::email::{
    FolderTransport, MailTransport, SendgridTransport, SesTransport, SmtpTransport, Transport,
};
use crate::engines::Engines;
use crate::export_route;
use crate::invalidations;
use crate::jobs_routes;
use crate::life_ceo;
use crate::mail_routes;
use crate::node_file::NodeFile;
use crate::open_files::fit_open_files;
use crate::relay::Relay;
use crate::schema::catalogue;
use crate::search::log::ChangeLog;
use crate::search::{self, Searcher};
use crate::secrets;
use crate::server_reads;
use crate::service_manager::ServiceManager;
use crate::signals::Signals;

/// What a client sees as the server's version.
pub const VERSION: &str = concat!("MundoTango ", env!("CARGO_PKG_VERSION"));
/// How long a node that has drained waits for the collector of traces.
const TRACES_FLUSH: Duration = Duration::from_secs(2);

/// Runs a node until a signal or a failure ends it. SIGHUP reads the configuration again from `source`.
///
/// The first SIGTERM or SIGINT drains it: no new connections, clients told to come back elsewhere, accepted work
/// finished, the store closed. A second signal ends it at once. With `accept_loss` it also starts on a data folder in which
/// something is missing.
pub async fn serve(mut config: Config, source: &ConfigSource, accept_loss: bool) -> anyhow::Result<()> {
    config.check()?;
    let mut signals = Signals::new()?;
    let manager = ServiceManager::of_environment();
    let configured = Arc::new(config.clone());
    fit_open_files(&mut config);
    // An address that is taken must not leave a new data folder behind, nor a certificate that cannot be used.
    let certificates = Certificates::load(&config.http.tls)?;
    let listeners = Listeners::bind(&config, certificates.as_deref())?;
    let data_dir = config.data_dir.clone();
    if let Err(error) = data_folder::make(&data_dir) {
        // A node of a cluster keeps nothing on its own disk.
        anyhow::ensure!(config.cluster.is_shared(), "{error:#}");
    }
    let own = if config.cluster.is_shared() { None } else { Some(Engines::open_own(&config, accept_loss)?) };

    let (listen, internal) = listeners.addresses()?;
    if let Err(error) = (NodeFile { pid: std::process::id(), listen, internal }).write(&data_dir) {
        anyhow::ensure!(config.cluster.is_shared(), "{error:#}");
        tracing::info!(
            "the data folder cannot be written, which a node of a cluster does not need: {error:#}"
        );
    }
    let starting = Arc::new(Starting::default());
    let drain = config.drain.clone();
    let open = listeners.open(starting.routers(), &config.http, drain.deadline);
    let reloaded: Arc<OnceLock<Arc<Pools>>> = Arc::default();
    signals.attend(source.clone(), certificates.clone(), manager.clone(), {
        let reloaded = Arc::clone(&reloaded);
        move |config| {
            if let Some(pools) = reloaded.get() {
                for (queue, size) in queues(&config.jobs) {
                    pools.set_concurrency(queue.name, size);
                }
            }
        }
    });
    let watchdog = tokio::spawn({
        // The service manager itself restarts a node that gives no sign of life.
        let manager = manager.clone();
        async move { manager.keep_watch().await }
    });

    let engines = if let Some(engines) = own {
        engines
    } else {
        tokio::select! {
            engines = Engines::connect(&config.cluster, config.node_name(listen), &starting) => engines?,
            signal = signals.next() => {
                tracing::info!(signal, "ended while it waited for the parts of the cluster");
                NodeFile::remove(&data_dir);
                return Ok(());
            }
        }
    };
    start_traces(&config.traces, &engines)?;
    let findings = doctor::router(configured, source.file.clone(), Arc::clone(&engines.health));
    let Assembled { engine, pools, routers } = assemble(&config, &engines, findings).await?;
    // Queues of a node that still starts have the size of the configuration that it started with.
    let _ = reloaded.set(Arc::clone(&pools));
    engines.look_after(&engine);
    if let Some(certificates) = certificates.clone() {
        engine.keep_running("certificates", Pace::Timed, move |vitals| {
            let certificates = Arc::clone(&certificates);
            Box::pin(async move { certificates.watch(|| vitals.handled()).await })
        });
    }
    let running = routers.running.clone();
    starting.ready(routers);
    tracing::info!(%listen, ?internal, node = engine.node_id(), data_dir = %data_dir.display(), version = VERSION, "serving");
    manager.ready();
    print_welcome(listen, certificates.is_some(), &data_dir);

    let failed = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "draining");
            false
        }
        () = engine.failed() => true,
    };
    manager.stopping();
    let draining = async {
        // Sessions end first: their last calls are requests that the accept loop then waits for. Jobs go on meanwhile, and what
        // takes longer is given back.
        open.clients.stop();
        tokio::join!(engine.drain(drain.window, drain.deadline), pools.drain(drain.window));
        engine.stop_working();
        open.clients.ended().await;
        // Those whose callers have gone need the store as well.
        running.close();
        running.wait().await;
        // Operators see the node drain.
        if let Some(internal) = open.internal {
            internal.stop();
            internal.ended().await;
        }
        watchdog.abort();
        tokio::task::spawn_blocking(move || engines.close()).await
    };
    let drained = tokio::select! {
        drained = tokio::time::timeout(drain.deadline * 2, draining) => drained,
        _ = signals.next() => anyhow::bail!("ended at once by a second signal"),
    };
    // A leftover is harmless: its process is gone.
    NodeFile::remove(&data_dir);
    // The last step, so that the spans of all others are sent.
    flush_traces().await;
    drained.context("not drained within the deadline")?.context("the store was not closed")?;
    anyhow::ensure!(!failed, "the supervision tree failed more often than it may");
    tracing::info!("drained");
    Ok(())
}

fn start_traces(options: &TracesOptions, engines: &Engines) -> anyhow::Result<()> {
    let instance = Instance { id: &engines.node.id, name: &engines.node.name, version: VERSION };
    if traces::start(options, &instance)? {
        let TracesOptions { endpoint, ratio, .. } = options;
        tracing::info!(endpoint, ratio, "traces are sent to a collector");
    }
    Ok(())
}

/// Sends the last spans. A collector that hangs holds up nothing but this.
async fn flush_traces() {
    let lost = tokio::task::spawn_blocking(|| traces::flush(TRACES_FLUSH)).await.unwrap_or_default();
    if lost > 0 {
        tracing::warn!(spans = lost, "spans were not sent to the collector of traces before the end");
    }
}

/// Where the node is reached.
struct Listeners {
    clients: TcpListener,
    door: Door,
    internal: Option<TcpListener>,
}

impl Listeners {
    fn bind(config: &Config, certificates: Option<&Certificates>) -> anyhow::Result<Self> {
        let bind = |address| {
            mundotango_gateway::listen(address).with_context(|| format!("cannot listen on {address}"))
        };
        let mut door = Door::new(&config.http);
        if let Some(certificates) = certificates {
            door = door.with_tls(certificates)?;
        }
        // Commands on the data folder speak no TLS: without an address of the operator's they get one of their own.
        let of_commands = certificates.map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let internal = config.http.internal_listen.or(of_commands).map(bind).transpose()?;
        Ok(Self { clients: bind(config.listen)?, door, internal })
    }

    fn addresses(&self) -> io::Result<(SocketAddr, Option<SocketAddr>)> {
        let internal = self.internal.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok((self.clients.local_addr()?, internal))
    }

    fn open(self, routers: Routers, http: &HttpOptions, deadline: Duration) -> OpenListeners {
        let internal = self
            .internal
            .map(|listener| OpenListener::start(listener, routers.internal, Door::internal(http), deadline));
        let clients = OpenListener::start(self.clients, routers.public, self.door, deadline);
        OpenListeners { clients, internal }
    }
}

struct OpenListeners {
    clients: OpenListener,
    internal: Option<OpenListener>,
}

/// A listener whose connections are served.
struct OpenListener {
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl OpenListener {
    fn start(listener: TcpListener, router: axum::Router, door: Door, deadline: Duration) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let stopped = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        let accepting = tokio::spawn(mundotango_gateway::serve(listener, router, door, stopped, deadline));
        Self { stop, accepting }
    }

    /// Takes no more connections.
    fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the requests under way.
    async fn ended(self) {
        if let Err(error) = self.accepting.await {
            tracing::error!(%error, "accept loop failed");
        }
    }
}

/// A node that is put together.
struct Assembled {
    engine: Arc<Engine>,
    pools: Arc<Pools>,
    routers: Routers,
}

/// The sessions and channels of the node, which begin to tell other nodes what all of them have to agree on.
async fn started_engine(
    config: &Config,
    engines: &Engines,
    authenticator: Arc<TokenAuthenticator>,
) -> anyhow::Result<Arc<Engine>> {
    let engine = Engine::start(EngineParts {
        node: engines.node.clone(),
        version: VERSION.to_owned(),
        session_options: config.session.clone(),
        channels_options: config.channels.clone(),
        hot: Arc::clone(&engines.hot),
        authenticator,
    })
    .await
    .context("the supervision tree did not start")?;
    if config.cluster.is_shared() {
        for (setting, digest) in scylla::schema_digests() {
            engine.must_agree(&setting, digest);
        }
    }
    Ok(engine)
}

/// Puts the node together on its engines.
async fn assemble(config: &Config, engines: &Engines, findings: OpenApiRouter) -> anyhow::Result<Assembled> {
    let secret = data_folder::secret_or_made(config)?;
    let tokens = Tokens::new(secret.expose().as_bytes(), config.auth.access_token_ttl);
    let tokens = Arc::new(tokens.with_keys(&config.auth.token)?);
    let revocations = Revocations::load(Arc::new(engines.stores.db.clone())).await;
    let revocations = revocations.context("revocations not read")?;
    let authenticator = Arc::new(TokenAuthenticator::new(Arc::clone(&tokens), Arc::clone(&revocations)));
    let engine = started_engine(config, engines, Arc::<TokenAuthenticator>::clone(&authenticator)).await?;
    engine.must_agree("auth.secret", digest_of_secret(secret.expose().as_bytes()));
    revocations.join(&engine);
    if let Some(cache) = &engines.cache {
        invalidations::connect(cache, &engine);
    }
    let life_ceo = life_ceo::router(engines.stores.db.clone(), Arc::clone(&engine));
    let wakes = Arc::new(Wakes::default());
    let jobs = Jobs::new(engines.stores.db.clone(), {
        let wakes = Arc::clone(&wakes);
        move |queue, shard| wakes.wake(queue, shard)
    });
    let audit = AuditStore::new(engines.stores.db.clone());
    let is_shared = config.cluster.is_shared();
    let changes = search::log_of(&engines.stores.db);
    let effects = Effects::new(Arc::clone(&engine), jobs.clone(), audit.clone(), changes.clone(), is_shared);
    let carrier = Arc::new(effects);
    let relay = Relay::start(engines.stores.db.clone(), &engine, carrier, !config.cluster.is_shared());
    let engine_name = if config.cluster.is_shared() { "cql" } else { "embedded" };
    let export = export_route::router(engines.stores.clone(), VERSION, engine_name);
    let db = engines.stores.db.clone().with_outlet(relay);
    let vapid = secrets::vapid_keys(&db).await.context("the keys of web push")?;
    let pusher = Arc::new(Pusher::new(&config.push, vapid)?);
    let payments = Arc::new(payments_of(&db, &jobs, config)?);
    let parts = CommunityParts {
        hot: Arc::clone(&engines.hot),
        engine: Arc::clone(&engine),
        tokens: Arc::clone(&tokens),
        revocations: Arc::clone(&revocations),
        jobs: jobs.clone(),
        pusher: Arc::clone(&pusher),
        site: Site::of(&config.mail)?,
        payments: Arc::clone(&payments),
        searcher: searcher(config, &engines.stores.db, &changes, &engine)?,
        link_previews: config.link_previews.enabled,
    };
    let community = Community::new(&db, parts, &config.auth)?;
    let letters = Letters::new(&db, jobs.clone(), Arc::clone(&tokens), &config.mail, transport(config)?)?;
    let (site, language) = (&config.mail.public_url, config.mail.language);
    let teller = Arc::new(Teller::new(&db, jobs.clone(), pusher, site, language));
    let pools = letters::handled(Pools::of(queues(&config.jobs)), &Arc::new(letters));
    let pools = ladder::handled(pools, &teller);
    let pools = sagas(payments::work::handled(pools, &payments), &db, &jobs);
    let pools = previews::work::handled(pools, &db, &config.link_previews, site)?;
    let pools = analytics::work::handled(chat::handled(pools, &db, &engine), &db, &jobs);
    let pools = of_admins(pools, &db, &jobs, &tokens, &revocations)?;
    let analytics = analytics_of(&db, &jobs, engines);
    let visits: Arc<dyn Visits> = Arc::<Analytics>::clone(&analytics);
    let pools = personal_data::work::handled(pools, &db, &revocations, catalogue(&db), &visits);
    let pools = pools.start(&jobs, &engine, &wakes, !config.cluster.is_shared());
    let schedules = Arc::new(Schedules::new(db.clone(), schedules()?, |job| Effect::job(job).kept()));
    schedules.start(&engine);
    let all_jobs = jobs.clone();
    let jobs = jobs_routes::router(jobs, Arc::clone(&pools), schedules, audit.clone());
    let return_paths = letters::return_path_secret(&tokens)?;
    let mail = mail_routes::router(&db, &config.mail, return_paths.as_bytes(), audit.clone())?;
    let counters = Arc::new(Counters::default());
    analytics::counters::start(&engine, &counters, &all_jobs);
    let application = community::router(Arc::new(community))
        .merge(life_ceo)
        .merge(export)
        .merge(findings)
        .merge(jobs)
        .merge(mail)
        .merge(chosen_traces::router(&db, &engine, audit))
        .merge(analytics::router(analytics))
        .layer(axum::middleware::from_fn_with_state(counters, server_reads::count));
    let routers = mundotango_gateway::routers(
        &config.http,
        GatewayParts {
            engine: Arc::clone(&engine),
            authenticator,
            tokens,
            db: engines.stores.db.clone(),
            revocations,
            health: Arc::clone(&engines.health),
            application,
            is_operator: roles::is_admin,
            version: VERSION.to_owned(),
        },
    )?;
    Ok(Assembled { engine, pools, routers })
}

/// What is used, and by how many.
fn analytics_of(db: &Db, jobs: &Jobs, engines: &Engines) -> Arc<Analytics> {
    let (hot, consent) = (Arc::clone(&engines.hot), Arc::new(PreferenceStore::new(db.clone())));
    Arc::new(Analytics::new(db.clone(), jobs.clone(), hot, consent, analytics::Limits::default()))
}

/// Who takes payments here, and what is paid for: each feature that costs something is named here.
fn payments_of(db: &Db, jobs: &Jobs, config: &Config) -> anyhow::Result<Payments> {
    let payables = Payables::default()
        .with(Purpose::Ticket, Arc::new(Tickets::new(db)))
        .with(Purpose::Booking, Arc::new(Stays::new(db)));
    Payments::new(db, jobs.clone(), &config.payments, &config.mail.public_url, payables)
}

/// Who searches here, in an index that follows the changes.
fn searcher(config: &Config, db: &Db, changes: &ChangeLog, engine: &Arc<Engine>) -> anyhow::Result<Searcher> {
    let options = &config.search;
    let folder = data_folder::search_index(config);
    let opened = if options.enabled { search::open(&folder, options.memory_bytes)? } else { search::off() };
    let searcher = Searcher::new(&opened, options.concurrency);
    searcher.start(opened, changes, sources(db), engine, !config.cluster.is_shared());
    Ok(searcher)
}

/// Who takes letters from here.
fn transport(config: &Config) -> anyhow::Result<Box<dyn Transport>> {
    Ok(match config.mail.transport {
        MailTransport::Folder => Box::new(FolderTransport::new(data_folder::letters(&config.data_dir))),
        MailTransport::Smtp => Box::new(SmtpTransport::new(&config.mail.smtp)?),
        MailTransport::Ses => Box::new(SesTransport::new(&config.mail.ses)?),
        MailTransport::Sendgrid => Box::new(SendgridTransport::new(&config.mail.sendgrid)?),
    })
}

/// A digest by which nodes see that their secrets differ. Whoever reads it learns no more than from a token.
fn digest_of_secret(secret: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let mut keyed = Sha256::new();
    keyed.update(b"mundotango: the secret of a node");
    keyed.update(Sha256::digest(secret));
    keyed.finalize().iter().take(16).fold(String::new(), |mut hex, byte| {
        // Writing into a string does not fail.
        let _ = std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
        hex
    })
}

/// Tells a person at a terminal what to do next. Goes to standard output; logs go to standard error.
fn print_welcome(listen: SocketAddr, has_tls: bool, data_dir: &Path) {
    let mut output = io::stdout();
    if !output.is_terminal() {
        return;
    }
    let s = if has_tls { "s" } else { "" };
    // The terminal may be closed already.
    let _ = writeln!(
        output,
        "\n  {VERSION} serves http{s}://{listen}, docs at http{s}://{listen}/api/docs, data in {data}\n\n  \
         curl -s http{s}://{listen}/api/auth/register -H 'content-type: application/json' \\\n    \
         -d '{{\"email\":\"ana@example.com\",\"password\":\"abrazo-1234\",\"username\":\"ana\",\"fullName\":\"Ana\"}}'\n\n  \
         const client = new Centrifuge('ws{s}://{listen}/connection/websocket', {{ token }}); client.connect()\n",
        data = data_dir.display()
    );
}
