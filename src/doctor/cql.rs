//! The CQL servers: whether they are there, hold enough copies, and have the tables of this version.

use mundotango_storage::scylla::{self, CqlReport, Report};

use super::finding::{Finding, kinds};
use super::{LOOK_TIMEOUT, is_here, machine, version};
use crate::config::{ClusterOptions, Config};
use crate::schema::schema;

kinds! { "cql";
    UNREACHABLE: Broken "unreachable",
        "requests are answered 503, and no node becomes ready",
        "start the servers, or correct `cluster.cql.nodes`; look at firewalls between";
    REFUSED: Broken "refused",
        "the servers do not let the node in, so requests are answered 503",
        "correct `cluster.cql.user` and `password`; the role needs ALL on its keyspace";
    SERVER_GONE: Warning "server-gone",
        "with each server that is gone fewer are left that may go before nothing is acknowledged",
        "start the server, or take it out of the cluster (nodetool removenode)";
    TOO_FEW: Broken "too-few-servers",
        "a keyspace with more copies than servers answers no statement at quorum",
        "start more servers, or lower `cluster.cql.replication_factor` before the keyspace is made";
    FEW_COPIES: Warning "one-copy",
        "a row that only one server has is gone with its disk, and not to be had while it restarts",
        "ALTER KEYSPACE to 3 copies, nodetool repair -full on each server, and the same in the option";
    ONE_SERVER: Hint "one-server",
        "one server has to have on disk what it acknowledges, and by default it is up to 10 s behind",
        "set `commitlog_sync: batch` on it, or have three servers with 3 copies";
    COPIES: Warning "copies-differ",
        "the option counts only when the keyspace is made, so there are fewer or more copies than it says",
        "run the statements that it says, or set the option to what the keyspace has";
    MIGRATE: Broken "migrations-missing",
        "nodes wait for tables that nobody makes while `cluster.cql.migrate` is off",
        "run `mundotango migrate` once, before nodes start";
    PENDING: Hint "migrations-pending",
        "the next node of this version that starts makes the tables",
        "nothing, or `mundotango migrate` before, to see how it goes";
    TABLES: Broken "tables",
        "nodes do not go on where applied migrations and tables do not fit to each other",
        "do what the message says: restore the tables, or use the newer version";
    NEWER: Warning "newer-tables",
        "a newer version runs on these tables, or did; it may write what this one does not know",
        "use the newer version on all nodes once the upgrade is over";
    OLD: Warning "old",
        "versions before ScyllaDB 2025.4 and Cassandra 5 are not tested",
        "upgrade the servers one after the other";
    OPEN: Warning "open",
        "who reaches the servers without a password can read and change everything",
        "turn on authentication, and set `cluster.cql.user` and `password`";
}

/// The oldest Cassandra that is supported.
const OLDEST_CASSANDRA: [u32; 2] = [5, 0];
/// The oldest ScyllaDB that is supported.
const OLDEST_SCYLLA: [u32; 2] = [2025, 4];

/// Looks at the servers and the tables, side by side.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let cluster = &config.cluster;
    if cluster.cql.nodes.is_empty() {
        return Vec::new();
    }
    let schema = schema();
    // Boxed, as the driver's futures are large.
    let reported = Box::pin(scylla::report(&cluster.cql));
    let migrated = Box::pin(scylla::migrate(&cluster.cql, &schema, true));
    let (report, tables) = tokio::join!(reported, migrated);
    let nodes = cluster.cql.nodes.join(", ");
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            let why = error.to_string();
            let kind = if is_refusal(&why) { &REFUSED } else { &UNREACHABLE };
            return vec![kind.says(format!("{nodes}: {why}"))];
        }
    };
    let mut findings = of_servers(cluster, &report);
    findings.extend(machine::clock("the CQL server", report.clock_ahead));
    match tables {
        Ok(tables) => findings.extend(of_tables(cluster, &tables)),
        Err(error) => findings.push(TABLES.says(error.to_string())),
    }
    findings
}

pub(super) fn late(config: &Config) -> Finding {
    let nodes = config.cluster.cql.nodes.join(", ");
    UNREACHABLE.says(format!("{nodes}: no answer within {:?}", 2 * LOOK_TIMEOUT))
}

/// Whether the servers answered and did not let the node in, by the words of the driver and of the servers.
fn is_refusal(why: &str) -> bool {
    let why = why.to_lowercase();
    ["authentication", "authenticate", "username", "credentials", "unauthorized"]
        .iter()
        .any(|word| why.contains(word))
}

fn of_servers(cluster: &ClusterOptions, report: &CqlReport) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (servers, connected) = (report.servers, report.connected);
    if connected < servers {
        findings.push(
            SERVER_GONE.says(format!("{connected} of {servers} CQL servers take connections from here")),
        );
    }
    let copies = usize::try_from(cluster.cql.replication_factor).unwrap_or(usize::MAX);
    if copies > servers {
        let says = format!("cluster.cql.replication_factor is {copies}, and there are {servers} CQL servers");
        findings.push(TOO_FEW.says(says));
    } else if copies == 1 && servers > 1 {
        findings.push(FEW_COPIES.says(format!("each row is on one of {servers} servers")));
    } else if servers == 1 {
        findings.push(ONE_SERVER.says("there is one CQL server"));
    }
    let (name, text, oldest) = match &report.scylla {
        Some(version) => ("ScyllaDB", version, OLDEST_SCYLLA),
        None => ("Cassandra", &report.release, OLDEST_CASSANDRA),
    };
    if version(text).is_some_and(|version| version < oldest) {
        findings.push(OLD.says(format!("{name} has version {text}")));
    }
    let hosts =
        cluster.cql.nodes.iter().map(|node| node.rsplit_once(':').map_or(node.as_str(), |(host, _)| host));
    if cluster.cql.user.is_none() && !hosts.into_iter().all(is_here) {
        findings.push(OPEN.says("the servers let in everybody: cluster.cql.user is not set"));
    }
    findings
}

fn of_tables(cluster: &ClusterOptions, report: &Report) -> Vec<Finding> {
    let mut findings = Vec::new();
    let kind = if cluster.cql.migrate { &PENDING } else { &MIGRATE };
    if report.made_keyspace {
        findings.push(kind.says(format!("there is no keyspace {}", cluster.cql.keyspace)));
    } else if !report.applied.is_empty() {
        findings.push(kind.says(format!("not applied yet: {}", report.applied.join(", "))));
    }
    if !report.newer.is_empty() {
        findings.push(NEWER.says(format!("applied by a newer version: {}", report.newer.join(", "))));
    }
    findings.extend(report.replication.as_ref().map(|difference| COPIES.says(difference)));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(servers: usize, copies: u32, scylla: Option<&str>, release: &str) -> Vec<&'static str> {
        let mut cluster = ClusterOptions::default();
        cluster.cql.nodes = vec!["127.0.0.1:9042".to_owned()];
        cluster.cql.replication_factor = copies;
        let report = CqlReport {
            release: release.to_owned(),
            scylla: scylla.map(str::to_owned),
            servers,
            connected: servers,
            clock_ahead: 0,
        };
        of_servers(&cluster, &report).into_iter().map(|finding| finding.id).collect()
    }

    #[test]
    fn copies_servers_and_versions_are_judged() {
        assert_eq!(servers(3, 3, None, "5.0.4"), Vec::<&str>::new());
        assert_eq!(servers(3, 3, Some("2025.4.1-0.2025"), "3.0.8"), Vec::<&str>::new());
        assert_eq!(servers(3, 3, Some("5.4.0"), "3.0.8"), [OLD.id]);
        assert_eq!(servers(3, 3, None, "4.1.3"), [OLD.id]);
        assert_eq!(servers(3, 1, None, "5.0"), [FEW_COPIES.id]);
        assert_eq!(servers(1, 1, None, "5.0"), [ONE_SERVER.id]);
        assert_eq!(servers(1, 3, None, "5.0"), [TOO_FEW.id]);
    }

    #[test]
    fn tables_that_nobody_makes_are_worse_than_those_that_a_node_makes() {
        let mut cluster = ClusterOptions::default();
        let report = Report {
            made_keyspace: false,
            applied: vec!["table posts".to_owned()],
            already: 1,
            dry_run: true,
            newer: Vec::new(),
            replication: None,
        };
        assert_eq!(of_tables(&cluster, &report)[0].id, PENDING.id);
        cluster.cql.migrate = false;
        assert_eq!(of_tables(&cluster, &report)[0].id, MIGRATE.id);
        let report = Report { applied: Vec::new(), newer: vec!["0099_x.cql".to_owned()], ..report };
        assert_eq!(of_tables(&cluster, &report)[0].id, NEWER.id);
    }
}
