//! What a run found out.

use std::fmt;

use serde::Serialize;

/// Latencies, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latencies {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Latencies {
    /// Sums up nanoseconds; `None` if there are none.
    pub(crate) fn of(mut nanos: Vec<u64>) -> Option<Self> {
        nanos.sort_unstable();
        let last = nanos.len().checked_sub(1)?;
        let at = |percent: usize| nanos[last * percent / 100] as f64 / 1e6;
        Some(Self { p50: at(50), p99: at(99), max: at(100) })
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", self.p50, self.p99, self.max)
    }
}

/// The figures of one run; those that the scenario does not measure are absent.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Which scenario.
    pub(crate) scenario: &'static str,
    /// Open sessions.
    pub(crate) sessions: usize,
    /// Seconds that it took to open them.
    pub(crate) connect_seconds: f64,
    /// Connects and subscriptions a second.
    pub(crate) connects_per_second: f64,
    /// Server CPU for each connect and subscription, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect_cpu_micros: Option<f64>,
    /// Server memory that the sessions added, in bytes a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resident_bytes_per_session: Option<f64>,
    /// Publications sent.
    pub(crate) published: usize,
    /// Publications that came, all subscribers together.
    pub(crate) delivered: usize,
    /// Publications that should have come and did not.
    pub(crate) lost: usize,
    /// Publications that came more than once.
    pub(crate) doubled: usize,
    /// Deliveries a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deliveries_per_second: Option<f64>,
    /// Deliveries a second of server CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deliveries_per_cpu_second: Option<f64>,
    /// CPU time of each process beside the server, as a part of theirs and the server's together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) beside_cpu_share: Vec<f64>,
    /// From before the publish was written to after the delivery was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_millis: Option<Latencies>,
}

impl Report {
    /// Prints the figures, for machines or for people.
    pub(crate) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let mut lines = vec![
            ("sessions", format!("{} in {:.1} s", self.sessions, self.connect_seconds)),
            ("published", self.published.to_string()),
            ("delivered", format!("{} ({} lost, {} doubled)", self.delivered, self.lost, self.doubled)),
        ];
        if let Some(bytes) = self.resident_bytes_per_session {
            lines.push(("server memory", format!("{bytes:.0} bytes a session")));
        }
        if let Some(micros) = self.connect_cpu_micros {
            lines.push(("connect", format!("{micros:.0} µs of server CPU each")));
        }
        if let Some(rate) = self.deliveries_per_second {
            lines.push(("deliveries", format!("{rate:.0} a second")));
        }
        if let Some(rate) = self.deliveries_per_cpu_second {
            lines.push(("deliveries", format!("{rate:.0} a second of server CPU")));
        }
        for share in &self.beside_cpu_share {
            lines.push(("CPU beside", format!("{:.0} % of all", share * 100.0)));
        }
        if let Some(latency) = self.latency_millis {
            lines.push(("publish to deliver", latency.to_string()));
        }
        println!("{}", self.scenario);
        for (name, figure) in lines {
            println!("  {name:<20}{figure}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let latencies = Latencies::of((1..=101).rev().map(|millis| millis * 1_000_000).collect()).unwrap();
        assert_eq!((latencies.p50, latencies.p99, latencies.max), (51.0, 100.0, 101.0));
        assert!(Latencies::of(Vec::new()).is_none());
    }
}
