//! What stands behind the ports: the embedded store and the node's own memory, or the engines that nodes share.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use mundotango_actors::bus::{Bus as _, NatsBus};
use mundotango_actors::{Engine, NodeParts, Pace, Vitals};
use mundotango_gateway::{HealthCheck, OnceASecond, PartHealth, Starting};
use mundotango_storage::cache::{Cache, RedisCache};
use mundotango_storage::embedded::EmbeddedStore;
use mundotango_storage::hot::{ArchivedHotState, HotState, MemoryHotState, RedisHotState};
use mundotango_storage::scylla::{self, ScyllaStore};
use mundotango_storage::{RedisLink, StoreError, Stores};

use crate::config::{ClusterOptions, Config};
use crate::schema::schema;

/// Where the embedded store lies in the data folder.
const STORE_FOLDER: &str = "store";
/// Where hot state waits for the next start.
pub(crate) const HOT_STATE_FILE: &str = "hot-state";
/// How long a starting node reads what was hot; the rest is lost then.
const RESTORE_PATIENCE: Duration = Duration::from_secs(20);
/// How often expired hot state is cleared away.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);
/// Pause between two looks at a part that a starting node waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long a starting node waits for a part before it says so, as parts and nodes are often started together.
const WARN_AFTER: Duration = Duration::from_secs(3);
/// Pause between two such warnings.
const WARN_AGAIN: Duration = Duration::from_secs(30);
/// How often metrics are told how the parts are.
const TELL_INTERVAL: Duration = Duration::from_secs(5);
/// How far the clock may be from a CQL server's, in milliseconds, before health says so. Of two writes the one with the
/// later time wins, so with clocks that differ a change may be lost to an older one.
pub(crate) const CLOCK_TOLERANCE: i64 = 500;
/// How far it may be before the node is not ready.
pub(crate) const CLOCK_BOUND: i64 = 10_000;
/// How long a look at a part's health may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the embedded store of a data folder lies.
pub fn store_path(data_dir: &Path) -> PathBuf {
    data_dir.join(STORE_FOLDER)
}

/// The engines of a node.
pub struct Engines {
    /// What lasts.
    pub stores: Stores,
    /// What is hot.
    pub hot: Arc<dyn HotState>,
    /// What is read often, where the store is not the node's own.
    pub cache: Option<Arc<Cache>>,
    /// The node's place among others.
    pub node: NodeParts,
    /// Who knows how the engines are.
    pub health: Arc<dyn HealthCheck>,
    own: Option<Own>,
}

/// The engines that are the node's own.
struct Own {
    store: Arc<EmbeddedStore>,
    hot: Arc<MemoryHotState>,
    hot_file: PathBuf,
}

impl Engines {
    /// Opens the embedded store of a data folder, and brings back what was hot there.
    pub fn open_own(config: &Config, accept_loss: bool) -> anyhow::Result<Self> {
        let open = if accept_loss { EmbeddedStore::open_accepting_loss } else { EmbeddedStore::open };
        let store = Arc::new(open(&store_path(&config.data_dir), &config.store, &schema())?);
        let hot = Arc::new(MemoryHotState::new());
        let hot_file = config.data_dir.join(HOT_STATE_FILE);
        match hot.restore(&hot_file, RESTORE_PATIENCE) {
            Ok(channels) => tracing::debug!(channels, "channel histories restored"),
            // Clients learn it by the epochs that change.
            Err(error) => tracing::warn!(%error, "channel histories not restored"),
        }
        let stores = store.stores();
        let health: Arc<dyn HealthCheck> = Arc::new(OwnHealth { store: Arc::clone(&store) });
        Ok(Self {
            stores: stores.clone(),
            hot: Arc::new(ArchivedHotState::new(Arc::<MemoryHotState>::clone(&hot), stores.history.clone())),
            // The embedded store answers from memory as it is.
            cache: None,
            node: NodeParts::alone(),
            health,
            own: Some(Own { store, hot, hot_file }),
        })
    }

    /// Connects with the engines that nodes share, waiting for each as long as it takes.
    pub async fn connect(
        options: &ClusterOptions,
        name: String,
        starting: &Starting,
    ) -> anyhow::Result<Self> {
        let id = mundotango_protocol::new_id();
        let link = RedisLink::open(&options.redis_options())?;
        until("redis", starting, async || link.check().await).await;
        for advice in link.advice().await {
            tracing::warn!(advice, "redis should be set otherwise");
        }
        let bus = NatsBus::open(&options.nats_options(), &name).await.context("cluster.nats")?;
        let nats_failure = bus.watch_failure();
        let mut connected = bus.connected();
        until("nats", starting, async || {
            let connecting = connected.wait_for(|connected| *connected);
            let is_late = tokio::time::timeout(LOOK_AGAIN, connecting).await.is_err();
            nats_failure().filter(|_| is_late).map_or(Ok(()), |why| Err(StoreError::Unavailable(why)))
        })
        .await;
        let store = until("store", starting, async || {
            if options.cql.migrate {
                let report = scylla::migrate(&options.cql, &schema(), false).await?;
                for name in &report.newer {
                    tracing::warn!(name, "a newer version has applied this migration");
                }
                if let Some(difference) = report.replication {
                    tracing::warn!("{difference}");
                }
            }
            let store = ScyllaStore::connect(&options.cql, &schema()).await?;
            match store.pending_migrations().await? {
                pending if pending.is_empty() => match clock(store.check().await?) {
                    PartHealth { required: true, detail: Some(off), .. } => Err(StoreError::Unavailable(off)),
                    _ => Ok(store),
                },
                pending => Err(StoreError::Unavailable(format!(
                    "tables are missing ({}): run mundotango migrate",
                    pending.join(", ")
                ))),
            }
        });
        let store = Arc::new(store.await);
        let cache = Arc::new(Cache::new(Arc::new(RedisCache::new(link.clone()))));
        let stores = store.stores();
        let hot = Arc::new(RedisHotState::new(link.clone(), &id));
        let health: Arc<dyn HealthCheck> =
            Arc::new(OnceASecond::new(SharedHealth { store, link, nats_failure: Box::new(nats_failure) }));
        Ok(Self {
            stores: Stores { db: stores.db.clone().with_cache(Arc::clone(&cache)), ..stores.clone() },
            cache: Some(cache),
            hot: Arc::new(ArchivedHotState::new(hot, stores.history)),
            node: NodeParts { id, name, bus: Arc::new(bus) },
            health,
            own: None,
        })
    }

    /// Looks after the engines by tasks in the supervision tree.
    pub fn look_after(&self, engine: &Engine) {
        let health = Arc::clone(&self.health);
        engine.keep_running("health", Pace::Timed, move |vitals| Box::pin(tell(Arc::clone(&health), vitals)));
        if let Some(own) = &self.own {
            let hot = Arc::clone(&own.hot);
            // Between two sweeps more time passes than an actor may be silent for.
            engine.keep_running("hot state sweep", Pace::OnDemand, move |vitals| {
                Box::pin(sweep(Arc::clone(&hot), vitals))
            });
        }
    }

    /// Keeps what is hot for the next start, and closes the store. Blocks until the disk has all.
    pub fn close(self) {
        let Some(own) = self.own else { return };
        // First, so that nothing is acknowledged whose offset the next start would give again.
        own.store.close();
        if let Err(error) = own.hot.save(&own.hot_file) {
            tracing::warn!(%error, "channel histories not saved");
        }
    }
}

/// Tries until a part is there. Parts that start together with the node are not worth a warning at once.
async fn until<T>(
    part: &'static str,
    starting: &Starting,
    mut attempt: impl AsyncFnMut() -> Result<T, StoreError>,
) -> T {
    let started = Instant::now();
    let mut warn_at = started + WARN_AFTER;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => {
                if Instant::now() >= warn_at {
                    let seconds = started.elapsed().as_secs();
                    tracing::warn!(part, %error, seconds, "waiting for a part of the cluster");
                    warn_at = Instant::now() + WARN_AGAIN;
                }
                starting.wait_for(part, error.to_string());
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

async fn sweep(hot: Arc<MemoryHotState>, vitals: Arc<Vitals>) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        interval.tick().await;
        hot.sweep().await;
        vitals.handled();
    }
}

/// Tells how the parts are: metrics at all times, and the log when one goes or comes back.
async fn tell(health: Arc<dyn HealthCheck>, vitals: Arc<Vitals>) {
    let mut interval = tokio::time::interval(TELL_INTERVAL);
    let mut gone = BTreeSet::new();
    loop {
        interval.tick().await;
        for part in health.parts().await {
            mundotango_ops::metrics().part_healthy.with_label_values(&[part.name]).set(part.healthy.into());
            if part.healthy {
                if gone.remove(part.name) {
                    tracing::info!(part = part.name, "a part of the node is back");
                }
            } else if gone.insert(part.name) {
                tracing::warn!(part = part.name, detail = part.detail, "a part of the node does not answer");
            }
        }
        vitals.handled();
    }
}

struct OwnHealth {
    store: Arc<EmbeddedStore>,
}

#[async_trait]
impl HealthCheck for OwnHealth {
    async fn parts(&self) -> Vec<PartHealth> {
        let detail = self.store.failure();
        vec![PartHealth { name: "store", healthy: detail.is_none(), required: true, detail }]
    }
}

struct SharedHealth {
    store: Arc<ScyllaStore>,
    link: RedisLink,
    nats_failure: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

#[async_trait]
impl HealthCheck for SharedHealth {
    async fn parts(&self) -> Vec<PartHealth> {
        // None is required: sockets stay, and what can be done without a part is done.
        let part = |name, detail: Option<String>| PartHealth {
            name,
            healthy: detail.is_none(),
            required: false,
            detail,
        };
        let mut ahead = 0;
        let check_store = async { self.store.check().await.map(|by| ahead = by) };
        let (store, redis) = tokio::join!(look(check_store), look(self.link.check()));
        let redis = match redis {
            None => PartHealth {
                detail: Some(self.link.advice().await.join("; ")).filter(|advice| !advice.is_empty()),
                ..part("redis", None)
            },
            failure => part("redis", failure),
        };
        vec![part("store", store), redis, part("nats", (self.nats_failure)()), clock(ahead)]
    }
}

/// How the node's clock is, of which a CQL server says how many milliseconds it is ahead.
fn clock(ahead: i64) -> PartHealth {
    let by = Duration::from_millis(ahead.unsigned_abs());
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let healthy = ahead.abs() <= CLOCK_TOLERANCE;
    PartHealth {
        name: "clock",
        healthy,
        required: ahead.abs() > CLOCK_BOUND,
        detail: (!healthy)
            .then(|| format!("the clock is {by:?} {side} the store's: newer changes may lose to older ones")),
    }
}

async fn look(check: impl Future<Output = Result<(), StoreError>>) -> Option<String> {
    match tokio::time::timeout(LOOK_TIMEOUT, check).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("did not answer within {LOOK_TIMEOUT:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_when_it_is_off_and_holds_up_a_node_when_it_is_far_off() {
        let told = |ahead| {
            let part = clock(ahead);
            (part.healthy, part.required)
        };
        assert_eq!([0, 500, -500].map(told), [(true, false); 3]);
        assert_eq!([501, -9_000].map(told), [(false, false); 2]);
        assert_eq!([10_001, -90_000].map(told), [(false, true); 2]);
        let detail = clock(-1500).detail.unwrap_or_default();
        assert!(detail.contains("1.5s behind"), "{detail}");
    }
}
