//! What a review is: what is looked at, what is decided, and the appeal against that. Pure.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::community::accounts::restrictions::Ability;

/// How long a decision can be appealed.
pub const APPEAL_WITHIN: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How long after the time to appeal a decision is final: so long an appeal of the last moment may be on its way.
pub const FINAL_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// How long a decision counts as a strike.
pub const STRIKE_FOR: SignedDuration = SignedDuration::from_hours(180 * 24);

/// Of what kind the thing is that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReviewedKind)]
pub enum ThingKind {
    /// A user.
    User,
    /// A post.
    Post,
    /// A comment.
    Comment,
    /// An event.
    Event,
    /// A series of events.
    Series,
    /// A place to stay.
    Listing,
    /// A booking.
    Booking,
    /// A message of a chat.
    Message,
}

impl ThingKind {
    /// Whether a decision can take it away, and give it back.
    pub const fn can_be_taken_away(self) -> bool {
        matches!(self, Self::Post | Self::Comment | Self::Message | Self::Event | Self::Listing)
    }

    /// Its name, as clients write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Post => "post",
            Self::Comment => "comment",
            Self::Event => "event",
            Self::Series => "series",
            Self::Listing => "listing",
            Self::Booking => "booking",
            Self::Message => "message",
        }
    }
}

/// What never changes about a review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Of what kind the thing is.
    pub kind: ThingKind,
    /// The thing's id.
    pub thing: String,
    /// The user whom it is about, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Who opened it; nobody where a rule did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_by: Option<String>,
    /// The rule that opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why.
    pub reason: String,
    /// When.
    pub created_at: Timestamp,
}

impl Facts {
    /// The user whom it is about: the thing itself, or who is named.
    pub fn subject(&self) -> Option<&str> {
        if self.kind == ThingKind::User { Some(&self.thing) } else { self.about.as_deref() }
    }

    /// The same, with whom it is about in the one field that says so, by which it is found when that user leaves.
    #[must_use]
    pub fn with_subject(self) -> Self {
        let about = self.subject().map(str::to_owned);
        Self { about, ..self }
    }
}

/// What comes of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReviewOutcome)]
pub enum Outcome {
    /// Nothing.
    None,
    /// A warning.
    Warn,
    /// The thing is taken away.
    Remove,
    /// Whom it is about is kept from something for a time.
    Restrict,
    /// Whom it is about is locked out.
    Lock,
}

impl Outcome {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Warn => "warn",
            Self::Remove => "remove",
            Self::Restrict => "restrict",
            Self::Lock => "lock",
        }
    }
}

/// What somebody of the staff said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// What changes about a review besides its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// It was handed on to admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalated: Option<Said>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Who said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Said>,
    /// By which rule, with which effect and until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruling: Option<Ruling>,
    /// What whom it is about has against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appeal: Option<Appeal>,
    /// How many members have reported it.
    #[serde(default)]
    pub reports: u32,
    /// What their reports weigh together.
    #[serde(default)]
    pub weight: u32,
    /// How many copies of the thing are kept.
    #[serde(default)]
    pub copies: u32,
}

/// A rule of the community, as what reports and decisions are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CommunityRule)]
pub enum Rule {
    /// No advertising of the same again and again.
    Spam,
    /// Nobody is insulted, threatened or pursued.
    Harassment,
    /// No hatred of people for what they are.
    Hate,
    /// No violence, and no calls for it.
    Violence,
    /// Nothing sexual without everybody's wish.
    Sexual,
    /// Nobody is cheated.
    Fraud,
    /// Nobody pretends to be somebody else.
    Impersonation,
    /// What is private of others stays so.
    Privacy,
    /// What the law forbids.
    Illegal,
    /// Something else that does harm.
    Other,
}

impl Rule {
    /// Its name, as clients write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spam => "spam",
            Self::Harassment => "harassment",
            Self::Hate => "hate",
            Self::Violence => "violence",
            Self::Sexual => "sexual",
            Self::Fraud => "fraud",
            Self::Impersonation => "impersonation",
            Self::Privacy => "privacy",
            Self::Illegal => "illegal",
            Self::Other => "other",
        }
    }
}

/// What a decision says besides its outcome and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// Which rule was broken, or was not.
    pub rule: Rule,
    /// What the user is kept from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abilities: Vec<Ability>,
    /// Until when; for ever if absent, where the outcome is one that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Until when it can be appealed.
    pub appeal_until: Timestamp,
}

impl Ruling {
    /// From when on nothing can change the decision any more, if nobody appeals it.
    pub fn final_at(&self) -> Timestamp {
        self.appeal_until.saturating_add(FINAL_AFTER).unwrap_or(Timestamp::MAX)
    }
}

/// What somebody has against a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appeal {
    /// Who sent it in: whom the decision is about, or an admin for somebody who is locked out.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What is said.
    pub text: String,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judged>,
}

/// What came of an appeal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Whether the decision stands.
    pub upheld: bool,
    /// Who said so, when and why.
    pub said: Said,
}

impl Own {
    /// The decision, if it is one that does something to somebody.
    pub fn effective(&self) -> Option<(Outcome, &Ruling, &Said)> {
        let outcome = self.outcome.filter(|outcome| *outcome != Outcome::None)?;
        Some((outcome, self.ruling.as_ref()?, self.resolution.as_ref()?))
    }

    /// Whether the decision was overturned.
    pub fn is_overturned(&self) -> bool {
        let judged = self.appeal.as_ref().and_then(|appeal| appeal.judged.as_ref());
        judged.is_some_and(|judged| !judged.upheld)
    }

    /// Whether an appeal waits.
    pub fn is_appealed(&self) -> bool {
        self.appeal.as_ref().is_some_and(|appeal| appeal.judged.is_none())
    }

    /// Whether nothing can change the decision any more.
    pub fn is_final(&self, now: Timestamp) -> bool {
        match (&self.appeal, &self.ruling) {
            (Some(appeal), _) => appeal.judged.is_some(),
            (None, Some(ruling)) => ruling.final_at() <= now,
            (None, None) => true,
        }
    }

    /// Whether it counts as a strike at a time.
    pub fn is_strike(&self, now: Timestamp) -> bool {
        let decided = self.effective().map(|(_, _, said)| said.at);
        decided.is_some_and(|at| now.duration_since(at) < STRIKE_FOR) && !self.is_overturned()
    }
}

/// What a member reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its id.
    pub id: String,
    /// Which rule was broken, as the member sees it.
    pub rule: Rule,
    /// What the member says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// When.
    pub at: Timestamp,
    /// What it weighs.
    pub weight: u32,
}

/// A copy of what was reported, as it was then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it says.
    pub text: String,
    /// The addresses of what stands beside the words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<String>,
    /// Which revision it is, where revisions are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// What was said shortly before it, where it is a message of a chat; the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Before>,
    /// When it was taken.
    pub at: Timestamp,
}

/// A message before one that was reported, as who reported could read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Who wrote it.
    pub by: String,
    /// What it says.
    pub text: String,
    /// The addresses of what is attached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<String>,
    /// When it was written.
    pub at: Timestamp,
}

/// A row of a review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// Below `r`, by the user who reported.
    Report(Box<Report>),
    /// Below `s`: a copy of what was reported.
    Snapshot(Box<Snapshot>),
}
