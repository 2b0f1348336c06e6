//! Choosing as people do: few things often, most things seldom.

/// Zipf's law over a number of things: the k-th is taken 1/k^s times as often as the first.
pub(crate) struct Zipf {
    /// The weights up to each thing and with it.
    sums: Vec<f64>,
}

impl Zipf {
    /// Over `count` things with the exponent `skew`; all alike with 0.
    pub(crate) fn new(count: usize, skew: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count).map(|rank| {
            sum += (rank as f64).powf(-skew);
            sum
        });
        Self { sums: sums.collect() }
    }

    /// A thing's index; 0 if there are none.
    pub(crate) fn pick(&self) -> usize {
        let Some(all) = self.sums.last() else { return 0 };
        let point = rand::random::<f64>() * all;
        self.sums.partition_point(|upto| *upto < point).min(self.sums.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share_of_first(skew: f64) -> f64 {
        let zipf = Zipf::new(10, skew);
        let first = (0..20_000).filter(|_| zipf.pick() == 0).count();
        first as f64 / 20_000.0
    }

    #[test]
    fn the_first_is_taken_as_often_as_the_law_says() {
        assert!((share_of_first(0.0) - 0.1).abs() < 0.02);
        // 1 / (1 + 1/2 + … + 1/10).
        assert!((share_of_first(1.0) - 0.3414).abs() < 0.02);
    }
}
