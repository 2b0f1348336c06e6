//! What holds in a conversation, as pure rules: who sees which messages, what is unread, who may remove whom, and when lists
//! hear of new messages.

use std::ops::RangeInclusive;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Messages of a block.
pub const BLOCK: u64 = 1_000;
/// Most members of a group at a time.
pub const MOST_MEMBERS: usize = 1_000;
/// Most people who are or were members of a group.
pub const MOST_KNOWN: usize = 3_000;
/// Most people who are added by one request.
pub const MOST_ADDED: usize = 100;
/// Most earlier texts of a message.
pub const MOST_EDITS: u32 = 20;
/// Most people who react to a message.
pub const MOST_REACTIONS: u64 = 200;
/// Most attachments of a message.
pub const MOST_ATTACHMENTS: usize = 10;
/// Most people whom a message mentions.
pub const MOST_MENTIONS: usize = 10;
/// Up to so many members all of them hear who types and who has read, and are notified of each message.
pub const SMALL: usize = 50;
/// Up to here what is unread is counted.
pub const MOST_UNREAD: u64 = 99;
/// Messages that a stranger may send before the other side accepts.
pub const BEFORE_ACCEPTED: u64 = 1;
/// Times of a member that are remembered: the oldest is forgotten where somebody leaves and comes back more often.
const MOST_SPANS: usize = 20;
/// A job that tells lists of new messages was due so long ago: an operator dropped it.
const RAISE_IS_LOST: SignedDuration = SignedDuration::from_mins(1);

/// The block in which a message lies.
pub const fn block_of(seq: u64) -> u64 {
    seq.saturating_sub(1) / BLOCK
}

/// The first message of a block.
pub const fn first_of(block: u64) -> u64 {
    block * BLOCK + 1
}

/// What a member is, each with all rights of those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// Reads and writes.
    Member,
    /// Adds and removes members, deletes messages, and changes the title.
    Admin,
    /// Says who is admin.
    Owner,
}

/// The messages of one time that somebody was a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first message.
    pub from: u64,
    /// The last one, once it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

impl Span {
    const fn end(self) -> u64 {
        match self.to {
            Some(to) => to,
            None => u64::MAX,
        }
    }
}

/// The messages that somebody sees, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// From a message on.
    pub fn from(from: u64) -> Self {
        Self(vec![Span { from, to: None }])
    }

    /// Whether somebody is a member now.
    pub fn is_open(&self) -> bool {
        self.0.last().is_some_and(|span| span.to.is_none())
    }

    /// Whether nothing was ever seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a message is seen.
    pub fn sees(&self, seq: u64) -> bool {
        self.0.iter().any(|span| (span.from..=span.end()).contains(&seq))
    }

    /// The numbers that are seen, in order.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        self.0.iter().map(|span| span.from..=span.end())
    }

    /// Joins at a message.
    pub fn open(&mut self, from: u64) {
        if self.is_open() {
            return;
        }
        // Whoever may see what is before sees it whole.
        self.0.retain(|span| span.from < from);
        match self.0.last_mut().filter(|span| span.end() >= from - 1) {
            Some(last) => last.to = None,
            None => self.0.push(Span { from, to: None }),
        }
        let surplus = self.0.len().saturating_sub(MOST_SPANS);
        self.0.drain(..surplus);
    }

    /// Leaves after a message. A time in which nothing was said is none.
    pub fn close(&mut self, to: u64) {
        if let Some(last) = self.0.last_mut().filter(|span| span.to.is_none()) {
            last.to = Some(to);
            self.0.retain(|span| span.end() >= span.from);
        }
    }

    /// The last message that is seen of those up to one, and the first of the same time.
    pub fn at_or_before(&self, seq: u64) -> Option<(u64, u64)> {
        let span = self.0.iter().rev().find(|span| span.from <= seq)?;
        Some((span.end().min(seq), span.from))
    }

    /// The first message that is seen of those from one on, and the last of the same time.
    pub fn at_or_after(&self, seq: u64) -> Option<(u64, u64)> {
        let span = self.0.iter().find(|span| span.end() >= seq)?;
        Some((span.from.max(seq), span.end()))
    }

    /// The last message that is seen where so many were sent; 0 if none is.
    pub fn last(&self, sent: u64) -> u64 {
        self.at_or_before(sent).map_or(0, |(last, _)| last)
    }

    /// Up to where nothing is unread for whoever has read nothing.
    pub fn unseen(&self) -> u64 {
        self.0.first().map_or(0, |span| span.from - 1)
    }
}

/// Whether a message is unread for whoever has read up to another: not one of the own, and none that was deleted.
pub fn is_unread(spans: &Spans, read: u64, seq: u64, is_own: bool, is_deleted: bool) -> bool {
    seq > read && !is_own && !is_deleted && spans.sees(seq)
}

/// Where somebody has read up to, and how often that was taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadUpTo {
    /// The message.
    pub seq: u64,
    /// Rises when messages are said to be unread again.
    pub version: u64,
}

impl ReadUpTo {
    /// The marker after a message was read, of so many that there are: it goes forward only. A device that says which version it
    /// knows read before it heard that something is unread again, if that is an earlier one: then nothing changes.
    #[must_use]
    pub fn read(self, seq: u64, known: Option<u64>, last: u64) -> Self {
        if known.is_some_and(|known| known < self.version) {
            return self;
        }
        Self { seq: self.seq.max(seq.min(last)), ..self }
    }

    /// The marker after somebody says that messages are unread from one on: it goes back only.
    #[must_use]
    pub fn unread(self, seq: u64) -> Self {
        let before = seq.saturating_sub(1);
        if before >= self.seq {
            return self;
        }
        Self { seq: before, version: self.version + 1 }
    }
}

/// Whether a member may remove another one.
pub fn may_remove(by: ChatRole, whom: ChatRole) -> bool {
    by >= ChatRole::Admin && by > whom
}

/// Who owns a group whose owner leaves: who has been an admin longest, or else a member.
pub fn heir<'a>(members: impl Iterator<Item = (&'a str, ChatRole, Timestamp)>) -> Option<&'a str> {
    members.max_by(|a, b| a.1.cmp(&b.1).then(b.2.cmp(&a.2)).then(b.0.cmp(a.0))).map(|(user, ..)| user)
}

/// How far members' lists have heard of new messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// When they heard, or will hear.
    at: Timestamp,
    /// Whether there is a job that tells them then.
    is_arranged: bool,
}

impl Raised {
    /// That lists hear it now.
    pub fn at(now: Timestamp) -> Self {
        Self { at: now, is_arranged: false }
    }

    /// Notes a new message; when a job is to tell lists of it, if that is still to be arranged.
    pub fn note(before: Option<Self>, now: Timestamp, pause: SignedDuration) -> (Self, Option<Timestamp>) {
        if let Some(before) = before.filter(|before| before.is_arranged)
            && now.duration_since(before.at).abs() < RAISE_IS_LOST
        {
            return (before, None);
        }
        let latest = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
        // A node whose clock is ahead does not make the others wait for longer than the pause.
        let next = before.and_then(|before| before.at.checked_add(pause).ok()).unwrap_or(now);
        let at = next.clamp(now, latest);
        (Self { at, is_arranged: true }, Some(at))
    }
}

/// How long lists wait for the next word of new messages: so that a group of any size costs 50 changes of lists a second.
pub fn raise_pause(members: usize) -> SignedDuration {
    let seconds = members.div_ceil(SMALL).max(1);
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn messages_lie_in_blocks_without_holes() {
        assert_eq!([1, 1_000, 1_001, 2_000, 2_001].map(block_of), [0, 0, 1, 1, 2]);
        assert_eq!([0, 1, 2].map(first_of), [1, 1_001, 2_001]);
    }

    #[test]
    fn the_oldest_admin_inherits_and_else_the_oldest_member() {
        use ChatRole::{Admin, Member};
        let members = [("ana", Member, at(0)), ("ben", Admin, at(2)), ("cam", Admin, at(1))];
        assert_eq!(heir(members.into_iter()), Some("cam"));
        assert_eq!(heir([("ben", Member, at(1)), ("ana", Member, at(0))].into_iter()), Some("ana"));
        assert_eq!(heir(std::iter::empty()), None);
    }

    #[test]
    fn nobody_removes_an_equal() {
        use ChatRole::{Admin, Member, Owner};
        for (by, whom, may) in [
            (Owner, Admin, true),
            (Owner, Member, true),
            (Admin, Member, true),
            (Admin, Admin, false),
            (Admin, Owner, false),
            (Member, Member, false),
        ] {
            assert_eq!(may_remove(by, whom), may, "{by:?} {whom:?}");
        }
    }

    #[test]
    fn lists_hear_at_once_and_then_once_a_pause() {
        let pause = SignedDuration::from_secs(1);
        let (arranged, due) = Raised::note(None, at(0), pause);
        assert_eq!(due, Some(at(0)));
        assert_eq!(Raised::note(Some(arranged), at(0), pause).1, None, "the job tells of this one as well");
        let told = Raised::at(at(5));
        assert_eq!(Raised::note(Some(told), at(5), pause).1, Some(at(6)));
        assert_eq!(Raised::note(Some(told), at(60), pause).1, Some(at(60)));
        assert_eq!(Raised::note(Some(arranged), at(61), pause).1, Some(at(61)), "the job was dropped");
        assert_eq!(Raised::note(Some(Raised::at(at(3_600))), at(0), pause).1, Some(at(1)), "a clock ahead");
        assert_eq!([1, 50, 51, 1_000].map(|members| raise_pause(members).as_secs()), [1, 1, 2, 20]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Join(usize, bool),
        Leave(usize),
        Send(usize),
        Delete(u64),
        /// By a device that knows the version that the marker has, or one of before.
        Read(usize, u64, bool),
        Unread(usize, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (user, seq) = (0..4_usize, 0..40_u64);
        prop_oneof![
            (user.clone(), any::<bool>()).prop_map(|(user, all)| Step::Join(user, all)),
            user.clone().prop_map(Step::Leave),
            user.clone().prop_map(Step::Send),
            user.clone().prop_map(Step::Send),
            seq.clone().prop_map(Step::Delete),
            (user.clone(), seq.clone(), any::<bool>())
                .prop_map(|(user, seq, is_late)| Step::Read(user, seq, is_late)),
            (user, seq).prop_map(|(user, seq)| Step::Unread(user, seq)),
        ]
    }

    proptest! {
        #[test]
        fn each_sees_what_was_said_while_a_member_and_unread_equals_a_recount(
            steps in prop::collection::vec(step(), 1..120),
        ) {
            // Messages: the author, and whether it is deleted.
            let mut messages: Vec<(usize, bool)> = Vec::new();
            let mut spans: [Spans; 4] = Default::default();
            let mut read = [ReadUpTo::default(); 4];
            let mut seen: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
            for step in steps {
                let last = messages.len() as u64;
                match step {
                    Step::Join(user, all) if !spans[user].is_open() => {
                        spans[user].open(if all { 1 } else { last + 1 });
                        if all {
                            seen.entry(user).or_default().extend(1..=last);
                        }
                    }
                    Step::Leave(user) => spans[user].close(last),
                    Step::Send(user) if spans[user].is_open() => {
                        messages.push((user, false));
                        for reader in (0..4).filter(|reader| spans[*reader].is_open()) {
                            seen.entry(reader).or_default().insert(last + 1);
                        }
                    }
                    Step::Delete(seq) => {
                        if let Some(message) = messages.get_mut(usize::try_from(seq).unwrap()) {
                            message.1 = true;
                        }
                    }
                    Step::Read(user, seq, is_late) => {
                        let before = read[user];
                        let known = before.version.saturating_sub(u64::from(is_late));
                        let after = before.read(seq, Some(known), last);
                        prop_assert!(after.seq >= before.seq && after.seq <= last.max(before.seq));
                        prop_assert_eq!(after.version, before.version);
                        prop_assert!(known == before.version || after == before);
                        prop_assert_eq!(before.read(seq, None, last), before.read(seq, Some(before.version), last));
                        read[user] = after;
                    }
                    Step::Unread(user, seq) => {
                        let (before, after) = (read[user], read[user].unread(seq));
                        prop_assert!(after.seq <= before.seq);
                        prop_assert_eq!(after.version > before.version, after.seq < before.seq);
                        prop_assert_eq!(after.unread(seq), after, "said twice");
                        read[user] = after;
                    }
                    Step::Join(..) | Step::Send(_) => {}
                }
                for user in 0..4 {
                    let mine = seen.get(&user).cloned().unwrap_or_default();
                    let sees: BTreeSet<_> =
                        (1..=messages.len() as u64).filter(|seq| spans[user].sees(*seq)).collect();
                    prop_assert_eq!(&sees, &mine);
                    let said = 1..=messages.len() as u64;
                    let ranged: BTreeSet<_> = said
                        .filter(|seq| spans[user].ranges().any(|range| range.contains(seq)))
                        .collect();
                    prop_assert_eq!(&ranged, &mine);
                    prop_assert_eq!(spans[user].last(messages.len() as u64), mine.last().copied().unwrap_or(0));
                    let mut walked = BTreeSet::new();
                    let mut next = messages.len() as u64;
                    while let Some((to, from)) = spans[user].at_or_before(next) {
                        walked.extend(from..=to);
                        next = from - 1;
                    }
                    prop_assert_eq!(&walked, &mine);
                    let message = |seq: u64| messages[usize::try_from(seq - 1).unwrap()];
                    let unread = (1..=messages.len() as u64)
                        .filter(|seq| is_unread(&spans[user], read[user].seq, *seq, message(*seq).0 == user, message(*seq).1));
                    let recount = mine.iter().filter(|seq| {
                        **seq > read[user].seq && message(**seq).0 != user && !message(**seq).1
                    });
                    prop_assert_eq!(unread.count(), recount.count());
                }
            }
        }
    }
}
