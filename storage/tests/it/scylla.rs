//! The store on a real CQL server.
//!
//! Making tables takes seconds, so all that only needs them shares one keyspace, in one test.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use mundotango_protocol::new_id;
use mundotango_storage::accounts::{Role, Taken, User};
use mundotango_storage::events::{Event, EventType, Location, RsvpChoice, RsvpCounts, RsvpStatus};
use mundotango_storage::hot::RedisHotState;
use mundotango_storage::posts::{Post, ReactionType, Visibility};
use mundotango_storage::scylla::{ScyllaOptions, ScyllaStore, migrate};
use mundotango_storage::{PageRequest, PageStart, StoreError, Stores, conformance, now};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::CqlTimestamp;
use tokio::task::{JoinSet, LocalSet};

/// Statements of tests wait for one server that shares its cores with them.
const PATIENCE: Duration = Duration::from_secs(20);
const TABLES: i64 = 16;
/// How many files make them.
const FILES: usize = 7;

/// A keyspace of a test's own.
struct Keyspace {
    options: ScyllaOptions,
    session: Session,
}

impl Keyspace {
    async fn new() -> Self {
        let address = std::env::var("MUNDOTANGO_TEST_CQL").expect(
            "MUNDOTANGO_TEST_CQL (host:port) is not set: run the tests by `cargo xtask test`, which starts the servers",
        );
        let id = new_id();
        let options = ScyllaOptions {
            nodes: vec![address.clone()],
            keyspace: format!("test_{}", &id[id.len() - 8..]),
            replication_factor: 1,
            request_timeout: PATIENCE,
            ..ScyllaOptions::default()
        };
        let session = SessionBuilder::new().known_node(address).build().await.unwrap();
        Self { options, session }
    }

    async fn store(&self) -> ScyllaStore {
        ScyllaStore::connect(&self.options).await.unwrap()
    }

    /// Runs a statement in the keyspace, whose name stands for `$`.
    async fn run(&self, statement: &str) {
        self.session.query_unpaged(statement.replace('$', &self.options.keyspace), ()).await.unwrap();
    }

    async fn count(&self, of: &str) -> i64 {
        let select = format!("SELECT count(*) FROM {of} WHERE keyspace_name = '{}'", self.options.keyspace);
        let rows = self.session.query_unpaged(select, ()).await.unwrap().into_rows_result().unwrap();
        rows.single_row::<(i64,)>().unwrap().0
    }
}

/// Runs a test and drops its keyspace, also when it fails.
async fn in_keyspace(test: impl AsyncFnOnce(&Arc<Keyspace>)) {
    let keyspace = Arc::new(Keyspace::new().await);
    let outcome = AssertUnwindSafe(test(&keyspace)).catch_unwind().await;
    keyspace.run("DROP KEYSPACE IF EXISTS $").await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_conform_and_nodes_race_fairly() {
    in_keyspace(async |keyspace| {
        migrate(&keyspace.options, false).await.unwrap();
        let (one, other) = (keyspace.store().await, keyspace.store().await);
        assert_eq!(one.pending_migrations().await.unwrap(), Vec::<&str>::new());
        one.check().await.unwrap();
        let nodes = [one.stores(), other.stores()];
        // The suites stay on this thread, their racers do not.
        let (mut suites, thread) = (JoinSet::new(), LocalSet::new());
        suites.spawn_local_on(conformance::accounts(one.stores().accounts), &thread);
        suites.spawn_local_on(conformance::posts(one.stores().posts), &thread);
        suites.spawn_local_on(conformance::events(one.stores().events), &thread);
        suites.spawn_local_on(conformance::revocations(one.stores().revocations), &thread);
        suites.spawn_local_on(conformance::conversations(one.stores().conversations), &thread);
        suites.spawn_local_on(conformance::history(one.stores().history), &thread);
        suites.spawn_local_on(histories_go_on(one.stores()), &thread);
        suites.spawn_local_on(places_are_given_once(nodes.clone()), &thread);
        suites.spawn_local_on(reactions_are_counted_once(nodes.clone()), &thread);
        suites.spawn_local_on(names_are_given_once(nodes.clone()), &thread);
        suites.spawn_local_on(claims_of_the_dead_are_taken_over(Arc::clone(keyspace), one.stores()), &thread);
        suites.spawn_local_on(feeds_walk_over_days(nodes[0].clone()), &thread);
        let mut failures = Vec::new();
        while let Some(suite) = thread.run_until(suites.join_next()).await {
            failures.extend(suite.err().map(|error| error.to_string()));
        }
        assert!(failures.is_empty(), "{failures:?}");
    })
    .await;
}

/// Another prefix stands for a Redis that lost everything.
async fn histories_go_on(stores: Stores) {
    let hot = || Arc::new(RedisHotState::new(crate::redis::link(&new_id()), &new_id()));
    conformance::archived_hot_state(hot(), hot(), stores.history).await;
}

async fn places_are_given_once(nodes: [Stores; 2]) {
    let event = Event {
        id: new_id(),
        host_id: new_id(),
        title: "Milonga".to_owned(),
        description: String::new(),
        event_date: now(),
        location: Location::default(),
        event_type: EventType::Milonga,
        capacity: Some(5),
        created_at: now(),
        counts: RsvpCounts::default(),
    };
    nodes[0].events.create_event(event.clone()).await.unwrap();
    let mut racers = JoinSet::new();
    for user in 0..32 {
        let (events, id) = (Arc::clone(&nodes[user % 2].events), event.id.clone());
        racers.spawn(async move {
            let user = format!("user {user:02}");
            let outcome = events.rsvp(&id, &user, RsvpChoice::Going, now()).await.unwrap().unwrap();
            assert!(outcome.event.counts.going <= 5);
            outcome.rsvp.status
        });
    }
    let statuses = racers.join_all().await;
    let going = statuses.iter().filter(|status| **status == RsvpStatus::Going).count();
    assert_eq!((going, statuses.len()), (5, 32));
    let counts = nodes[1].events.event(&event.id).await.unwrap().unwrap().counts;
    assert_eq!(counts, RsvpCounts { going: 5, maybe: 0, waitlisted: 27 });

    // All give their places back: whoever waited moves up until nobody is left.
    let mut racers = JoinSet::new();
    for user in 0..32 {
        let (events, id) = (Arc::clone(&nodes[user % 2].events), event.id.clone());
        racers.spawn(async move {
            let user = format!("user {user:02}");
            events.rsvp(&id, &user, RsvpChoice::Declined, now()).await.unwrap().unwrap();
        });
    }
    racers.join_all().await;
    let counts = nodes[0].events.event(&event.id).await.unwrap().unwrap().counts;
    assert_eq!(counts, RsvpCounts::default());
}

fn post(id: String, author_id: &str, visibility: Visibility) -> Post {
    let author_id = author_id.to_owned();
    let content = "Hola".to_owned();
    Post { id, author_id, content, visibility, created_at: now(), reactions: BTreeMap::new() }
}

async fn reactions_are_counted_once(nodes: [Stores; 2]) {
    let post = post(new_id(), "ana", Visibility::Private);
    nodes[0].posts.create_post(post.clone()).await.unwrap();
    let mut racers = JoinSet::new();
    for user in 0..32 {
        let (posts, id) = (Arc::clone(&nodes[user % 2].posts), post.id.clone());
        racers.spawn(async move {
            // Each user is on both nodes.
            let user = format!("user {}", user / 2);
            posts.react(&id, &user, Some(ReactionType::Heart)).await.unwrap().unwrap();
        });
    }
    racers.join_all().await;
    let post = nodes[1].posts.post(&post.id).await.unwrap().unwrap();
    assert_eq!(post.reactions.get(&ReactionType::Heart), Some(&16));
}

fn user(username: &str) -> User {
    let id = new_id();
    User {
        email: format!("{id}@example.com"),
        username: username.to_owned(),
        full_name: "Ana".to_owned(),
        role: Role::User,
        password_hash: "hash".to_owned(),
        bio: None,
        city: None,
        avatar_url: None,
        created_at: now(),
        id,
    }
}

async fn names_are_given_once(nodes: [Stores; 2]) {
    let username = new_id();
    let mut racers = JoinSet::new();
    for node in 0..16 {
        let (accounts, user) = (Arc::clone(&nodes[node % 2].accounts), user(&username));
        racers.spawn(async move { accounts.create_user(user.clone()).await.unwrap().map(|()| user) });
    }
    let outcomes = racers.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for loser in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(loser, Taken { email: false, username: true });
    }
}

async fn claims_of_the_dead_are_taken_over(keyspace: Arc<Keyspace>, node: Stores) {
    let claim = async |name: &str, age: SignedDuration| {
        let claimed_at = CqlTimestamp((Timestamp::now() - age).as_millisecond());
        let insert = "INSERT INTO $.user_names (kind, name, user_id, claimed_at) \
                      VALUES ('username', ?, 'nobody', ?) IF NOT EXISTS";
        let insert = insert.replace('$', &keyspace.options.keyspace);
        keyspace.session.query_unpaged(insert, (name, claimed_at)).await.unwrap();
    };
    let (young, old) = (new_id(), new_id());
    claim(&young, SignedDuration::from_secs(10)).await;
    claim(&old, SignedDuration::from_secs(61)).await;
    let taken = Taken { email: false, username: true };
    let refused = user(&young);
    assert_eq!(node.accounts.create_user(refused.clone()).await.unwrap(), Err(taken));
    // The address was given back.
    let again = User { username: new_id(), ..refused };
    assert_eq!(node.accounts.create_user(again).await.unwrap(), Ok(()));
    assert_eq!(node.accounts.create_user(user(&old)).await.unwrap(), Ok(()));
    assert_eq!(node.accounts.create_user(user(&old)).await.unwrap(), Err(taken));
}

/// The id of a post that was made so many days ago.
fn id_of(days_ago: i64) -> String {
    let millis = (Timestamp::now() - SignedDuration::from_hours(24 * days_ago)).as_millisecond();
    let (hex, id) = (format!("{millis:012x}"), new_id());
    format!("{}-{}{}", &hex[..8], &hex[8..], &id[13..])
}

async fn feeds_walk_over_days(node: Stores) {
    let author = new_id();
    let mut ids = Vec::new();
    for days_ago in [0, 1, 1, 1, 7, 400, 400, 2000] {
        let post = post(id_of(days_ago), &author, Visibility::Friends);
        node.posts.create_post(post.clone()).await.unwrap();
        ids.push(post.id);
    }
    ids.sort_unstable_by(|a, b| b.cmp(a));
    for limit in [1, 3, 4, 500] {
        let (mut start, mut read) = (PageStart::First, Vec::new());
        loop {
            let page = node.posts.feed(&author, PageRequest { start, limit }).await.unwrap();
            read.extend(page.items.into_iter().map(|post| post.id));
            let Some(next) = page.next else { break };
            start = PageStart::After(next);
        }
        // The other suites' posts are public.
        read.retain(|id| ids.contains(id));
        assert_eq!(read, ids, "in pages of {limit}");
    }
    let page = PageRequest { start: PageStart::After("x".to_owned()), limit: 1 };
    assert!(matches!(node.posts.feed(&author, page).await, Err(StoreError::BadCursor)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_race_and_repeat() {
    in_keyspace(async |keyspace| {
        let options = &keyspace.options;
        let dry = migrate(options, true).await.unwrap();
        assert!(dry.made_keyspace && dry.dry_run);
        assert_eq!((dry.applied.len(), dry.already), (FILES, 0));
        assert_eq!(keyspace.count("system_schema.keyspaces").await, 0, "a dry run changes nothing");
        let unmade = ScyllaStore::connect(options).await.err().unwrap();
        assert!(matches!(unmade, StoreError::Unavailable(_)), "{unmade}");

        let (one, other) = tokio::join!(migrate(options, false), migrate(options, false));
        let (one, other) = (one.unwrap(), other.unwrap());
        let mut numbers = [(one.applied.len(), one.already), (other.applied.len(), other.already)];
        numbers.sort_unstable();
        assert_eq!(numbers, [(0, FILES), (FILES, 0)], "one made all, the other found all");
        assert_eq!(keyspace.count("system_schema.tables").await, TABLES);
        let again = migrate(options, false).await.unwrap();
        assert_eq!((again.made_keyspace, again.applied.len(), again.already), (false, 0, FILES));

        // As left by one that died on its way.
        keyspace.run("DELETE FROM $.schema_migrations WHERE number = 4").await;
        let store = keyspace.store().await;
        assert_eq!(store.pending_migrations().await.unwrap(), ["0004_revocations.cql"]);
        assert_eq!(migrate(options, true).await.unwrap().applied, ["0004_revocations.cql"]);
        assert_eq!(store.pending_migrations().await.unwrap().len(), 1, "a dry run changes nothing");
        assert_eq!(migrate(options, false).await.unwrap().applied, ["0004_revocations.cql"]);

        keyspace.run("UPDATE $.schema_migrations SET checksum = 'other' WHERE number = 2").await;
        for dry_run in [true, false] {
            let refused = migrate(options, dry_run).await.unwrap_err().to_string();
            assert!(refused.contains("0002_posts.cql"), "{refused}");
        }
        assert!(store.pending_migrations().await.is_err());
    })
    .await;
}
