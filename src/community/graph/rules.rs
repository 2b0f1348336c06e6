//! The relation of two people, as one of them keeps it. Pure: what is done or heard goes in, and what the relation is then
//! comes out.
//!
//! Each side owns what it wants, and keeps a copy of what the other side wants. A side tells the other of its own by a
//! [`Notice`], which carries a number that rises with each change. A copy with a lower number than the one that is known is
//! late, and is ignored: notices may come twice, late, and in any order.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Most people that one user follows.
pub const MOST_FOLLOWED: u32 = 7_500;
/// Most people that one user has blocked and muted.
pub const MOST_KEPT_OUT: u32 = 10_000;
/// Most friends of one user, those counted who were asked and have not answered.
pub const MOST_FRIENDS: u32 = 5_000;
/// Most people whom one user has asked and who have not answered.
pub const MOST_REQUESTED: u32 = 200;
/// Most people who wait for one user's answer. Who comes at the same moment may be above it.
pub const MOST_ASKED: u32 = 5_000;
/// How long another request of somebody who was declined is not shown, and of somebody who took it back is no news.
const DECLINED_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// That the user follows somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// A new one each time: it is the key of the entry in the list of followers.
    pub id: String,
}

/// What one side tells the other of its own wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Rises with each change.
    #[serde(default)]
    pub version: u64,
    /// The number of the wish to be friends, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub friend: Option<u64>,
    /// Whether the other is blocked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub block: bool,
    /// The number of the last block. A newer one ends what was before it, also where the block is over by now.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub blocks: u64,
    /// The other's wishes up to this number were ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ended: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How a user stands to another: the user's own wishes, and the copy of the other's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tie {
    /// The user follows the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<Follow>,
    /// Since when the other is muted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mute: Option<Timestamp>,
    /// Since when the other is blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<Timestamp>,
    /// When the user said no to the other last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declined: Option<Timestamp>,
    /// When the user was last told that the other asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Timestamp>,
    /// The other's wishes up to this number count no longer. Higher than what the other is told where a request was declined.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ended: u64,
    /// What the other is told.
    #[serde(default)]
    pub own: Notice,
    /// What the other told.
    #[serde(default)]
    pub theirs: Notice,
}

/// How two people stand to each other as friends, as one of them sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Friendship {
    /// Not at all.
    #[default]
    None,
    /// The user asked, and the other has not answered.
    Requested,
    /// The other asked, and the user has not answered.
    Asked,
    /// They are friends.
    Friends,
}

/// What a user does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Follow, under a new id.
    Follow(String),
    /// Follow no longer.
    Unfollow,
    /// Ask to be friends, or agree.
    Befriend,
    /// Take the request back, decline, or end the friendship.
    Unfriend,
    /// Keep the other out.
    Block,
    /// Let the other in again. What the block ended stays ended.
    Unblock,
    /// Hear nothing of the other.
    Mute,
    /// Hear of the other again.
    Unmute,
}

/// How many of a user's relations are of each sort. It changes with the rows, and is what they come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// People whom the user follows.
    #[serde(default)]
    pub following: u32,
    /// Friends.
    #[serde(default)]
    pub friends: u32,
    /// People who were asked.
    #[serde(default)]
    pub requested: u32,
    /// People who wait for an answer.
    #[serde(default)]
    pub asked: u32,
    /// People whom the user has blocked.
    #[serde(default)]
    pub blocked: u32,
    /// People whom the user has muted.
    #[serde(default)]
    pub muted: u32,
}

/// What others may hear of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Somebody asks the user.
    Requested,
    /// Somebody agreed to be the user's friend.
    Accepted,
}

/// Why something is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The other keeps the user out: there is nobody, as far as the user knows.
    Hidden,
    /// The user keeps the other out.
    Blocked,
    /// As many as may be are there; of what.
    Full(&'static str),
}

impl Counts {
    /// What one relation adds.
    pub fn of(tie: &Tie) -> Self {
        let friendship = tie.friendship();
        let is = |state| u32::from(friendship == state);
        Self {
            following: u32::from(tie.follow.is_some()),
            friends: is(Friendship::Friends),
            requested: is(Friendship::Requested),
            asked: is(Friendship::Asked),
            blocked: u32::from(tie.block.is_some()),
            muted: u32::from(tie.mute.is_some()),
        }
    }

    /// Counts a relation in the place of what it was before.
    pub fn replace(&mut self, before: &Tie, after: &Tie) {
        let (gone, come) = (Self::of(before), Self::of(after));
        let count =
            |all: &mut u32, gone: u32, come: u32| *all = all.saturating_add(come).saturating_sub(gone);
        count(&mut self.following, gone.following, come.following);
        count(&mut self.friends, gone.friends, come.friends);
        count(&mut self.requested, gone.requested, come.requested);
        count(&mut self.asked, gone.asked, come.asked);
        count(&mut self.blocked, gone.blocked, come.blocked);
        count(&mut self.muted, gone.muted, come.muted);
    }

    /// Whether no bound is broken that was not broken before.
    fn allow(&self, after: &Self) -> Result<(), Refusal> {
        let bounds = [
            ("the list of people whom you follow", self.following, after.following, MOST_FOLLOWED),
            ("the list of your open friend requests", self.requested, after.requested, MOST_REQUESTED),
            (
                "the list of your friends",
                self.friends + self.requested,
                after.friends + after.requested,
                MOST_FRIENDS,
            ),
            (
                "the list of people whom you blocked and muted",
                self.blocked + self.muted,
                after.blocked + after.muted,
                MOST_KEPT_OUT,
            ),
        ];
        let broken = bounds.into_iter().find(|(_, before, after, most)| after > before && after > most);
        broken.map_or(Ok(()), |(what, ..)| Err(Refusal::Full(what)))
    }
}

impl Tie {
    /// How they stand to each other as friends.
    pub fn friendship(&self) -> Friendship {
        if self.keeps_apart() {
            return Friendship::None;
        }
        let other_wants = self.theirs.friend.is_some_and(|number| number > self.ended);
        match (self.own.friend.is_some(), other_wants) {
            (false, false) => Friendship::None,
            (true, false) => Friendship::Requested,
            (false, true) => Friendship::Asked,
            (true, true) => Friendship::Friends,
        }
    }

    /// Whether one of them has blocked the other.
    pub fn keeps_apart(&self) -> bool {
        self.block.is_some() || self.theirs.block
    }

    /// Whether the user is told nothing of what the other does.
    pub fn silences(&self) -> bool {
        self.keeps_apart() || self.mute.is_some()
    }

    /// Whether nothing would be lost without it. What was heard of the other stays: it is what late notices are known by.
    pub fn is_empty(&self) -> bool {
        let Self { follow, mute, block, declined: _, asked: _, ended, own, theirs } = self;
        let wants_nothing = follow.is_none() && mute.is_none() && block.is_none() && own.friend.is_none();
        // A block that is over still has to be told with what comes later.
        wants_nothing && own.blocks == 0 && *ended == 0 && theirs.version == 0
    }

    /// Ends all that is between the two but mutes and blocks.
    fn end_all(&mut self) {
        self.follow = None;
        self.own.friend = None;
    }

    /// Ends the wishes of the other that are known, and says so.
    fn end_theirs(&mut self) {
        self.ended = self.ended.max(self.theirs.friend.unwrap_or_default());
        self.own.ended = self.ended;
    }

    /// Gives what changed a number, if the other has to hear of it.
    fn numbered(&mut self, before: &Self, number: u64) {
        if self.own != before.own {
            self.own.version = number;
        }
    }

    /// Does what its user wants. `number` is higher than all before it of this user, `now` is for what users see.
    pub fn act(&mut self, act: &Act, counts: &Counts, number: u64, now: Timestamp) -> Result<(), Refusal> {
        let before = self.clone();
        let asks_other = matches!(act, Act::Follow(_) | Act::Befriend | Act::Block | Act::Mute);
        if asks_other && self.theirs.block {
            return Err(Refusal::Hidden);
        }
        if matches!(act, Act::Follow(_) | Act::Befriend) && self.block.is_some() {
            return Err(Refusal::Blocked);
        }
        match act {
            Act::Follow(id) => {
                self.follow.get_or_insert_with(|| Follow { id: id.clone() });
            }
            Act::Unfollow => self.follow = None,
            Act::Befriend => {
                self.own.friend.get_or_insert(number);
                // Who was declined and still wants it is a friend now.
                self.ended = self.own.ended;
                self.declined = None;
            }
            Act::Unfriend => match self.friendship() {
                Friendship::None => {}
                Friendship::Requested => self.own.friend = None,
                // The other is not told, and sees a request that nobody answers.
                Friendship::Asked => {
                    self.ended = self.ended.max(self.theirs.friend.unwrap_or_default());
                    self.declined = Some(now);
                }
                Friendship::Friends => {
                    self.own.friend = None;
                    self.end_theirs();
                }
            },
            Act::Block => {
                if self.block.is_none() {
                    self.block = Some(now);
                    self.own.block = true;
                    self.own.blocks = number;
                    self.end_all();
                    self.end_theirs();
                }
            }
            Act::Unblock => {
                self.block = None;
                self.own.block = false;
            }
            Act::Mute => {
                self.mute.get_or_insert(now);
            }
            Act::Unmute => self.mute = None,
        }
        self.numbered(&before, number);
        let mut after = *counts;
        after.replace(&before, self);
        counts.allow(&after)
    }

    /// Takes what the other tells; what there is to say of it. Late notices change nothing.
    pub fn hear(&mut self, notice: Notice, number: u64, now: Timestamp) -> Option<News> {
        if notice.version <= self.theirs.version {
            return None;
        }
        let before = self.clone();
        self.theirs = notice;
        if notice.block || notice.blocks > before.theirs.blocks {
            self.end_all();
        }
        if self.own.friend.is_some_and(|wish| wish <= notice.ended) {
            self.own.friend = None;
        }
        let is_new = notice.friend.is_some() && notice.friend != before.theirs.friend;
        let was_declined = self.declined.is_some_and(|at| now.duration_since(at) < DECLINED_FOR);
        if is_new && was_declined && self.own.friend.is_none() {
            self.ended = self.ended.max(notice.friend.unwrap_or_default());
        }
        self.numbered(&before, number);
        match (before.friendship(), self.friendship()) {
            (Friendship::Requested, Friendship::Friends) => Some(News::Accepted),
            // Who takes it back and asks again is listed again, and no news.
            (Friendship::None, Friendship::Asked) => {
                let was_told = self.asked.is_some_and(|at| now.duration_since(at) < DECLINED_FOR);
                self.asked = if was_told { self.asked } else { Some(now) };
                (!was_told).then_some(News::Requested)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
