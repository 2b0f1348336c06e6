//! One node beside two and three, over the real engines: all processes share the machine's cores, so what is compared is
//! what a second of CPU does.

use crate::services::TestServices;

use super::server::{Server, load};
use super::{Columns, DELIVERY, print_head, print_row};

/// Subscribers of each channel are on all nodes, so every publication crosses to all of them.
const FAN_OUT: &str =
    "fanout --channel bench:many --channels 60 --subscribers 60 --publishers 6 --rate 300 --seconds 10";
/// Few publications, so that none waits for another.
const LATENCY: &str =
    "fanout --channel bench:quiet --channels 10 --subscribers 10 --publishers 10 --rate 100 --seconds 20";

const SHARED: Columns = &[
    ("deliveries / CPU s", "/deliveries_per_cpu_second"),
    ("NATS' part of the CPU", "/beside_cpu_share/0"),
    ("Redis' part", "/beside_cpu_share/1"),
    ("p50 ms", "/latency_millis/p50"),
    ("p99 ms", "/latency_millis/p99"),
];

/// Measures a node alone, and one to three on the engines.
pub(super) fn tables() -> anyhow::Result<()> {
    let services = TestServices::start()?;
    services.wait()?;
    let mut settings = services.node_variables();
    let namespace = "MUNDOTANGO__CHANNELS__NAMESPACES__BENCH__";
    let recoverable: Vec<_> = [("HISTORY_SIZE", "100"), ("HISTORY_TTL", "10m"), ("FORCE_RECOVERY", "true")]
        .map(|(name, value)| (format!("{namespace}{name}"), value.to_owned()))
        .into();
    settings.extend(recoverable.iter().cloned());
    let beside = format!("{},{}", services.pid("nats")?, services.pid("redis")?);
    // Its tables are there before anything is measured.
    drop(Server::ours("node-1", &settings)?);

    print_head(
        "e: 60 channels, 60 subscribers each on all nodes, 6 publishers, 300 publications/s, history of 100",
        "nodes",
        SHARED,
    );
    let alone = Server::ours("node", &recoverable)?;
    print_row("one, embedded", SHARED, &fan_out(&[&alone], FAN_OUT, &beside));
    drop(alone);
    for count in 1..=3 {
        let nodes = start(count, &settings)?;
        let nodes: Vec<_> = nodes.iter().collect();
        print_row(&format!("{count}"), SHARED, &fan_out(&nodes, FAN_OUT, &beside));
    }

    print_head(
        "f: 10 channels, 10 subscribers each, 100 publications/s in all",
        "publisher's node",
        DELIVERY,
    );
    let nodes = start(2, &settings)?;
    let [publishing, other] = nodes.as_slice() else { anyhow::bail!("not two nodes") };
    for (name, subscribing) in [("the subscribers' own", publishing), ("another one", other)] {
        let mut arguments: Vec<_> = LATENCY.split(' ').collect();
        let address = publishing.address();
        arguments.extend(["--publish-to", &address]);
        let report = load(&[publishing, other], &[subscribing], "json", &arguments);
        print_row(name, DELIVERY, &report);
    }
    Ok(())
}

fn start(count: usize, settings: &[(String, String)]) -> anyhow::Result<Vec<Server>> {
    (1..=count).map(|number| Server::ours(&format!("node-{number}"), settings)).collect()
}

fn fan_out(nodes: &[&Server], arguments: &str, beside: &str) -> anyhow::Result<serde_json::Value> {
    let mut arguments: Vec<_> = arguments.split(' ').collect();
    arguments.extend(["--beside-pid", beside]);
    load(nodes, nodes, "json", &arguments)
}
