//! The REST API, by callers who each wait for their answer: this build beside an earlier one, embedded and on the engines.

use std::path::{Path, PathBuf};

use crate::services::TestServices;

use super::server::{Server, ask};
use super::{Columns, figure, program};

/// Turns that each build takes.
const TURNS: usize = 2;

/// The build that is measured.
const THIS: &str = "this build";

/// What is asked, and how.
const WORKS: [(&str, &str); 7] = [
    ("write a post, 32 callers", "post"),
    ("write a post, 256 callers", "post --callers 256"),
    ("read one of 1,000 posts (Zipf)", "read --objects 1000 --skew 1"),
    ("a page of the feed", "feed"),
    ("answer one of 1,000 events", "rsvp --objects 1000 --callers 256"),
    ("1,000 users answer one event", "rsvp --requests 1000 --seconds 60 --callers 256"),
    ("1,000 users react to one post", "react --requests 1000 --seconds 60 --callers 256"),
];

const FIGURES: Columns = &[
    ("requests / s", "/requests_per_second"),
    ("requests / CPU s", "/requests_per_cpu_second"),
    ("p50 ms", "/latency_millis/p50"),
    ("p99 ms", "/latency_millis/p99"),
    ("failed", "/failed"),
];

/// Measures both builds in turns.
pub(super) fn tables(before: Option<&Path>) -> anyhow::Result<()> {
    let services = TestServices::start()?;
    services.wait()?;
    let builds: Vec<(&str, PathBuf)> = before
        .map(|binary| ("before", binary.to_owned()))
        .into_iter()
        .chain([(THIS, program("mundotango"))])
        .collect();
    for (title, settings) in [("embedded", Vec::new()), ("NATS, Redis, CQL", services.node_variables())] {
        let names: Vec<_> = FIGURES.iter().map(|(name, _)| *name).collect();
        println!("\nl: requests by REST, {title}\n\n| | build | {} |", names.join(" | "));
        println!("|---|---|{}", "---|".repeat(names.len()));
        for (work, arguments) in WORKS {
            for turn in 1..=TURNS {
                for (build, binary) in &builds {
                    // Both builds would read each other's tables.
                    let keyspace = format!("bench_{}", build.replace(' ', "_"));
                    let own = ("MUNDOTANGO__CLUSTER__CQL__KEYSPACE".to_owned(), keyspace);
                    let of_cql = (!settings.is_empty()).then_some(own);
                    // An earlier build refuses what it does not know.
                    let rate =
                        ("MUNDOTANGO__AUTH__RATES__REGISTRATIONS_PER_ADDRESS".to_owned(), "0".to_owned());
                    let of_this = (*build == THIS).then_some(rate);
                    let settings: Vec<_> = settings.iter().cloned().chain(of_cql).chain(of_this).collect();
                    let server = Server::ours_of(binary, "node", &settings)?;
                    let report = ask(&server, arguments)?;
                    let figures: Vec<_> =
                        FIGURES.iter().map(|(_, path)| figure(report.pointer(path))).collect();
                    println!("| {work} | {build}, {turn} | {} |", figures.join(" | "));
                }
            }
        }
    }
    Ok(())
}
