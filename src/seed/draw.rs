//! Numbers that look random and are the same each time: those of one thing depend on the seed, its kind and
//! its number alone, so that things can be made in any order, and none has to be remembered.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers are cut to their bounds, which are below those of their types"
)]

use jiff::Timestamp;
use uuid::Builder;

/// The step of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// A prime larger than any number of things, so that multiples of it reach each of them once.
const STRIDE: u64 = 4_294_967_291;

/// The numbers of one thing.
#[derive(Clone, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    /// Those of the thing with a number among its kind.
    pub(super) fn new(seed: u64, kind: &str, number: u64) -> Self {
        let kind = kind.bytes().fold(seed, |sum, byte| mix(sum ^ u64::from(byte)));
        Self(mix(kind ^ mix(number)))
    }

    /// The next number.
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below a bound, 0 if the bound is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // The upper half of the product is even enough for bounds that are far below 2^64.
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = high.abs_diff(low).saturating_add(1);
        low.saturating_add_unsigned(self.below(width))
    }

    /// One of several.
    pub(super) fn one_of<'a, T: ?Sized>(&mut self, several: &[&'a T]) -> &'a T {
        several[self.below(several.len() as u64) as usize]
    }

    /// Whether something happens that does so in so many of a hundred cases.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// The number of one of `count` things, of which few are taken often: the k-th 1/k times as often as the
    /// first (Zipf's law with the exponent 1, by the inverse of its continuous form). Which are taken often
    /// has nothing to do with their order.
    pub(super) fn popular(&mut self, count: u64) -> u64 {
        let unit = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
        let rank = ((count + 1) as f64).powf(unit) as u64;
        scattered(rank.clamp(1, count.max(1)) - 1, count)
    }

    /// One of several, of which few are taken often.
    pub(super) fn popular_one<'a, T>(&mut self, several: &'a [T]) -> &'a T {
        &several[self.popular(several.len() as u64) as usize]
    }

    /// The numbers of up to `wanted` different things of `count`, popular ones first of all.
    pub(super) fn different(&mut self, wanted: u64, count: u64) -> Vec<u64> {
        let mut taken = Vec::new();
        for _ in 0..wanted.min(count) {
            let mut one = self.popular(count);
            while taken.contains(&one) {
                one = (one + 1) % count;
            }
            taken.push(one);
        }
        taken
    }

    /// A UUID of version 7 of a time.
    pub(super) fn id(&mut self, at: Timestamp) -> String {
        let mut random = [0; 10];
        for (byte, number) in random.iter_mut().zip(std::iter::repeat_with(|| self.number())) {
            *byte = (number >> 32) as u8;
        }
        let millis = u64::try_from(at.as_millisecond()).unwrap_or_default();
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid().as_hyphenated().to_string()
    }
}

/// Which of `count` things has a rank.
pub(super) fn scattered(rank: u64, count: u64) -> u64 {
    (u128::from(rank) * u128::from(STRIDE) % u128::from(count.max(1))) as u64
}

/// One number that stands for several.
pub(super) fn together(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |sum, number| mix(sum.wrapping_add(STEP) ^ number))
}

/// The finalizer of SplitMix64.
fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use mundotango_storage::db::time_of_id;

    use super::*;

    #[test]
    fn the_same_thing_draws_the_same_and_no_other_does() {
        let ids = |seed, kind, number| Draw::new(seed, kind, number).id(Timestamp::UNIX_EPOCH);
        assert_eq!(ids(1, "posts", 7), ids(1, "posts", 7));
        let others = [ids(1, "posts", 7), ids(2, "posts", 7), ids(1, "users", 7), ids(1, "posts", 8)];
        assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), 4);
        let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        assert_eq!(time_of_id(&Draw::new(1, "x", 0).id(at)), Some(at));
    }

    #[test]
    fn the_first_is_drawn_as_often_as_the_law_says() {
        let mut draws = BTreeMap::new();
        for number in 0..40_000 {
            *draws.entry(Draw::new(5, "posts", number).popular(1_000)).or_insert(0_u32) += 1;
        }
        let mut often: Vec<_> = draws.values().copied().collect();
        often.sort_unstable_by(|a, b| b.cmp(a));
        // ln 2 / ln 1001 and ln 1.5 / ln 1001 of 40,000.
        assert!(often[0].abs_diff(4_013) < 200 && often[1].abs_diff(2_347) < 150, "{:?}", &often[..3]);
        assert!(draws.len() > 900 && draws.keys().all(|number| *number < 1_000));
    }

    #[test]
    fn different_ones_are_different_and_as_many_as_there_are() {
        for count in [1, 2, 3, 7, 100] {
            let some = Draw::new(3, "x", count).different(5, count);
            assert_eq!(some.len() as u64, count.min(5));
            assert_eq!(some.iter().collect::<BTreeSet<_>>().len(), some.len());
            assert!(some.iter().all(|one| *one < count));
        }
        let all: BTreeSet<_> = (0..1_000).map(|rank| scattered(rank, 1_000)).collect();
        assert_eq!(all.len(), 1_000);
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut draw = Draw::new(9, "bounds", 1);
        assert_eq!(draw.below(0), 0);
        for _ in 0..1_000 {
            assert!(draw.below(3) < 3);
            assert!((-2..=2).contains(&draw.between(-2, 2)));
        }
    }
}
