//! Every port's suite against the embedded adapters, and what is these adapters' own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cache;
mod embedded;
mod folder;
mod memory;
mod redis;
mod scylla;
mod transfer;

use std::time::{Duration, Instant};

use mundotango_storage::conformance::{self, ModelReport, ModelRun};
use mundotango_storage::db::Db;

/// Holds a store against the model by one seed after the other, for as many seconds as the environment says.
async fn long_model_run(engine: &str, stores: &[Db]) {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = variable("MUNDOTANGO_MODEL_SECONDS").unwrap_or(60);
    let first_seed: u64 = variable("MUNDOTANGO_MODEL_SEED").unwrap_or(1000);
    let (start, mut all, mut seed) = (Instant::now(), ModelReport::default(), first_seed);
    while start.elapsed() < Duration::from_secs(seconds) {
        let run = ModelRun { seed, nodes: 4, partitions: 3, changes: 500, lives: 20, mutant: None };
        let report = conformance::model(stores, run).await;
        assert_eq!(report.violations, Vec::<String>::new(), "{engine}, {run:?}");
        all += report;
        seed += 1;
    }
    println!("{engine}, seeds {first_seed} to {}: {all}", seed - 1);
}
