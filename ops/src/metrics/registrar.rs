//! Making metrics known to the registry.

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::labels::Label;

/// A metric as it is declared.
#[derive(Debug)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// The method of the registrar that makes it.
    pub(super) make: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Its labels and their values; none where they are known only when a node starts.
    pub labels: &'static [(&'static str, &'static [&'static str])],
}

impl Declared {
    /// What Prometheus calls it: counter, gauge or histogram.
    pub fn kind(&self) -> &'static str {
        match self.make {
            "counter" | "counters" => "counter",
            "gauge" | "gauges" => "gauge",
            _ => "histogram",
        }
    }
}

/// Makes a metric known to the registry as it is made. Where all values of its labels are known, it is there with each of
/// them, at 0.
pub(super) struct Registrar(pub(super) Registry);

impl Registrar {
    #[expect(clippy::expect_used, reason = "names are constants: a bad or doubled one fails in every test")]
    fn register<M: Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("metric's name and labels are valid");
        self.0.register(Box::new(metric.clone())).expect("metric's name is unique");
        metric
    }

    fn register_all<B: MetricVecBuilder + 'static>(
        &self,
        metric: prometheus::Result<MetricVec<B>>,
        labels: &[Label],
    ) -> MetricVec<B> {
        let metric = self.register(metric);
        for values in combinations(labels) {
            metric.with_label_values(&values);
        }
        metric
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[Label]) -> IntCounterVec {
        self.register_all(IntCounterVec::new(Opts::new(name, help), &names(labels)), labels)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[Label]) -> IntGaugeVec {
        self.register_all(IntGaugeVec::new(Opts::new(name, help), &names(labels)), labels)
    }

    pub(super) fn durations(
        &self,
        name: &str,
        help: &str,
        labels: &[Label],
        buckets: &[f64],
    ) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register_all(HistogramVec::new(options, &names(labels)), labels)
    }

    pub(super) fn sizes(&self, name: &str, help: &str, _: &[Label], buckets: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }
}

fn names(labels: &[Label]) -> Vec<&'static str> {
    labels.iter().map(|(name, _)| *name).collect()
}

/// All values that the labels can have together; none if one of them has values that are not known.
fn combinations(labels: &[Label]) -> Vec<Vec<&'static str>> {
    labels.iter().fold(vec![vec![]], |all, (_, values)| {
        let with =
            |before: Vec<&'static str>| values.iter().map(move |value| [&before[..], &[*value]].concat());
        all.into_iter().flat_map(with).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_goes_with_every_other() {
        let of = |labels: &[Label]| combinations(labels);
        assert_eq!(of(&[("a", &["1", "2"]), ("b", &["x"])]), [["1", "x"], ["2", "x"]]);
        assert!(of(&[("a", &["1", "2"]), ("b", &[])]).is_empty());
    }
}
