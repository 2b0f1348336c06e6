//! A root: what is signed of a day, and whether all roots are there. Each names the one before it. Pure.

use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use jiff::Timestamp;
use jiff::civil::Date;
use mundotango_gateway::tokens::Tokens;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::rules::{Break, Fault, Tip, digest};

/// What hashes of roots begin with.
const ROOT: &str = "mundotango audit root 1";

/// What is signed of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The day, in UTC.
    pub day: Date,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// The end of each chain, by shard.
    pub tips: Vec<Tip>,
    /// The hash of the root before it; empty for the first.
    pub previous: String,
    /// The hash of all this.
    pub hash: String,
    /// The public key that signed it (Ed25519), in base 64.
    pub key: String,
    /// The signature of the hash, in base 64.
    pub signature: String,
}

impl Root {
    pub(super) fn hashed(&self) -> String {
        let (day, at) = (self.day.to_string(), self.signed_at.to_string());
        let counts: Vec<_> = self.tips.iter().map(|tip| tip.count.to_string()).collect();
        let mut texts = vec![ROOT, &day, &at, &self.previous];
        for (count, tip) in counts.iter().zip(&self.tips) {
            texts.extend([count.as_str(), tip.last.as_str()]);
        }
        digest(texts)
    }

    /// Whether its hash is that of what it says, and its signature that of its key.
    pub fn is_signed(&self) -> bool {
        let (Ok(key), Ok(signature)) = (BASE64.decode(&self.key), BASE64.decode(&self.signature)) else {
            return false;
        };
        self.hashed() == self.hash
            && UnparsedPublicKey::new(&ED25519, key).verify(self.hash.as_bytes(), &signature).is_ok()
    }
}

/// The key of the installation that signs roots. It is made of the node's secret, which the store does not hold, so all nodes have
/// the same and who can write to the store has none.
#[derive(Clone)]
pub struct RootKey(Arc<Ed25519KeyPair>);

impl RootKey {
    /// The key of the node whose tokens these are.
    pub fn of(tokens: &Tokens) -> anyhow::Result<Self> {
        Self::of_secret(tokens.seal("audit roots", "key")?.as_bytes())
    }

    /// The key of a secret that has no other use.
    pub fn of_secret(secret: &[u8]) -> anyhow::Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&Sha256::digest(secret));
        Ok(Self(Arc::new(pair.map_err(|error| anyhow::anyhow!("no key signs the audit trail: {error}"))?)))
    }

    /// The public part, in base 64.
    pub fn public(&self) -> String {
        BASE64.encode(self.0.public_key())
    }

    pub(super) fn sign(&self, mut root: Root) -> Root {
        root.key = self.public();
        root.hash = root.hashed();
        root.signature = BASE64.encode(self.0.sign(root.hash.as_bytes()));
        root
    }

    /// What comes of looking at a root of which it is known whether it names the one before it.
    pub(super) fn check(&self, root: Root, is_linked: bool) -> CheckedRoot {
        CheckedRoot { is_signed: root.is_signed(), is_own: root.key == self.public(), is_linked, root }
    }
}

/// What came of looking at a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedRoot {
    /// The root.
    pub root: Root,
    /// Whether its signature holds.
    pub is_signed: bool,
    /// Whether the key is the installation's own of now.
    pub is_own: bool,
    /// Whether it names the root before it.
    pub is_linked: bool,
}

/// Looks at all roots one by one, with a day in mind.
#[derive(Debug)]
pub(super) struct Sequence {
    day: Date,
    /// How many roots were seen, and the hash of the last one.
    seen: Tip,
    broken: Option<Break>,
    /// The first day of which there is a root, and the last.
    signed: Option<(Date, Date)>,
    of_day: Vec<(Root, bool)>,
}

/// What came of looking at all roots.
#[derive(Debug)]
pub(super) struct CheckedSequence {
    /// How many there are to be.
    pub(super) count: u64,
    /// Where one is missing, was changed, or does not name the one before it.
    pub(super) broken: Option<Break>,
    /// Whether no root is of the day, though days before and behind it are signed: each day between two that were signed has a root, also
    /// where nothing was done on it.
    pub(super) is_unsigned: bool,
    /// The roots of the day, and whether each names the one before it.
    pub(super) of_day: Vec<(Root, bool)>,
}

impl Sequence {
    pub(super) fn new(day: Date) -> Self {
        Self { day, seen: Tip::default(), broken: None, signed: None, of_day: Vec::new() }
    }

    fn found(&mut self, number: u64, fault: Fault) {
        self.broken.get_or_insert(Break { number, fault });
    }

    /// Looks at the next root that is there.
    pub(super) fn see(&mut self, number: u64, root: Root) {
        let expected = self.seen.count + 1;
        let is_linked = root.previous == self.seen.last;
        if number != expected {
            self.found(expected, Fault::Missing);
        } else if root.hashed() != root.hash {
            self.found(number, Fault::Changed);
        } else if !is_linked {
            self.found(number, Fault::Unlinked);
        }
        self.seen = Tip { count: number, last: root.hash.clone() };
        let (first, last) = self.signed.unwrap_or((root.day, root.day));
        self.signed = Some((first.min(root.day), last.max(root.day)));
        if root.day == self.day {
            self.of_day.push((root, is_linked));
        }
    }

    /// What came of it, with how many there are to be and the hash of the last one.
    pub(super) fn end(mut self, count: u64, last: &str) -> CheckedSequence {
        if self.seen.count < count {
            self.found(self.seen.count + 1, Fault::Missing);
        } else if self.seen.last != last {
            self.found(self.seen.count, Fault::WrongEnd);
        }
        let is_between = self.signed.is_some_and(|(first, last)| first <= self.day && self.day <= last);
        let is_unsigned = is_between && self.of_day.is_empty();
        CheckedSequence { count, broken: self.broken, is_unsigned, of_day: self.of_day }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(number: i8) -> Date {
        jiff::civil::date(2026, 11, number)
    }

    /// Five roots in a row, of the days 20 to 23: the second day was signed again after the third.
    fn five() -> Vec<(u64, Root)> {
        let key = RootKey::of_secret(b"a secret").unwrap();
        let mut previous = String::new();
        let days = [20, 21, 22, 21, 23];
        let roots = days.into_iter().zip(1..).map(|(of, number)| {
            let root = key.sign(Root {
                day: day(of),
                signed_at: Timestamp::UNIX_EPOCH,
                tips: vec![Tip { count: number, last: "x".to_owned() }],
                previous: previous.clone(),
                hash: String::new(),
                key: String::new(),
                signature: String::new(),
            });
            previous.clone_from(&root.hash);
            (number, root)
        });
        roots.collect()
    }

    fn checked(roots: &[(u64, Root)], of: i8, count: u64, last: &str) -> CheckedSequence {
        let mut sequence = Sequence::new(day(of));
        for (number, root) in roots {
            sequence.see(*number, root.clone());
        }
        sequence.end(count, last)
    }

    #[test]
    fn roots_that_nobody_touched_are_all_there() {
        let roots = five();
        let last = roots[4].1.hash.clone();
        for (of, count) in [(19, 0), (20, 1), (21, 2), (22, 1), (23, 1), (24, 0)] {
            let checked = checked(&roots, of, 5, &last);
            assert_eq!((checked.broken, checked.is_unsigned), (None, false), "{of}");
            assert_eq!(checked.of_day.len(), count, "{of}");
            assert!(checked.of_day.iter().all(|(_, is_linked)| *is_linked));
        }
        let none = checked(&[], 20, 0, "");
        assert_eq!((none.broken, none.is_unsigned), (None, false));
    }

    #[test]
    fn a_removed_root_is_found_on_every_day() {
        let all = five();
        let last = all[4].1.hash.clone();
        for gone in 0..5 {
            let mut roots = all.clone();
            roots.remove(gone);
            let number = gone as u64 + 1;
            let missing = Some(Break { number, fault: Fault::Missing });
            for of in 20..=23 {
                assert_eq!(checked(&roots, of, 5, &last).broken, missing, "{gone}");
            }
            // Counted anew, they do not name each other.
            let anew: Vec<_> = (1..).zip(roots.into_iter().map(|(_, root)| root)).collect();
            let end = anew[3].1.hash.clone();
            let broken = checked(&anew, 20, 4, &end).broken;
            let unlinked = (gone < 4).then_some(Break { number, fault: Fault::Unlinked });
            assert_eq!(broken, unlinked, "{gone}");
        }
    }

    #[test]
    fn a_day_without_a_root_between_others_is_found_however_the_rest_was_made_anew() {
        let mut roots: Vec<_> = five().into_iter().filter(|(_, root)| root.day != day(21)).collect();
        let mut last = String::new();
        for (number, (place, root)) in (1..).zip(&mut roots) {
            (*place, root.previous) = (number, last);
            root.hash = root.hashed();
            last = root.hash.clone();
        }
        let found = checked(&roots, 21, 3, &last);
        assert!(found.is_unsigned && found.broken.is_none());
        let beside = checked(&roots, 22, 3, &last);
        assert!(!beside.is_unsigned && !beside.of_day[0].0.is_signed(), "nobody else has the key");
        assert_eq!(checked(&roots, 22, 3, "x").broken, Some(Break { number: 3, fault: Fault::WrongEnd }));
    }

    #[test]
    fn a_root_holds_only_as_it_was_signed() {
        let key = RootKey::of_secret(b"a secret").unwrap();
        let root = key.sign(Root {
            day: "2026-11-20".parse().unwrap(),
            signed_at: Timestamp::UNIX_EPOCH,
            tips: vec![Tip { count: 2, last: "x".to_owned() }],
            previous: String::new(),
            hash: String::new(),
            key: String::new(),
            signature: String::new(),
        });
        assert!(root.is_signed());
        let mut other = root.clone();
        other.tips[0].count = 1;
        assert!(!other.is_signed());
        other.hash = other.hashed();
        assert!(!other.is_signed(), "without the key there is no other signature");
        let forged = RootKey::of_secret(b"another secret").unwrap().sign(other);
        assert!(forged.is_signed() && forged.key != root.key, "another key is seen");
    }
}
