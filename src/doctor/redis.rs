//! Redis: whether it is there, takes writes, and is set so that it loses and brings back nothing unseen.

use mundotango_ops::ServerUrls;
use mundotango_storage::{RedisLink, RedisReport};
use url::Url;

use super::finding::{Finding, kinds};
use super::{LOOK_TIMEOUT, is_here, machine, version};
use crate::config::Config;

kinds! { "redis";
    UNREACHABLE: Broken "unreachable",
        "channels have no history and no presence, and clients recover nothing",
        "start Redis, or correct `cluster.redis`; look at firewalls between";
    REFUSED: Broken "refused",
        "Redis is there and takes no writes from this node, so channels have no history and no presence",
        "do what its word asks for: NOAUTH and WRONGPASS the password in `cluster.redis`, OOM more `maxmemory`, READONLY the master's address";
    EVICTS: Broken "evicts",
        "when it is full it throws away histories and presence without a word to clients",
        "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf";
    PERSISTS: Warning "persists",
        "writing to disk costs time and brings nothing back: histories of an earlier run are not believed",
        "CONFIG SET save \"\" and CONFIG SET appendonly no, and the same in redis.conf";
    UNBOUNDED: Hint "unbounded",
        "without a bound it grows until the kernel ends it",
        "set `maxmemory` with room enough, and `maxmemory-policy noeviction`";
    NEARLY_FULL: Warning "nearly-full",
        "a full Redis refuses what it cannot keep, and clients are told errors",
        "raise `maxmemory`, or lower `history_size` and `history_ttl` of the largest namespaces";
    REPLICA: Broken "replica",
        "a replica takes no writes, and may be behind its master",
        "set `cluster.redis` to the master";
    CLUSTER: Broken "cluster",
        "Redis Cluster is not spoken: scripts with keys on several servers fail",
        "use one Redis server";
    OLD: Warning "old",
        "versions before 7 are not tested",
        "upgrade Redis; it may be stopped for that, as clients recover from the store or are told";
    UNTOLD: Hint "untold",
        "whether it writes to disk is not known, as its user may not ask",
        "look at `save` and `appendonly` by hand, or allow CONFIG GET to the user";
    OPEN: Warning "open",
        "who reaches Redis without a password can read and change all histories",
        "set a password (requirepass or an ACL) and write it into `cluster.redis`";
}

/// The oldest version that is supported.
const OLDEST: [u32; 2] = [7, 0];
/// How many hundredths of its memory may be used.
const NEARLY_FULL_AT: u64 = 90;

/// Looks at Redis.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let Some(url) = &config.cluster.redis else { return Vec::new() };
    let link = match RedisLink::open(&config.cluster.redis_options()) {
        Ok(link) => link,
        Err(error) => return vec![UNREACHABLE.says(format!("{url}: {error}"))],
    };
    let mut findings = Vec::new();
    match link.report().await {
        Ok(report) => {
            findings.extend(judge(&report));
            findings.extend(machine::clock("Redis", report.clock_ahead));
            // A replica says in its own words that it takes no writes.
            if let Err(error) = link.check().await
                && !report.is_replica
            {
                findings.push(REFUSED.says(format!("{url}: {error}")));
            }
        }
        // Who reads nothing may still write; a server that answers is there.
        Err(error) => match link.check().await {
            Ok(()) => findings.push(UNTOLD.says(format!("{url}: {error}"))),
            Err(error) if is_refusal(&error.to_string()) => {
                findings.push(REFUSED.says(format!("{url}: {error}")));
            }
            Err(error) => findings.push(UNREACHABLE.says(format!("{url}: {error}"))),
        },
    }
    if is_open(url) {
        findings.push(OPEN.says(format!("{url} has no password")));
    }
    findings
}

pub(super) fn late(config: &Config) -> Finding {
    let url = config.cluster.redis.as_ref().map(ServerUrls::to_string).unwrap_or_default();
    UNREACHABLE.says(format!("{url}: no answer within {LOOK_TIMEOUT:?}"))
}

/// Whether an error is Redis' own word. Passwords that are wrong end the connection, so the driver tells them in its own.
fn is_refusal(error: &str) -> bool {
    let words =
        ["NOAUTH", "WRONGPASS", "NOPERM", "OOM", "READONLY", "MISCONF", "LOADING", "uthentication failed"];
    words.iter().any(|word| error.contains(word))
}

/// Whether the URL has no password for a Redis on another machine. Certificates of clients are as good as one.
fn is_open(url: &ServerUrls) -> bool {
    let Ok(url) = Url::parse(url.expose()) else { return false };
    url.scheme() == "redis" && url.password().is_none() && !url.host_str().is_none_or(is_here)
}

fn judge(report: &RedisReport) -> Vec<Finding> {
    let mut findings = Vec::new();
    let policy = &report.policy;
    if report.max_memory == 0 {
        findings.push(UNBOUNDED.says("maxmemory is 0"));
    } else if policy != "noeviction" {
        findings.push(EVICTS.says(format!("maxmemory-policy is {policy}")));
    }
    let (used, most) = (report.used_memory, report.max_memory);
    if most > 0 && used.saturating_mul(100) / most >= NEARLY_FULL_AT {
        findings.push(NEARLY_FULL.says(format!("{} of {} MB are used", used >> 20, most >> 20)));
    }
    match &report.save {
        Some(save) if !save.is_empty() => findings.push(PERSISTS.says(format!("save is \"{save}\""))),
        Some(_) => {}
        None => findings.push(UNTOLD.says("CONFIG GET is not allowed to the user of cluster.redis")),
    }
    if report.appends {
        findings.push(PERSISTS.says("appendonly is yes"));
    }
    if report.is_replica {
        findings.push(REPLICA.says("its role is that of a replica"));
    }
    if report.is_cluster {
        findings.push(CLUSTER.says("cluster-enabled is yes"));
    }
    if version(&report.version).is_some_and(|version| version < OLDEST) {
        findings.push(OLD.says(format!("it has version {}", report.version)));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_lose_something_are_told() {
        let good = RedisReport {
            version: "7.2.4".to_owned(),
            max_memory: 1 << 30,
            policy: "noeviction".to_owned(),
            save: Some(String::new()),
            ..RedisReport::default()
        };
        let ids = |report: RedisReport| judge(&report).into_iter().map(|found| found.id).collect::<Vec<_>>();
        assert_eq!(ids(good.clone()), Vec::<&str>::new());
        assert_eq!(ids(RedisReport { policy: "allkeys-lru".to_owned(), ..good.clone() }), [EVICTS.id]);
        assert_eq!(ids(RedisReport { max_memory: 0, ..good.clone() }), [UNBOUNDED.id]);
        assert_eq!(ids(RedisReport { used_memory: 1 << 30, ..good.clone() }), [NEARLY_FULL.id]);
        assert_eq!(ids(RedisReport { save: Some("3600 1".to_owned()), ..good.clone() }), [PERSISTS.id]);
        assert_eq!(ids(RedisReport { save: None, ..good.clone() }), [UNTOLD.id]);
        assert_eq!(ids(RedisReport { is_replica: true, ..good.clone() }), [REPLICA.id]);
        assert_eq!(ids(RedisReport { version: "6.2.1".to_owned(), ..good }), [OLD.id]);
    }

    #[test]
    fn a_redis_on_another_machine_needs_a_password() {
        for (url, open) in [
            ("redis://127.0.0.1:6379", false),
            ("redis://redis:6379", true),
            ("redis://:x@redis:6379", false),
            ("rediss://redis:6379", false),
        ] {
            assert_eq!(is_open(&ServerUrls::new(url)), open, "{url}");
        }
    }
}
