//! HyperLogLog: how many different visitors there are, in a few kilobytes, such that sketches of parts make
//! the sketch of the whole.
//!
//! Up to [`MAX_EXACT`] visitors are kept as their hashes, and counted exactly. Above, 2^14 registers estimate
//! with a standard error of 1.04 / √(2^14) = 0.81 % (Flajolet and others, 2007). The estimator is Ertl's of
//! 2017 ("New cardinality estimation algorithms for HyperLogLog sketches", algorithm 6), which needs no
//! tables and has no bias where the two ranges meet.
//!
//! A sketch depends on the set of its visitors alone: not on their order, nor on how it was put together.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Visitors up to which a sketch is exact. More hashes than these would need about as much space as the
/// registers.
pub const MAX_EXACT: usize = 1_024;
/// Bits of a hash that choose the register.
const PRECISION: u32 = 14;
const REGISTERS: usize = 1 << PRECISION;
/// The other bits of a hash.
const REST: u32 = u64::BITS - PRECISION;
/// A register holds at most this, if all other bits are zero; it fits into [`REGISTER_BITS`].
const MAX_RANK: u8 = 51;
const REGISTER_BITS: usize = 6;
const DENSE_BYTES: usize = REGISTERS * REGISTER_BITS / 8;
/// Part of what is stored: sketches of two seeds cannot be united.
const SEED: u64 = 0x6d75_6e64_6f74_616e;
/// The first byte of a stored sketch: precision, hash, seed and layout are those of this file.
const VERSION: u8 = 1;
/// The second byte: hashes follow …
const EXACT: u8 = 0;
/// … or registers.
const DENSE: u8 = 1;

/// A set of visitors, of which only the number can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Exact(BTreeSet<u64>),
    /// The greatest rank that each register has seen.
    Dense(Box<[u8]>),
}

impl Default for Sketch {
    fn default() -> Self {
        Self(Form::Exact(BTreeSet::new()))
    }
}

impl Sketch {
    /// Adds a visitor by the id; whether that changed the sketch.
    pub fn add(&mut self, visitor: &str) -> bool {
        self.add_hash(xxh3_64_with_seed(visitor.as_bytes(), SEED))
    }

    fn add_hash(&mut self, hash: u64) -> bool {
        match &mut self.0 {
            Form::Exact(hashes) => {
                let is_new = hashes.insert(hash);
                if hashes.len() > MAX_EXACT {
                    let mut registers = vec![0; REGISTERS].into_boxed_slice();
                    for hash in hashes.iter() {
                        raise(&mut registers, *hash);
                    }
                    self.0 = Form::Dense(registers);
                }
                is_new
            }
            Form::Dense(registers) => raise(registers, hash),
        }
    }

    /// Adds all visitors of another sketch; whether that changed this one.
    pub fn unite(&mut self, other: &Self) -> bool {
        match (&mut self.0, &other.0) {
            (_, Form::Exact(hashes)) => {
                let mut changed = false;
                for hash in hashes {
                    changed |= self.add_hash(*hash);
                }
                changed
            }
            (Form::Dense(registers), Form::Dense(others)) => {
                let mut changed = false;
                for (register, other) in registers.iter_mut().zip(others) {
                    changed |= *other > *register;
                    *register = (*register).max(*other);
                }
                changed
            }
            (Form::Exact(_), Form::Dense(_)) => {
                let own = std::mem::replace(self, other.clone());
                self.unite(&own);
                true
            }
        }
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Form::Exact(hashes) if hashes.is_empty())
    }

    /// How many visitors are in it: exactly up to [`MAX_EXACT`], and with a standard error of 0.81 % above.
    pub fn count(&self) -> u64 {
        match &self.0 {
            Form::Exact(hashes) => hashes.len() as u64,
            Form::Dense(registers) => estimate(registers),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        match &self.0 {
            Form::Exact(hashes) => {
                let hashes = hashes.iter().flat_map(|hash| hash.to_be_bytes());
                [VERSION, EXACT].into_iter().chain(hashes).collect()
            }
            Form::Dense(registers) => {
                let packed = registers.as_chunks::<4>().0.iter().flat_map(|four| {
                    let bits = four.iter().fold(0_u32, |bits, rank| bits << REGISTER_BITS | u32::from(*rank));
                    let [_, bytes @ ..] = bits.to_be_bytes();
                    bytes
                });
                [VERSION, DENSE].into_iter().chain(packed).collect()
            }
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        match bytes {
            [VERSION, EXACT, hashes @ ..] if hashes.len() % 8 == 0 && hashes.len() / 8 <= MAX_EXACT => {
                let hashes = hashes.as_chunks::<8>().0.iter().map(|hash| u64::from_be_bytes(*hash));
                Ok(Self(Form::Exact(hashes.collect())))
            }
            [VERSION, DENSE, packed @ ..] if packed.len() == DENSE_BYTES => {
                let registers =
                    packed.as_chunks::<3>().0.iter().flat_map(|[a, b, c]| {
                        [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63]
                    });
                let registers: Box<[u8]> = registers.collect();
                if registers.iter().any(|rank| *rank > MAX_RANK) {
                    return Err("a register of a sketch holds more than it can".to_owned());
                }
                Ok(Self(Form::Dense(registers)))
            }
            [VERSION, ..] => Err(format!("a sketch of {} bytes cannot be read", bytes.len())),
            _ => Err(format!("a sketch of version {:?}; this build reads {VERSION}", bytes.first())),
        }
    }
}

/// Notes a hash in its register; whether that changed it.
fn raise(registers: &mut [u8], hash: u64) -> bool {
    let (index, rank) = register_of(hash);
    match registers.get_mut(index) {
        Some(register) if *register < rank => {
            *register = rank;
            true
        }
        _ => false,
    }
}

/// The register of a hash, and one more than the zeros that its other bits begin with.
fn register_of(hash: u64) -> (usize, u8) {
    let index = usize::try_from(hash >> REST).unwrap_or_default();
    let zeros = (hash << PRECISION).leading_zeros().min(REST);
    (index, u8::try_from(zeros + 1).unwrap_or(MAX_RANK))
}

/// Ertl's improved raw estimator.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate is positive and far below 2^53"
)]
fn estimate(registers: &[u8]) -> u64 {
    let mut with_rank = [0_u32; MAX_RANK as usize + 1];
    for rank in registers {
        if let Some(number) = with_rank.get_mut(usize::from(*rank)) {
            *number += 1;
        }
    }
    let all = REGISTERS as f64;
    let [zeros, ranks @ .., full] = with_rank;
    let mut sum = all * tau(1.0 - f64::from(full) / all);
    for number in ranks.iter().rev() {
        sum = 0.5 * (sum + f64::from(*number));
    }
    sum += all * sigma(f64::from(zeros) / all);
    (all * all / (2.0 * std::f64::consts::LN_2 * sum)).round() as u64
}

/// Ertl 2017, equation 19: x + Σ x^(2^k) 2^(k-1), for the registers that nobody fell into.
fn sigma(x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut x, mut weight, mut sum) = (x, 1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * weight;
        weight *= 2.0;
        if sum <= before {
            return sum;
        }
    }
}

/// Ertl 2017, equation 24: (1 - x - Σ (1 - x^(2^-k))² 2^-k) / 3, for the registers that can hold no more.
fn tau(x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut x, mut weight, mut sum) = (x, 1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - x).powi(2) * weight;
        if sum >= before {
            return sum / 3.0;
        }
    }
}

impl Serialize for Sketch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD_NO_PAD.encode(self.to_bytes()))
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD_NO_PAD.decode(text).map_err(D::Error::custom)?;
        Self::from_bytes(&bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The sketch of visitors with these numbers.
    fn of(visitors: impl IntoIterator<Item = u32>) -> Sketch {
        let mut sketch = Sketch::default();
        for visitor in visitors {
            sketch.add(&format!("visitor {visitor}"));
        }
        sketch
    }

    fn error(sketch: &Sketch, exact: u32) -> f64 {
        (sketch.count() as f64 / f64::from(exact) - 1.0).abs()
    }

    #[test]
    fn hashes_stay_what_they_were() {
        // By the formula for three bytes of the specification of XXH3.
        assert_eq!(xxh3_64_with_seed(b"u:1", SEED), 246_560_804_719_234_732);
        let stored = serde_json::to_string(&of(0..2)).unwrap();
        assert_eq!(stored, "\"AQAmO93bkxG9WjKqOCwPLR81\"");
    }

    #[test]
    fn few_are_counted_exactly() {
        for visitors in [0, 1, 2, 999, 1_024] {
            let sketch = of((0..visitors).chain(0..visitors));
            assert_eq!(sketch.count(), u64::from(visitors));
            assert_eq!(sketch.is_empty(), visitors == 0);
        }
    }

    #[test]
    fn there_is_no_step_where_counting_becomes_estimating() {
        for visitors in [1_025, 2_000, 5_000, 12_000, 30_000, 41_000, 80_000, 300_000] {
            let sketch = of(0..visitors);
            assert!(error(&sketch, visitors) < 3.0 * 0.0081, "{visitors}: {}", sketch.count());
        }
    }

    #[test]
    fn what_is_stored_is_read_back_and_nothing_else_is() {
        for visitors in [0, 1, 1_024, 1_025, 100_000] {
            let sketch = of(0..visitors);
            let stored = serde_json::to_string(&sketch).unwrap();
            assert!(stored.len() <= 16_390, "{visitors}: {} bytes", stored.len());
            assert_eq!(serde_json::from_str::<Sketch>(&stored).unwrap(), sketch);
        }
        let good = of(0..2_000).to_bytes();
        let mut full = good.clone();
        full[2] = 0xff;
        for bad in [&[][..], &[2, 0], &[1, 2], &[1, 0, 1], &good[..good.len() - 1], &full] {
            assert!(Sketch::from_bytes(bad).is_err(), "{:?}", bad.get(..3));
        }
    }

    #[test]
    fn t50_thirty_days_together_are_within_two_percent() {
        // Each day 20,000 visitors, of whom 15,000 came the day before as well.
        let days: Vec<_> = (0..30).map(|day| of(day * 5_000..day * 5_000 + 20_000)).collect();
        let mut month = Sketch::default();
        for day in &days {
            month.unite(day);
        }
        assert!(error(&month, 29 * 5_000 + 20_000) < 0.02, "{}", month.count());
        assert_eq!(month, of(0..165_000), "a union is the sketch of the whole");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Parts of any size and overlap: beside each other, within each other, one of them empty.
        #[test]
        fn t51_a_union_is_what_the_whole_would_be(first in 0..6_000_u32, second in 0..6_000_u32, begin in 0..6_000_u32) {
            let (a, b) = (of(0..first), of(begin..begin + second));
            let (mut ab, mut ba) = (a.clone(), b.clone());
            ab.unite(&b);
            ba.unite(&a);
            prop_assert_eq!(&ab, &of((0..first).chain(begin..begin + second)));
            prop_assert_eq!(&ab, &ba);
            let both = ab.clone();
            ab.unite(&a);
            prop_assert_eq!(&ab, &both);
            let exact = first + second - first.saturating_sub(begin).min(second);
            if exact as usize <= MAX_EXACT {
                prop_assert_eq!(ab.count(), u64::from(exact));
            } else {
                prop_assert!(error(&ab, exact) < 3.0 * 0.0081, "{} of {}", ab.count(), exact);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(sketch) = Sketch::from_bytes(&bytes) {
                prop_assert!(sketch.count() <= 5);
            }
        }
    }
}
