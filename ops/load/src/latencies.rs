//! A histogram of times that is small, exact to 2 %, and can be added up over processes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Each power of two is cut into this many buckets (as a power of two): the error is at most 1/64.
const SUB_BITS: u32 = 6;
const SUB_BUCKETS: u64 = 1 << SUB_BITS;

/// How often each time was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Sparse", into = "Sparse")]
pub struct Latencies {
    counts: Vec<u64>,
    max_nanos: u64,
}

/// What crosses from a worker to its parent: most buckets are empty.
#[derive(Serialize, Deserialize)]
struct Sparse {
    counts: BTreeMap<usize, u64>,
    max_nanos: u64,
}

impl From<Sparse> for Latencies {
    fn from(sparse: Sparse) -> Self {
        let mut latencies = Self { counts: Vec::new(), max_nanos: sparse.max_nanos };
        for (bucket, count) in sparse.counts {
            latencies.add(bucket, count);
        }
        latencies
    }
}

impl From<Latencies> for Sparse {
    fn from(latencies: Latencies) -> Self {
        let counts = latencies.counts.into_iter().enumerate().filter(|(_, count)| *count > 0).collect();
        Self { counts, max_nanos: latencies.max_nanos }
    }
}

/// What a reader wants to know of many times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half were shorter.
    pub p50: f64,
    /// 99 of 100 were shorter.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Latencies {
    /// Adds one time.
    pub fn record(&mut self, nanos: u64) {
        self.add(bucket_of(nanos), 1);
        self.max_nanos = self.max_nanos.max(nanos);
    }

    /// Adds all times of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.counts.iter().enumerate() {
            if *count > 0 {
                self.add(bucket, *count);
            }
        }
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }

    /// The usual figures, or `None` where nothing was recorded.
    pub fn quantiles(&self) -> Option<Quantiles> {
        let max = Duration::from_nanos(self.max_nanos).as_secs_f64() * 1e3;
        // A bucket's middle may lie past the longest time in it.
        Some(Quantiles { p50: self.quantile(50)?.min(max), p99: self.quantile(99)?.min(max), max })
    }

    /// The time, in milliseconds, that `percent` of all do not exceed.
    fn quantile(&self, percent: u64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        let rank = (total * percent).div_ceil(100);
        let mut passed = 0;
        let bucket = self.counts.iter().position(|count| {
            passed += count;
            *count > 0 && passed >= rank
        })?;
        Some(Duration::from_nanos(middle_of(bucket)).as_secs_f64() * 1e3)
    }

    fn add(&mut self, bucket: usize, count: u64) {
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += count;
    }
}

fn bucket_of(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(SUB_BITS + 1);
    // The first two powers' worth of values have a bucket each.
    let bucket = u64::from(shift) * SUB_BUCKETS + (nanos >> shift);
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / SUB_BUCKETS).saturating_sub(1);
    ((bucket - shift * SUB_BUCKETS) << shift) + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_exact_to_two_percent() {
        for nanos in [0, 1, 63, 64, 127, 128, 1_000, 123_456, 999_999_999, 60_000_000_000, u64::MAX / 2] {
            let middle = middle_of(bucket_of(nanos));
            assert!(middle.abs_diff(nanos) <= nanos / 64, "{nanos} became {middle}");
        }
    }

    #[test]
    fn quantiles_come_back_over_the_wire_and_after_a_merge() {
        let (mut low, mut high) = (Latencies::default(), Latencies::default());
        for milliseconds in 1..=50_u64 {
            low.record(milliseconds * 1_000_000);
            high.record((milliseconds + 50) * 1_000_000);
        }
        low.merge(&serde_json::from_str(&serde_json::to_string(&high).unwrap()).unwrap());
        let quantiles = low.quantiles().unwrap();
        assert!((quantiles.p50 - 50.0).abs() < 1.0, "{quantiles:?}");
        assert!((quantiles.p99 - 99.0).abs() < 2.0, "{quantiles:?}");
        assert!((quantiles.max - 100.0).abs() < 1e-6, "{quantiles:?}");
        assert_eq!(Latencies::default().quantiles(), None);
    }
}
