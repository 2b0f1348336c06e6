//! The store on a real CQL server.
//!
//! Making tables takes seconds, so all that only needs them shares one keyspace, in one test.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use mundotango_protocol::new_id;
use mundotango_storage::conformance::ModelRun;
use mundotango_storage::hot::RedisHotState;
use mundotango_storage::scylla::{ScyllaOptions, ScyllaStore, migrate};
use mundotango_storage::{StoreError, Stores, conformance};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use tokio::task::{JoinSet, LocalSet};

/// Statements of tests wait for one server that shares its cores with them.
const PATIENCE: Duration = Duration::from_secs(20);
const TABLES: usize = 4 + conformance::TABLES_OF_THE_SUITE;
/// How many files make them.
const FILES: usize = 1;
/// What a migration of nothing applies: the files, and the tables of the schema.
const ALL: usize = FILES + conformance::TABLES_OF_THE_SUITE;

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
        ScyllaStore::connect(&self.options, &conformance::schema()).await.unwrap()
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
        migrate(&keyspace.options, &conformance::schema(), false).await.unwrap();
        let (one, other) = (keyspace.store().await, keyspace.store().await);
        assert_eq!(one.pending_migrations().await.unwrap(), Vec::<String>::new());
        one.check().await.unwrap();
        let nodes = [one.stores(), other.stores()];
        // The suites stay on this thread, their racers do not.
        let (mut suites, thread) = (JoinSet::new(), LocalSet::new());
        suites.spawn_local_on(conformance::db(one.stores().db, other.stores().db), &thread);
        suites.spawn_local_on(changes_fit_the_model(nodes.clone()), &thread);
        suites.spawn_local_on(conformance::history(one.stores().history), &thread);
        suites.spawn_local_on(histories_go_on(one.stores()), &thread);
        suites.spawn_local_on(async move { conformance::whole(&other.stores()).await }, &thread);
        let mut failures = Vec::new();
        while let Some(suite) = thread.run_until(suites.join_next()).await {
            failures.extend(suite.err().map(|error| error.to_string()));
        }
        assert!(failures.is_empty(), "{failures:?}");
    })
    .await;
}

/// Nodes race for a few partitions of a server whose answers get lost or come late.
async fn changes_fit_the_model(nodes: [Stores; 2]) {
    let stores: Vec<_> = nodes.into_iter().map(|node| node.db).collect();
    let run = ModelRun { seed: 11, nodes: 4, partitions: 4, changes: 300, lives: 10, mutant: None };
    let report = conformance::model(&stores, run).await;
    println!("seed {}: {report}", run.seed);
    assert_eq!(report.violations, Vec::<String>::new(), "{run:?}");
    assert!(report.acknowledged > 0 && report.faults > 0, "{report:?}");
}

/// `cargo xtask model` runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs for as long as MUNDOTANGO_MODEL_SECONDS says"]
async fn a_long_run_fits_the_model() {
    in_keyspace(async |keyspace| {
        migrate(&keyspace.options, &conformance::schema(), false).await.unwrap();
        let (one, other) = (keyspace.store().await, keyspace.store().await);
        super::long_model_run("CQL", &[one.stores().db, other.stores().db]).await;
    })
    .await;
}

/// Another prefix stands for a Redis that lost everything.
async fn histories_go_on(stores: Stores) {
    let hot = || Arc::new(RedisHotState::new(crate::redis::link(&new_id()), &new_id()));
    conformance::archived_hot_state(hot(), hot(), stores.history).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_race_and_repeat() {
    in_keyspace(async |keyspace| {
        let (options, schema) = (&keyspace.options, &conformance::schema());
        let dry = migrate(options, schema, true).await.unwrap();
        assert!(dry.made_keyspace && dry.dry_run);
        assert_eq!((dry.applied.len(), dry.already), (ALL, 0));
        assert_eq!(keyspace.count("system_schema.keyspaces").await, 0, "a dry run changes nothing");
        let unmade = ScyllaStore::connect(options, schema).await.err().unwrap();
        assert!(matches!(unmade, StoreError::Unavailable(_)), "{unmade}");

        let (one, other) = tokio::join!(migrate(options, schema, false), migrate(options, schema, false));
        let (one, other) = (one.unwrap(), other.unwrap());
        let mut numbers = [(one.applied.len(), one.already), (other.applied.len(), other.already)];
        numbers.sort_unstable();
        assert_eq!(numbers, [(0, FILES), (ALL, 0)], "one made all, the other found all");
        assert_eq!(usize::try_from(keyspace.count("system_schema.tables").await), Ok(TABLES));
        let again = migrate(options, schema, false).await.unwrap();
        assert_eq!((again.made_keyspace, again.applied.len(), again.already), (false, 0, FILES));

        // As left by one that died on its way.
        keyspace.run("DELETE FROM $.schema_migrations WHERE number = 1").await;
        let store = keyspace.store().await;
        assert_eq!(store.pending_migrations().await.unwrap(), ["0001_history.cql"]);
        assert_eq!(migrate(options, schema, true).await.unwrap().applied, ["0001_history.cql"]);
        assert_eq!(store.pending_migrations().await.unwrap().len(), 1, "a dry run changes nothing");
        assert_eq!(migrate(options, schema, false).await.unwrap().applied, ["0001_history.cql"]);

        keyspace.run("UPDATE $.schema_migrations SET checksum = 'other' WHERE number = 1").await;
        for dry_run in [true, false] {
            let refused = migrate(options, schema, dry_run).await.unwrap_err().to_string();
            assert!(refused.contains("0001_history.cql"), "{refused}");
        }
        assert!(store.pending_migrations().await.is_err());
    })
    .await;
}
