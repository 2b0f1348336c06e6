//! `mundotango seed`: fills a store with a community that looks like one, for trying things out and for load
//! tests. What it holds follows from a number, so two stores of the same number hold the same.
//!
//! A kind of things is a file in `kinds`, which uses the feature's own store and rules. Nobody is told of
//! what is made: nothing is put into the outbox, so a node that starts on the store mails, pushes and
//! publishes nothing of it.

mod draw;
mod kinds;
pub mod plan;
mod words;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use mundotango_gateway::input;
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;
use mundotango_storage::embedded::{EmbeddedStore, OpenError};
use serde_json::json;

use crate::community::accounts::kind::USERS;
use crate::community::accounts::passwords::Passwords;
use crate::community::chat::error::ChatError;
use crate::community::events::store::EventError;
use crate::community::graph::error::GraphError;
use crate::community::housing::error::HousingError;
use crate::config::Config;
use crate::data_folder;
use crate::engines::store_path;
use crate::schema::schema;
use crate::texts::NewPassword;
use crate::transfer;
use kinds::Generator;
use plan::Plan;

/// Pause between two lines of progress.
const TELL_INTERVAL: Duration = Duration::from_secs(2);

/// Tries of a step.
const TRIES: u32 = 5;
/// Pause before the next try.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How many users there are to look around among.
const DEMO_USERS: u64 = 60;
const SECONDS_A_DAY: i64 = 24 * 60 * 60;

/// Arguments of `seed`.
#[derive(Debug, Args)]
pub(crate) struct SeedArgs {
    /// How many users; all else follows from that.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    users: u64,
    /// A small community to look around in: 60 users
    #[arg(long, conflicts_with = "users")]
    demo: bool,
    /// Which community: the same number, users and time make the same one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The time that counts as now, such as 2026-11-29T00:00:00Z: events begin after it [default: the
    /// beginning of this day, in UTC]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The password of all users [default: one that is made up and printed]
    #[arg(long, env = "MUNDOTANGO_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Add to a store that has users. With the same --seed, --users and --at this goes on with a run that was
    /// interrupted.
    #[arg(long)]
    more: bool,
}

/// How many things of each kind were made.
pub type Made = BTreeMap<&'static str, u64>;

/// Fills the configured store. A data folder that is not there is made; one that a node has open is refused.
pub(crate) fn seed(config: &Config, args: SeedArgs) -> anyhow::Result<String> {
    let at = args.at.map_or_else(this_day, Ok)?;
    let users = if args.demo { DEMO_USERS } else { args.users };
    let plan = Plan { seed: args.seed, users, at };
    let password = args.password.unwrap_or_else(mundotango_protocol::new_id);
    input::read_value::<NewPassword>(json!(password))
        .map_err(|problem| anyhow::anyhow!("the password: {problem}"))?;
    tell(format_args!("--users {} --seed {} --at {at}", plan.users, plan.seed));
    let made = if config.cluster.is_shared() {
        transfer::runtime()?.block_on(async {
            let store = transfer::connect(config, true).await?;
            fill_unless_used(&store.stores().db, &plan, password.clone(), args.more).await
        })?
    } else {
        data_folder::make(&config.data_dir)?;
        data_folder::act_as_owner(&config.data_dir)?;
        let opened = EmbeddedStore::open(&store_path(&config.data_dir), &config.store, &schema());
        let store = opened.map_err(|error| match error {
            OpenError::Locked { .. } => anyhow::anyhow!("{error}: stop it first"),
            error => error.into(),
        })?;
        let db = store.stores().db;
        let made = transfer::runtime()?.block_on(fill_unless_used(&db, &plan, password.clone(), args.more));
        store.close();
        forget_search_index(config)?;
        made?
    };
    let mut text = String::new();
    for (kind, count) in made {
        writeln!(text, "{count} {kind}")?;
    }
    write!(
        text,
        "log in as {} to {} with the password {password}",
        plan.email(0),
        plan.email(plan.users - 1)
    )?;
    Ok(text)
}

/// Nobody is told of what is seeded, so the node has to look for it: it makes an index that is not there.
fn forget_search_index(config: &Config) -> std::io::Result<()> {
    match std::fs::remove_dir_all(data_folder::search_index(config)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The beginning of this day: runs of one day then make the same.
fn this_day() -> anyhow::Result<Timestamp> {
    Ok(Timestamp::from_second(Timestamp::now().as_second().div_euclid(SECONDS_A_DAY) * SECONDS_A_DAY)?)
}

async fn fill_unless_used(db: &Db, plan: &Plan, password: String, more: bool) -> anyhow::Result<Made> {
    anyhow::ensure!(
        more || !has_users(db).await?,
        "the store has users: --more adds to them, or goes on with a run that was interrupted"
    );
    fill(db, plan, password).await
}

async fn has_users(db: &Db) -> anyhow::Result<bool> {
    let mut from = None;
    loop {
        let page = db.scan(&USERS, from.as_deref()).await?;
        if !page.items.is_empty() {
            return Ok(true);
        }
        from = page.next;
        if from.is_none() {
            return Ok(false);
        }
    }
}

/// Makes all that a plan has; all users have the password. Doing it again changes nothing.
pub async fn fill(db: &Db, plan: &Plan, password: String) -> anyhow::Result<Made> {
    // Hashing takes longer than all else that a user costs, so it is done once.
    let hash = Passwords::new(1)?.hash(password).await.map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let mut made = Made::new();
    // What a request would tell others is left out.
    for kind in kinds::all(&db.clone().quiet(), hash) {
        made.insert(kind.name(), make_all(&*kind, plan).await?);
    }
    Ok(made)
}

/// Makes all things of a kind; how many.
async fn make_all(kind: &dyn Generator, plan: &Plan) -> anyhow::Result<u64> {
    let (start, steps) = (Instant::now(), kind.steps(plan));
    let mut under_way =
        stream::iter(0..steps).map(|number| step(kind, plan, number)).buffer_unordered(kind.at_once());
    let (mut done, mut made, mut told) = (0_u64, 0_u64, start);
    while let Some(step) = under_way.next().await {
        made += step.with_context(|| format!("{} were not made", kind.name()))?;
        done += 1;
        if told.elapsed() >= TELL_INTERVAL || done == steps {
            told = Instant::now();
            let rate = made as f64 / start.elapsed().as_secs_f64().max(0.001);
            tell(format_args!("{}: {} %, {made} made, {rate:.0} a second", kind.name(), done * 100 / steps));
        }
    }
    Ok(made)
}

/// Does a step, again where the store does not answer for a while: a server under such load does so now and
/// then.
async fn step(kind: &dyn Generator, plan: &Plan, number: u64) -> anyhow::Result<u64> {
    let mut tries_left = TRIES - 1;
    loop {
        match kind.step(plan, number).await {
            Err(error) if tries_left > 0 && is_of_the_store(&error) => {
                tries_left -= 1;
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
            outcome => return outcome,
        }
    }
}

/// Whether the store failed, and not a rule.
fn is_of_the_store(error: &anyhow::Error) -> bool {
    error.is::<StoreError>()
        || matches!(error.downcast_ref(), Some(EventError::Store(_)))
        || matches!(error.downcast_ref(), Some(GraphError::Store(_)))
        || matches!(error.downcast_ref(), Some(ChatError::Store(_)))
        || matches!(error.downcast_ref(), Some(HousingError::Store(_)))
}

/// Says something beside the result. Nobody may listen any more, which is no error.
fn tell(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
