//! What a Redis says of itself, for operators who look at an installation.

use jiff::Timestamp;
use redis::RedisError;

use crate::{RedisLink, StoreError};

/// How a Redis is set, and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisReport {
    /// Its version, such as `7.2.4`.
    pub version: String,
    /// It follows another Redis, so it takes no writes.
    pub is_replica: bool,
    /// It is a part of a Redis Cluster.
    pub is_cluster: bool,
    /// Most memory for its data, in bytes; 0 for no bound.
    pub max_memory: u64,
    /// Memory of its data, in bytes.
    pub used_memory: u64,
    /// What it does when that is full: the setting `maxmemory-policy`.
    pub policy: String,
    /// When it writes snapshots: the setting `save`. `None`: this user may not ask.
    pub save: Option<String>,
    /// It keeps a log of all writes on disk: the setting `appendonly`.
    pub appends: bool,
    /// By how many milliseconds this machine's clock is ahead, without what the question took; below 0 if it is behind.
    pub clock_ahead: i64,
}

impl RedisLink {
    /// Asks Redis how it is set. An error if it does not answer or this user may not ask.
    pub async fn report(&self) -> Result<RedisReport, StoreError> {
        type Told =
            (Result<Vec<String>, RedisError>, Result<String, RedisError>, Result<(i64, i64), RedisError>);
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        pipeline.cmd("CONFIG").arg("GET").arg("save");
        pipeline.cmd("INFO");
        pipeline.cmd("TIME");
        let asked = Timestamp::now().as_millisecond();
        let (save, info, time) = self.pipeline::<Told>(&pipeline).await?;
        let answered = Timestamp::now().as_millisecond();
        let refused = |error: RedisError| StoreError::Unavailable(format!("redis: {error}"));
        let mut report = read(&info.map_err(refused)?);
        report.save = save.ok().and_then(|mut setting| setting.pop());
        let (seconds, micros) = time.map_err(refused)?;
        let server = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        report.clock_ahead = (asked - server).max(0) + (answered - server).min(0);
        Ok(report)
    }
}

/// Reads the answer to `INFO`: lines of a name, a colon and a value.
fn read(info: &str) -> RedisReport {
    let value = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value.trim()).unwrap_or_default()
    };
    RedisReport {
        version: value("redis_version").to_owned(),
        is_replica: value("role") == "slave",
        is_cluster: value("cluster_enabled") == "1",
        max_memory: value("maxmemory").parse().unwrap_or_default(),
        used_memory: value("used_memory").parse().unwrap_or_default(),
        policy: value("maxmemory_policy").to_owned(),
        appends: value("aof_enabled") == "1",
        ..RedisReport::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_redis_tells() {
        let info = "# Server\r\nredis_version:7.2.4\r\nrole:slave\r\nused_memory:5\r\nmaxmemory:1000\r\n\
                    maxmemory_policy:allkeys-lru\r\naof_enabled:1\r\ncluster_enabled:0\r\n";
        let told = read(info);
        assert_eq!((told.version.as_str(), told.policy.as_str()), ("7.2.4", "allkeys-lru"));
        assert_eq!((told.max_memory, told.used_memory), (1000, 5));
        assert_eq!((told.is_replica, told.appends, told.is_cluster), (true, true, false));
        assert_eq!(read(""), RedisReport::default());
    }
}
