//! Which addresses get no letters, because mailboxes said so.
//!
//! - An address that takes no mail gets none. Every `SECURITY_PAUSE` one letter about the account may try
//!   again: mailboxes come back, and nobody should be locked out for good by one wrong answer.
//! - A person who called a letter spam gets no letters that a person can unsubscribe from. Letters about the
//!   account still come.
//! - After `SOFT_LIMIT` passing failures within `SOFT_WINDOW` an address gets no letters that can be
//!   unsubscribed from, until the failures are older.
//!
//! Addresses are kept as digests.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Erasure, Export, Fields, Kind, Wants, Whose};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Address, Feedback, FeedbackKind, MessageId, Scope};

/// What is known of each address, by its digest.
pub static SUPPRESSIONS: Kind<(), Suppression, ()> =
    Kind::new("suppressions", "an address: 32 events of 21 B and 8 times, 1 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Named,
        Export::Given,
        Erasure::Kept(
            "as a digest of the address, so that who complained gets no letters; until an admin lifts it",
        ),
        &["id", "head.hard.**", "head.complaint", "head.soft.*"],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("it only tells letters apart"),
        Erasure::Kept("with the digest of the address"),
        &["head.probe.**", "head.seen.*"],
    ),
];

/// How many passing failures stop letters.
const SOFT_LIMIT: usize = 5;
/// Within how long they have to be.
const SOFT_WINDOW: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How long an address that takes no mail gets no letter about the account either.
const SECURITY_PAUSE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// After how long a letter that did not come back has arrived.
const PROBATION: SignedDuration = SignedDuration::from_hours(24);
/// Most names of events that are kept. Providers repeat an event within a day or two.
const MAX_SEEN: usize = 32;

/// What is known of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Suppression {
    /// The address takes no mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard: Option<HardBounces>,
    /// When the person first called a letter spam.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complaint: Option<Timestamp>,
    /// When the last passing failures were, the oldest first; five at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub soft: Vec<Timestamp>,
    /// The last letter that was let through to an address that took no mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<Probe>,
    /// The digests of the last events, so that one which is told again counts once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    seen: Vec<u64>,
}

/// An address takes no mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardBounces {
    /// When this was first told.
    pub since: Timestamp,
    /// When this was last told.
    pub last: Timestamp,
    /// The enhanced status code, such as `5.1.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enhanced: Option<String>,
}

/// A letter that tries whether an address takes mail again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Probe {
    at: Timestamp,
    message: String,
}

/// Why a letter is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The address takes no mail.
    HardBounce {
        /// Since when.
        since: Timestamp,
        /// The enhanced status code.
        enhanced: Option<String>,
    },
    /// The person called a letter spam.
    Complaint {
        /// When.
        since: Timestamp,
    },
    /// Too many letters failed lately.
    SoftBounces {
        /// When this ends if no other letter fails.
        until: Timestamp,
    },
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HardBounce { since, enhanced: Some(code) } => {
                write!(f, "the address takes no mail since {since} ({code})")
            }
            Self::HardBounce { since, enhanced: None } => {
                write!(f, "the address takes no mail since {since}")
            }
            Self::Complaint { since } => write!(f, "the person called a letter spam at {since}"),
            Self::SoftBounces { until } => write!(f, "too many letters failed lately; none until {until}"),
        }
    }
}

/// What is decided about a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Send,
    /// It is the one letter that tries again.
    Probe,
    Blocked(Blocked),
}

impl Suppression {
    /// Notes what happened; whether that is new.
    fn note(&mut self, kind: FeedbackKind, enhanced: Option<&str>, event: &str, now: Timestamp) -> bool {
        let event = digest_of_event(event);
        if self.seen.contains(&event) {
            return false;
        }
        push_bounded(&mut self.seen, event, MAX_SEEN);
        match kind {
            FeedbackKind::HardBounce => {
                let since = self.hard.as_ref().map_or(now, |hard| hard.since);
                self.hard = Some(HardBounces { since, last: now, enhanced: enhanced.map(str::to_owned) });
                self.probe = None;
            }
            FeedbackKind::SoftBounce => push_bounded(&mut self.soft, now, SOFT_LIMIT),
            FeedbackKind::Complaint => {
                self.complaint.get_or_insert(now);
            }
        }
        true
    }

    /// Forgets what stops letters; whether there was any. Events stay known: one that is told again is an old
    /// one.
    fn lift(&mut self) -> bool {
        let lifted = Self { seen: std::mem::take(&mut self.seen), ..Self::default() };
        let any = *self != Self::default();
        *self = lifted;
        any
    }

    fn verdict(&self, scope: Scope, message: &MessageId, now: Timestamp) -> Verdict {
        if scope == Scope::Security {
            return self
                .hard
                .as_ref()
                .map_or(Verdict::Send, |hard| self.security_verdict(hard, message, now));
        }
        let blocked = self.hard.as_ref().map(HardBounces::blocked);
        let blocked = blocked.or_else(|| self.complaint.map(|since| Blocked::Complaint { since }));
        let blocked = blocked.or_else(|| self.soft_block(now));
        blocked.map_or(Verdict::Send, Verdict::Blocked)
    }

    fn security_verdict(&self, hard: &HardBounces, message: &MessageId, now: Timestamp) -> Verdict {
        match &self.probe {
            // All attempts of a letter are one letter.
            Some(probe) if probe.message == message.as_str() => Verdict::Send,
            // Nothing came back.
            Some(probe) if now >= probe.at + PROBATION => Verdict::Send,
            None if now >= hard.last + SECURITY_PAUSE => Verdict::Probe,
            _ => Verdict::Blocked(hard.blocked()),
        }
    }

    fn soft_block(&self, now: Timestamp) -> Option<Blocked> {
        // Of the last few failures, the oldest decides: when it is too old, there are too few within the
        // window.
        let oldest = self.soft.first().filter(|_| self.soft.len() >= SOFT_LIMIT)?;
        let until = *oldest + SOFT_WINDOW;
        (now < until).then_some(Blocked::SoftBounces { until })
    }
}

impl HardBounces {
    fn blocked(&self) -> Blocked {
        Blocked::HardBounce { since: self.since, enhanced: self.enhanced.clone() }
    }
}

/// Puts an item at the end, and takes away the first where there are too many.
fn push_bounded<T>(items: &mut Vec<T>, item: T, most: usize) {
    items.push(item);
    let surplus = items.len().saturating_sub(most);
    items.drain(..surplus);
}

fn digest_of_event(event: &str) -> u64 {
    Sha256::digest(event.as_bytes()).first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// The name of an address's partition. Mailboxes do not tell cases apart, whatever the standard allows.
fn partition(address: &Address) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(address.as_str().to_ascii_lowercase().as_bytes()))
}

/// What is known of all addresses.
#[derive(Clone)]
pub struct SuppressionList(Db);

impl SuppressionList {
    /// What a store knows.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Notes what became of a letter; whether that is new.
    pub async fn record(&self, feedback: &Feedback, now: Timestamp) -> Result<bool, StoreError> {
        let Feedback { address, kind, enhanced, provider_event_id: event, .. } = feedback.clone();
        let partition = partition(&address);
        let noted = self.0.change(&SUPPRESSIONS, &partition, Wants::head(), move |part| {
            let is_new = part.head.note(kind, enhanced.as_deref(), &event, now);
            Ok::<_, StoreError>(Decision::write_if(is_new))
        });
        Ok(noted.await?.unwrap_or_default())
    }

    /// Why a letter is not to be sent to an address; `None` if it is. To be asked before each attempt: an
    /// answer may make this letter the one that tries an address again.
    pub async fn why_not(
        &self,
        address: &Address,
        scope: Scope,
        message: &MessageId,
        now: Timestamp,
    ) -> Result<Option<Blocked>, StoreError> {
        match self.of(address).await?.verdict(scope, message, now) {
            Verdict::Send => return Ok(None),
            Verdict::Blocked(why) => return Ok(Some(why)),
            Verdict::Probe => {}
        }
        let (partition, message) = (partition(address), message.clone());
        let decided = self.0.change(&SUPPRESSIONS, &partition, Wants::head(), move |part| {
            Ok::<_, StoreError>(match part.head.verdict(scope, &message, now) {
                Verdict::Send => Decision::Stands(None),
                // Another letter was faster.
                Verdict::Blocked(why) => Decision::Stands(Some(why)),
                Verdict::Probe => {
                    part.head.probe = Some(Probe { at: now, message: message.as_str().to_owned() });
                    Decision::Write(None)
                }
            })
        });
        Ok(decided.await?.flatten())
    }

    /// Lets letters go to an address again, after an admin or the person has seen to it; whether any were
    /// stopped.
    pub async fn lift(&self, address: &Address) -> Result<bool, StoreError> {
        let partition = partition(address);
        let lifted = self.0.change(&SUPPRESSIONS, &partition, Wants::head(), |part| {
            let any = part.head.lift();
            Ok::<_, StoreError>(Decision::write_if(any))
        });
        Ok(lifted.await?.unwrap_or_default())
    }

    /// What is known of an address.
    pub async fn of(&self, address: &Address) -> Result<Suppression, StoreError> {
        let found = self.0.read(&SUPPRESSIONS, &partition(address)).await?;
        Ok(found.map(|found| found.head).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use mundotango_storage::db::Schema;
    use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};

    use super::*;

    fn day(day: i64) -> Timestamp {
        "2026-07-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * day)
    }

    fn id(job: &str) -> MessageId {
        MessageId::of_job(job).unwrap()
    }

    fn after(events: &[(FeedbackKind, i64)]) -> Suppression {
        let mut known = Suppression::default();
        for (number, (kind, at)) in events.iter().enumerate() {
            assert!(known.note(*kind, Some("5.1.1"), &number.to_string(), day(*at)));
        }
        known
    }

    fn is_sent(known: &Suppression, scope: Scope, now: Timestamp) -> bool {
        !matches!(known.verdict(scope, &id("new"), now), Verdict::Blocked(_))
    }

    #[test]
    fn t32_a_complaint_never_stops_letters_about_the_account() {
        let known = after(&[(FeedbackKind::Complaint, 0)]);
        assert!(is_sent(&known, Scope::Security, day(0)));
        for later in [0, 100, 1000] {
            let why = known.verdict(Scope::Activity, &id("new"), day(later));
            assert_eq!(why, Verdict::Blocked(Blocked::Complaint { since: day(0) }));
        }
    }

    #[test]
    fn t32_soft_bounces_stop_letters_only_when_they_are_many_and_decay() {
        let soft = FeedbackKind::SoftBounce;
        assert!(is_sent(&after(&[(soft, 0); 4]), Scope::Activity, day(0)));
        let known = after(&[(soft, 0), (soft, 1), (soft, 2), (soft, 3), (soft, 4)]);
        let why = known.verdict(Scope::Activity, &id("new"), day(4));
        assert_eq!(why, Verdict::Blocked(Blocked::SoftBounces { until: day(14) }));
        assert!(is_sent(&known, Scope::Activity, day(14)));
        assert!(is_sent(&known, Scope::Security, day(4)));
        // One in four days is not too many, however long it goes on.
        let slow: Vec<_> = (0..50).map(|number| (soft, 4 * number)).collect();
        assert!(is_sent(&after(&slow), Scope::Activity, day(4 * 49)));
        assert_eq!(after(&slow).soft.len(), SOFT_LIMIT);
    }

    #[test]
    fn t32_a_hard_bounce_stops_all_and_one_letter_about_the_account_tries_again() {
        let mut known = after(&[(FeedbackKind::HardBounce, 0)]);
        let blocked = || Blocked::HardBounce { since: day(0), enhanced: Some("5.1.1".to_owned()) };
        for scope in [Scope::Security, Scope::Activity] {
            assert_eq!(known.verdict(scope, &id("new"), day(6)), Verdict::Blocked(blocked()));
        }
        assert!(!is_sent(&known, Scope::Activity, day(1000)));
        assert_eq!(known.verdict(Scope::Security, &id("first"), day(7)), Verdict::Probe);
        known.probe = Some(Probe { at: day(7), message: "first".to_owned() });
        assert_eq!(known.verdict(Scope::Security, &id("first"), day(7)), Verdict::Send);
        assert_eq!(known.verdict(Scope::Security, &id("second"), day(7)), Verdict::Blocked(blocked()));
        // Nothing came back: the address works, for letters about the account.
        assert_eq!(known.verdict(Scope::Security, &id("second"), day(8)), Verdict::Send);
        assert!(!is_sent(&known, Scope::Activity, day(8)));
        // It came back: all begins again.
        assert!(known.note(FeedbackKind::HardBounce, None, "again", day(8)));
        assert!(!is_sent(&known, Scope::Security, day(14)));
        assert_eq!(known.verdict(Scope::Security, &id("third"), day(15)), Verdict::Probe);
        let hard = HardBounces { since: day(0), last: day(8), enhanced: None };
        assert_eq!(known.hard, Some(hard));
    }

    #[test]
    fn an_event_that_is_told_again_counts_once_and_few_are_kept() {
        let mut known = Suppression::default();
        assert!(known.note(FeedbackKind::SoftBounce, None, "a", day(0)));
        assert!(!known.note(FeedbackKind::SoftBounce, None, "a", day(1)));
        assert_eq!(known.soft, [day(0)]);
        for number in 0..100 {
            known.note(FeedbackKind::Complaint, None, &number.to_string(), day(1));
        }
        assert_eq!((known.seen.len(), known.complaint), (MAX_SEEN, Some(day(1))));
    }

    #[test]
    fn what_is_lifted_is_not_stopped_by_old_events() {
        let mut known = after(&[(FeedbackKind::HardBounce, 0), (FeedbackKind::Complaint, 0)]);
        assert!(known.lift());
        assert!(!known.note(FeedbackKind::HardBounce, None, "0", day(1)));
        assert!(is_sent(&known, Scope::Activity, day(1)));
        assert!(!known.lift());
    }

    #[test]
    fn reasons_are_told_in_words() {
        let told = |blocked: Blocked| blocked.to_string();
        let hard = |enhanced| told(Blocked::HardBounce { since: day(0), enhanced });
        assert_eq!(
            hard(Some("5.1.1".to_owned())),
            "the address takes no mail since 2026-07-01T00:00:00Z (5.1.1)"
        );
        assert_eq!(hard(None), "the address takes no mail since 2026-07-01T00:00:00Z");
        let complaint = told(Blocked::Complaint { since: day(0) });
        assert_eq!(complaint, "the person called a letter spam at 2026-07-01T00:00:00Z");
        let soft = told(Blocked::SoftBounces { until: day(0) });
        assert_eq!(soft, "too many letters failed lately; none until 2026-07-01T00:00:00Z");
    }

    #[tokio::test]
    async fn a_store_knows_an_address_in_any_case_and_lets_one_letter_try() {
        let folder = tempfile::tempdir().unwrap();
        let schema = Schema { kinds: vec![SUPPRESSIONS.spec()], indexes: vec![] };
        let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &schema).unwrap();
        let list = SuppressionList::new(store.stores().db);
        let ana: Address = "Ana@example.net".parse().unwrap();
        let feedback = Feedback {
            address: "ana@EXAMPLE.net".parse().unwrap(),
            kind: FeedbackKind::HardBounce,
            enhanced: Some("5.1.1".to_owned()),
            message_id: None,
            provider_event_id: "ses:1".to_owned(),
        };
        assert_eq!(list.of(&ana).await.unwrap(), Suppression::default());
        assert!(list.record(&feedback, day(0)).await.unwrap());
        assert!(!list.record(&feedback, day(1)).await.unwrap());
        assert_eq!(list.of(&ana).await.unwrap().hard.unwrap().last, day(0));
        let bob = "bob@example.net".parse().unwrap();
        assert_eq!(list.why_not(&bob, Scope::Activity, &id("1"), day(0)).await.unwrap(), None);

        let is_blocked = async |message: &str, at| {
            list.why_not(&ana, Scope::Security, &id(message), at).await.unwrap().is_some()
        };
        assert!(is_blocked("1", day(6)).await);
        let ids: Vec<_> = (0..10).map(|number| number.to_string()).collect();
        let tried = ids.iter().map(|message| is_blocked(message, day(7)));
        let blocked = futures_util::future::join_all(tried).await;
        assert_eq!(blocked.iter().filter(|blocked| !**blocked).count(), 1, "one letter tries");

        assert!(list.lift(&ana).await.unwrap());
        assert!(!list.lift(&ana).await.unwrap());
        assert_eq!(list.why_not(&ana, Scope::Activity, &id("1"), day(7)).await.unwrap(), None);
    }
}
