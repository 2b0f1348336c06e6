//! What an entry of the audit trail is, and what holds entries together: each names the hash of the one before it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use mundotango_gateway::Identity;
use mundotango_storage::db::shard_of;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::community::roles::role_of;

/// Over how many chains the entries of a day are spread.
pub const SHARDS: u64 = 8;
/// Who does what a rule does.
const SYSTEM: &str = "system";
/// What hashes of entries begin with; another way of hashing would have another.
const ENTRY: &str = "mundotango audit entry 1";
/// The same of the place before the first entry of a chain.
const FIRST: &str = "mundotango audit chain 1";

/// What somebody did who may do more than others, on its way into the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// When it was done.
    pub at: Timestamp,
    /// The id of who did it; `system` for a rule.
    pub actor: String,
    /// The actor's role at that moment.
    pub role: String,
    /// What was done, such as `ticket.assigned`.
    pub act: String,
    /// What it was done to.
    pub thing: Thing,
    /// The user whom reason and details are about, if they name one. They are sealed under a key of that user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Why, and how exactly.
    pub words: Words,
}

/// What something was done to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thing {
    /// Of what kind it is.
    pub kind: String,
    /// Its id.
    pub id: String,
}

/// What is said of an act besides who did what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// Why it was done, in the actor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// More of it, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl Act {
    /// What the user of a request does.
    pub fn by(identity: &Identity, act: &str, kind: &str, id: impl Into<String>, at: Timestamp) -> Self {
        let thing = Thing { kind: kind.to_owned(), id: id.into() };
        Self {
            at,
            actor: identity.user_id.clone(),
            role: role_of(identity).as_str().to_owned(),
            act: act.to_owned(),
            thing,
            subject: None,
            words: Words::default(),
        }
    }

    /// What a rule does.
    pub fn by_system(act: &str, kind: &str, id: impl Into<String>, at: Timestamp) -> Self {
        let thing = Thing { kind: kind.to_owned(), id: id.into() };
        Self {
            at,
            actor: SYSTEM.to_owned(),
            role: SYSTEM.to_owned(),
            act: act.to_owned(),
            thing,
            subject: None,
            words: Words::default(),
        }
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, reason: Option<String>) -> Self {
        self.words.reason = reason;
        self
    }

    /// Reason and details are about this user.
    #[must_use]
    pub fn about(mut self, user_id: &str) -> Self {
        self.subject = Some(user_id.to_owned());
        self
    }

    /// More of it.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.words.details.insert(name.to_owned(), value.into());
        self
    }

    /// The chain that it belongs to. It follows from the name of the effect that writes it, so an effect that is carried out twice
    /// meets its own entry.
    pub fn chain(&self, name: &str) -> String {
        chain(self.at.to_zoned_datetime(TimeZone::UTC).date(), shard_of(name, SHARDS))
    }
}

/// The id of a chain: one shard of one day, in UTC.
pub fn chain(day: Date, shard: u64) -> String {
    format!("{day}:{shard}")
}

/// The chains of a day.
pub fn chains(day: Date) -> Vec<String> {
    (0..SHARDS).map(|shard| chain(day, shard)).collect()
}

/// Words as they are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// As they are: they are about nobody.
    Plain(Words),
    /// Under a key of the user whom they are about.
    Sealed {
        /// The user.
        subject: String,
        /// What was used once with the key, in base 64.
        nonce: String,
        /// The sealed words, in base 64.
        text: String,
    },
    /// The account of the user whom they are about was erased before they were written.
    Forgotten {
        /// The user.
        subject: String,
    },
}

/// One entry of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name of the effect that wrote it.
    pub id: String,
    /// When it was done.
    pub at: Timestamp,
    /// The id of who did it.
    pub actor: String,
    /// The actor's role at that moment.
    pub role: String,
    /// What was done.
    pub act: String,
    /// What it was done to.
    pub thing: Thing,
    /// Why, and how exactly.
    pub payload: Payload,
    /// The hash of the entry before it.
    pub prev: String,
    /// The hash of this one.
    pub hash: String,
}

impl Entry {
    /// The user whom it is about, if it is about one.
    pub fn subject(&self) -> Option<&str> {
        match &self.payload {
            Payload::Plain(_) => None,
            Payload::Sealed { subject, .. } | Payload::Forgotten { subject } => Some(subject),
        }
    }

    /// Whether it tells of a review that is about a user, who is told neither who acted in it nor in which words.
    pub fn is_review_of(&self, user_id: &str) -> bool {
        self.act.starts_with("review.") && self.subject() == Some(user_id)
    }
}

/// Where a chain ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// How many entries it has.
    pub count: u64,
    /// The hash of the last one; empty where there is none.
    pub last: String,
}

impl Tip {
    /// The hash that the next entry names.
    pub fn hash(&self, chain: &str) -> String {
        if self.count == 0 { first(chain) } else { self.last.clone() }
    }
}

/// Hashes texts so that no two lists of them are hashed alike: each has its length before it.
pub(super) fn digest<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing into a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What the first entry of a chain names.
pub fn first(chain: &str) -> String {
    digest([FIRST, chain])
}

impl Entry {
    /// The hash of what the entry says, at its place.
    pub fn hashed(&self, chain: &str, number: u64) -> String {
        let (number, at) = (number.to_string(), self.at.to_string());
        let mut texts: Vec<&str> = vec![
            ENTRY,
            chain,
            &number,
            &self.prev,
            &self.id,
            &at,
            &self.actor,
            &self.role,
            &self.act,
            &self.thing.kind,
            &self.thing.id,
        ];
        match &self.payload {
            Payload::Plain(words) => {
                texts.push("plain");
                match &words.reason {
                    Some(reason) => texts.extend(["reason", reason.as_str()]),
                    None => texts.push("no reason"),
                }
                texts.extend(words.details.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
            }
            Payload::Sealed { subject, nonce, text } => texts.extend(["sealed", subject, nonce, text]),
            Payload::Forgotten { subject } => texts.extend(["forgotten", subject]),
        }
        digest(texts)
    }
}

/// What is wrong with a chain, or with the roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditFault)]
pub enum Fault {
    /// There is no such entry or root, or it cannot be read.
    Missing,
    /// It says something else than when it was written.
    Changed,
    /// It does not name the one before it.
    Unlinked,
    /// There are others at the end than the last one that was written.
    WrongEnd,
    /// A signed root says something else of this place.
    NotAsSigned,
    /// A list in which it is to be found does not lead to it.
    Unlisted,
}

/// Where a chain breaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = AuditBreak)]
pub struct Break {
    /// The number of the entry, or of the root.
    #[schema(minimum = 0)]
    pub number: u64,
    /// What is wrong there.
    pub fault: Fault,
}

/// Checks a chain entry by entry.
#[derive(Debug)]
pub struct Check<'a> {
    chain: &'a str,
    seen: Tip,
    broken: Option<Break>,
    /// What signed roots say: hashes by number.
    signed: BTreeMap<u64, String>,
}

impl<'a> Check<'a> {
    /// Begins with a chain of which signed roots say these ends.
    pub fn new(chain: &'a str, signed: impl IntoIterator<Item = Tip>) -> Self {
        let signed = signed.into_iter().filter(|tip| tip.count > 0).map(|tip| (tip.count, tip.last));
        Self { chain, seen: Tip::default(), broken: None, signed: signed.collect() }
    }

    fn found(&mut self, number: u64, fault: Fault) {
        self.broken.get_or_insert(Break { number, fault });
    }

    /// Whether the rest needs no looking at.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Looks at the next entry that is there.
    pub fn see(&mut self, number: u64, entry: &Entry) {
        let expected = self.seen.count + 1;
        if number != expected {
            self.found(expected, Fault::Missing);
        } else if entry.hashed(self.chain, number) != entry.hash {
            self.found(number, Fault::Changed);
        } else if entry.prev != self.seen.hash(self.chain) {
            self.found(number, Fault::Unlinked);
        } else if self.signed.remove(&number).is_some_and(|signed| signed != entry.hash) {
            self.found(number, Fault::NotAsSigned);
        }
        self.seen = Tip { count: number, last: entry.hash.clone() };
    }

    /// Where the chain breaks, if it does, with the end that it has.
    pub fn end(mut self, tip: &Tip) -> Option<Break> {
        if let Some((number, _)) = self.signed.first_key_value() {
            let number = *number;
            self.found(number, Fault::NotAsSigned);
        }
        if self.seen.count < tip.count {
            self.found(self.seen.count + 1, Fault::Missing);
        } else if self.seen != *tip {
            self.found(self.seen.count, Fault::WrongEnd);
        }
        self.broken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHAIN: &str = "2026-11-20:3";

    fn entries(count: u64) -> (Vec<Entry>, Tip) {
        let mut tip = Tip::default();
        let mut entries = Vec::new();
        for number in 1..=count {
            let mut entry = Entry {
                id: format!("effect-{number}"),
                at: Timestamp::UNIX_EPOCH,
                actor: "ana".to_owned(),
                role: "admin".to_owned(),
                act: "ticket.assigned".to_owned(),
                thing: Thing { kind: "ticket".to_owned(), id: number.to_string() },
                payload: Payload::Plain(Words { reason: Some("x".to_owned()), details: BTreeMap::new() }),
                prev: tip.hash(CHAIN),
                hash: String::new(),
            };
            entry.hash = entry.hashed(CHAIN, number);
            tip = Tip { count: number, last: entry.hash.clone() };
            entries.push(entry);
        }
        (entries, tip)
    }

    /// Checks rows as a store gives them: by number, some of which may be gone.
    fn check(rows: &[(u64, Entry)], tip: &Tip, signed: Vec<Tip>) -> Option<Break> {
        let mut check = Check::new(CHAIN, signed);
        for (number, entry) in rows {
            check.see(*number, entry);
        }
        check.end(tip)
    }

    fn numbered(entries: Vec<Entry>) -> Vec<(u64, Entry)> {
        (1..).zip(entries).collect()
    }

    /// Changes one of an entry's texts.
    fn falsify(entry: &mut Entry, which: usize) {
        match which {
            0 => entry.actor.push('x'),
            1 => entry.role.push('x'),
            2 => entry.act.push('x'),
            3 => entry.thing.kind.push('x'),
            4 => entry.thing.id.push('x'),
            5 => entry.id.push('x'),
            6 => entry.at += jiff::SignedDuration::from_nanos(1),
            7 => entry.payload = Payload::Plain(Words::default()),
            8 => entry.prev.push('x'),
            _ => entry.hash.push('x'),
        }
    }

    proptest! {
        #[test]
        fn a_chain_that_nobody_touched_is_whole(count in 0_u64..20) {
            let (entries, tip) = entries(count);
            prop_assert_eq!(check(&numbered(entries), &tip, vec![tip.clone()]), None);
        }

        #[test]
        fn a_changed_entry_is_found_where_it_is(count in 1_u64..20, at in any::<prop::sample::Index>(), which in 0_usize..10) {
            let (mut entries, tip) = entries(count);
            let at = at.index(entries.len());
            falsify(&mut entries[at], which);
            let found = check(&numbered(entries), &tip, Vec::new());
            prop_assert_eq!(found, Some(Break { number: at as u64 + 1, fault: Fault::Changed }));
        }

        #[test]
        fn a_removed_entry_is_found_where_it_was(count in 1_u64..20, at in any::<prop::sample::Index>()) {
            let (entries, tip) = entries(count);
            let at = at.index(entries.len());
            let mut rows = numbered(entries);
            rows.remove(at);
            let found = check(&rows, &tip, Vec::new());
            prop_assert_eq!(found, Some(Break { number: at as u64 + 1, fault: Fault::Missing }));
        }

        #[test]
        fn a_swapped_pair_is_found_at_the_first_of_them(count in 2_u64..20, one in any::<prop::sample::Index>(), other in any::<prop::sample::Index>()) {
            let (mut entries, tip) = entries(count);
            let (one, other) = (one.index(entries.len()), other.index(entries.len()));
            prop_assume!(one != other);
            entries.swap(one, other);
            let found = check(&numbered(entries), &tip, Vec::new());
            prop_assert_eq!(found, Some(Break { number: one.min(other) as u64 + 1, fault: Fault::Changed }));
        }

        /// Trap 66: who owns the database can make a chain that holds, but not another root.
        #[test]
        fn a_chain_that_was_made_anew_is_not_as_signed(count in 1_u64..20, at in any::<prop::sample::Index>()) {
            let (mut entries, signed) = entries(count);
            let at = at.index(entries.len());
            entries[at].actor = "eva".to_owned();
            let mut tip = Tip::default();
            for (number, entry) in (1..).zip(&mut entries) {
                entry.prev = tip.hash(CHAIN);
                entry.hash = entry.hashed(CHAIN, number);
                tip = Tip { count: number, last: entry.hash.clone() };
            }
            prop_assert_eq!(check(&numbered(entries.clone()), &tip, Vec::new()), None);
            let found = check(&numbered(entries), &tip, vec![signed]);
            prop_assert_eq!(found, Some(Break { number: count, fault: Fault::NotAsSigned }));
        }
    }

    #[test]
    fn a_chain_that_was_cut_off_with_its_end_is_not_as_signed() {
        let (mut entries, signed) = entries(3);
        entries.pop();
        let tip = Tip { count: 2, last: entries[1].hash.clone() };
        let found = check(&numbered(entries), &tip, vec![signed]);
        assert_eq!(found, Some(Break { number: 3, fault: Fault::NotAsSigned }));
    }

    #[test]
    fn an_effect_has_one_chain_whenever_it_is_carried_out() {
        let identity = Identity { user_id: "ana".to_owned(), role: "admin".to_owned(), login_id: None };
        let at = "2026-11-20T23:59:59.999Z".parse().unwrap();
        let act = Act::by(&identity, "job.dropped", "job", "1", at);
        assert_eq!(act.role, "admin");
        assert_eq!(act.chain("x.0"), act.chain("x.0"));
        assert!(act.chain("x.0").starts_with("2026-11-20:"), "{}", act.chain("x.0"));
    }
}
