//! Circles: how a user stands to all others. A partition a user, with a row for each other; the followers of a user are counted in
//! shards of their own, as there is no bound of them, and a list has them by the time since when they follow.
//!
//! What a user wants is committed in the user's own circle. The other's circle follows by a notice, which the call that caused it
//! delivers at once, and a job delivers for sure ([`Circles::tell`]).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mundotango_storage::db::{
    Db, Decision, Entry, Erasure, Export, Fields, Index, Kind, Order, Part, Wants, Whose, day_of_id, key,
    last_part,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

use super::announce;
use super::error::GraphError;
use super::jobs::{self, FollowNotice};
use super::reading::Reading;
use super::relations::{KeptViews, Sorts};
use super::rules::{Act, Counts, MOST_ASKED, News, Notice, Refusal, Tie};
use crate::community::Person;
use crate::community::accounts::store::AccountStore;
use crate::community::posts::timeline;

/// How users stand to others.
pub static CIRCLES: Kind<(), Head, Tie> =
    Kind::new("circles", "a user: 40,000 relations of 250 B, 10 MB", PERSONAL)
        .implicit()
        .cached(Duration::from_mins(1));
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::User,
        Export::Given,
        Erasure::Removed,
        &[
            "id",
            "head.counts.*",
            "rows.u.follow.id",
            "rows.u.mute",
            "rows.u.block",
            "rows.u.declined",
            "rows.u.asked",
            "rows.u.own.friend",
            "rows.u.own.block",
        ],
    ),
    Fields::of(
        Whose::RowUser,
        Export::NotGiven("it would tell who has blocked a user; to the other side its own circle is given"),
        Erasure::RowRemoved,
        &["keys.u", "rows.u.theirs.friend", "rows.u.theirs.block"],
    ),
    Fields::of_nobody(&[
        "head.last",
        "head.view",
        "head.rows",
        "rows.u.ended",
        "rows.u.own.version",
        "rows.u.own.blocks",
        "rows.u.own.ended",
        "rows.u.theirs.version",
        "rows.u.theirs.blocks",
        "rows.u.theirs.ended",
    ]),
];

/// Who follows users, by user and follower. Rows of those who follow no longer stay, so that they are not counted by what comes
/// late, and nobody is told twice of the same follower.
pub static FOLLOWERS: Kind<(), FollowerCount, Follower> =
    Kind::new("followers", "a 16th of a user's followers: 60,000 of 130 B, 8 MB", PERSONAL_OF_FOLLOWERS)
        .sharded(16)
        .cached(COUNT_KEPT);
/// The same of followers.
const PERSONAL_OF_FOLLOWERS: &[Fields] = &[
    Fields::of(
        Whose::RowUser,
        Export::NotGiven("the follower's circle gives it"),
        Erasure::RowRemoved,
        &["keys.f", "rows.f.follows"],
    ),
    Fields::of(Whose::User, Export::Given, Erasure::Removed, &["id", "head.count"]),
    Fields::of_nobody(&["rows.f.version"]),
];

/// How old the number of followers is at most that a node shows of what comes by way of others.
const COUNT_KEPT: Duration = Duration::from_secs(2);

/// The followers of users: a list is the followed user's id, a key the id of the following and the follower.
pub static FOLLOWERS_BY_TIME: Index<()> = Index::new(
    "followers_by_time",
    "a month of a user: 300,000 entries of 110 B, 33 MB",
    |key| Some(day_of_id(key.split('/').next()?)? / DAYS_OF_A_MONTH),
    Order::NewestFirst,
    &[Fields::of(
        Whose::Named,
        Export::NotGiven("the follower's circle gives it"),
        Erasure::Removed,
        &["list", "key", "entry"],
    )],
);

const DAYS_OF_A_MONTH: i64 = 30;
/// Below this lie the relations, by the other's id.
pub(super) const TIES: &str = "u";
/// Below this lie the followers of a shard, by id.
const OF_FOLLOWERS: &str = "f";
/// Most relations of a user, those counted that are over and are kept as what is late is known by them. Past it the user begins
/// no new ones.
const MOST_ROWS: u32 = 40_000;

/// What changes about a circle besides its rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Head {
    /// Rises with each change: the last number that a change got.
    #[serde(default)]
    pub last: u64,
    /// Rises with each change that decides about what the user sees.
    #[serde(default)]
    pub view: u64,
    /// How many rows there are.
    #[serde(default)]
    pub rows: u32,
    /// What the rows come to.
    #[serde(default)]
    pub counts: Counts,
}

/// How many follow somebody, by one shard.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FollowerCount {
    /// Rows that say so.
    #[serde(default)]
    pub count: u64,
}

/// What a follower told last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Follower {
    version: u64,
    pub(super) follows: bool,
}

pub(super) type Circle<'a> = Part<'a, (), Head, Tie>;

/// A notice on its way.
#[derive(Clone, Debug)]
struct Letter {
    from: String,
    to: String,
    notice: Notice,
}

/// What the change of a relation causes in other partitions.
#[derive(Debug, Default)]
struct Sent {
    letter: Option<Letter>,
    follow: Option<FollowNotice>,
}

/// The circles of a store.
#[derive(Clone)]
pub struct Circles {
    pub(super) db: Db,
    accounts: AccountStore,
    /// What this node knows of users who read.
    pub(super) kept: KeptViews,
    pub(super) reading: Arc<Reading>,
}

pub(super) fn tie_key(other: &str) -> String {
    key(&[TIES, other])
}

pub(super) fn follower_key(follower: &str) -> String {
    key(&[OF_FOLLOWERS, follower])
}

/// The entry of a follower in the list of whom is followed.
fn follower_entry(target: &str, id: &str, follower: &str) -> Result<Entry, StoreError> {
    FOLLOWERS_BY_TIME.entry(target, &key(&[id, follower]), &())
}

/// Changes the relation to `other` in the circle of `owner`, with all that follows from it.
fn change_tie<T>(
    part: &mut Circle<'_>,
    (owner, other): (&str, &str),
    change: impl FnOnce(&mut Tie, &Counts, u64) -> Result<T, Refusal>,
    effects: impl FnOnce(&mut Circle<'_>, &Tie, &T) -> Result<(), StoreError>,
) -> Result<Decision<Sent>, GraphError> {
    let row = tie_key(other);
    let known = part.row(&row).cloned();
    let before = known.clone().unwrap_or_default();
    let (mut after, number) = (before.clone(), part.head.last + 1);
    let outcome = change(&mut after, &part.head.counts, number)?;
    if after == before {
        return Ok(Decision::Stands(Sent::default()));
    }
    part.head.last = number;
    part.head.counts.replace(&before, &after);
    part.head.view += u64::from(Sorts::of(&before) != Sorts::of(&after));
    let mut sent = Sent::default();
    if after.own != before.own {
        let letter = Letter { from: owner.to_owned(), to: other.to_owned(), notice: after.own };
        part.emit(&jobs::deliver(owner, other)?)?;
        sent.letter = Some(letter);
    }
    if after.follow != before.follow {
        if let Some(follow) = &after.follow {
            part.enter(follower_entry(other, &follow.id, owner)?);
            part.emit(&timeline::jobs::followed(owner, other)?)?;
        }
        let notice = FollowNotice {
            follower: owner.to_owned(),
            target: other.to_owned(),
            version: number,
            follows: after.follow.is_some(),
            gone: before.follow.map(|follow| follow.id),
        };
        part.emit(&jobs::note_follow(&notice)?)?;
        sent.follow = Some(notice);
    }
    effects(part, &after, &outcome)?;
    match (known.is_some(), after.is_empty()) {
        (true, true) => part.head.rows = part.head.rows.saturating_sub(1),
        (false, false) => part.head.rows += 1,
        _ => {}
    }
    if after.is_empty() {
        part.remove(row);
    } else {
        part.set(row, after);
    }
    Ok(Decision::Write(sent))
}

impl Circles {
    /// The circles of a store.
    pub fn new(db: Db) -> Self {
        Self {
            accounts: AccountStore::new(db.clone()),
            db,
            kept: KeptViews::default(),
            reading: Arc::default(),
        }
    }

    /// What a circle says besides its rows.
    pub async fn head(&self, user_id: &str) -> Result<Head, StoreError> {
        Ok(self.db.read(&CIRCLES, user_id).await?.map(|found| found.head).unwrap_or_default())
    }

    /// How a user stands to another now.
    pub async fn tie(&self, user_id: &str, other: &str) -> Result<Tie, StoreError> {
        Ok(self.db.row(&CIRCLES, user_id, &tie_key(other)).await?.unwrap_or_default())
    }

    /// How each of some users stands to one other now, in their order.
    pub async fn ties_to(&self, user_ids: &[String], other: &str) -> Result<Vec<Tie>, StoreError> {
        let rows = self.db.row_of_all(&CIRCLES, user_ids, &tie_key(other)).await?;
        Ok(rows.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// How many follow a user; of followers by way of other nodes those of the last two seconds may not be counted.
    pub async fn follower_count(&self, user_id: &str) -> Result<u64, StoreError> {
        self.db
            .sum_of_shards(&FOLLOWERS, user_id, |sum: &mut u64, shard| *sum = sum.saturating_add(shard.count))
            .await
    }

    /// Those who follow a user, the newest first. An entry whose follower has stopped or follows anew is left out, so a page may
    /// not be full.
    pub async fn followers(&self, target: &str, page: PageRequest) -> Result<Page<String>, StoreError> {
        let (after, skip) = page.start.behind(Some)?;
        let limit = skip.saturating_add(page.limit);
        let entries = self.db.walk(&FOLLOWERS_BY_TIME, &[target], after.as_deref(), limit).await?;
        let keys: Vec<_> = entries.items.into_iter().skip(skip).map(|(key, ())| key).collect();
        let followers: Vec<_> = keys.iter().map(|key| last_part(key)).collect();
        let ties = self.ties_to(&followers, target).await?;
        let is_current = |key: &str, tie: &Tie| {
            tie.follow.as_ref().is_some_and(|follow| key.split('/').next() == Some(follow.id.as_str()))
        };
        let read = keys.iter().zip(followers).zip(ties);
        let items = read.filter(|((key, _), tie)| is_current(key, tie)).map(|((_, follower), _)| follower);
        Ok(Page { items: items.collect(), next: entries.next })
    }

    /// Those who follow a user as the list has them, the newest first, behind an entry of it; the cursor is the last entry. They
    /// are not asked: who stopped a moment ago may be among them.
    pub async fn noted_followers(
        &self,
        target: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, StoreError> {
        let entries = self.db.walk(&FOLLOWERS_BY_TIME, &[target], after, limit).await?;
        Ok(entries.map(|(key, ())| last_part(&key)))
    }

    /// Does what a user wants with another. When it is done, the other's circle is tried at once; a job makes up for what
    /// fails there.
    pub async fn act(&self, user_id: &str, other: &str, act: Act, now: Timestamp) -> Result<(), GraphError> {
        if user_id == other {
            return Err(GraphError::Myself);
        }
        if act == Act::Befriend && self.head(other).await?.counts.asked >= MOST_ASKED {
            // Who is asked already, or asks, is counted there.
            let tie = self.tie(other, user_id).await?;
            if tie.theirs.friend.is_none() && !tie.keeps_apart() {
                return Err(GraphError::Full("the list of those who wait for an answer"));
            }
        }
        let sent = self.commit(user_id, other, act, now).await?;
        if let Err(error) = self.carry_out(sent, now).await {
            tracing::warn!(%error, user_id, "the other's circle follows by a job");
        }
        Ok(())
    }

    /// The part of it in the user's own circle.
    async fn commit(&self, user_id: &str, other: &str, act: Act, now: Timestamp) -> Result<Sent, GraphError> {
        let pair = (user_id.to_owned(), other.to_owned());
        let wants = Wants::head().row(tie_key(other));
        let rule = move |part: &mut Circle<'_>| {
            let rows = part.head.rows;
            let change = |tie: &mut Tie, counts: &Counts, number| {
                let is_new = *tie == Tie::default();
                tie.act(&act, counts, number, now)?;
                // Whom strangers have filled the circle of can still keep others out; how many is bounded by itself.
                let keeps_out = matches!(act, Act::Block | Act::Mute);
                if is_new && !tie.is_empty() && rows >= MOST_ROWS && !keeps_out {
                    return Err(Refusal::Full("the list of people whom you had to do with"));
                }
                Ok(())
            };
            change_tie(part, (&pair.0, &pair.1), change, |_, _, ()| Ok(()))
        };
        Ok(self.db.change(&CIRCLES, user_id, wants, rule).await?.unwrap_or_default())
    }

    /// Delivers what a change caused, and what that causes in turn. It comes to an end: a notice is answered only where it changed
    /// what its receiver wants, and that can only end.
    async fn carry_out(&self, sent: Sent, now: Timestamp) -> Result<(), StoreError> {
        let mut next = sent;
        loop {
            if let Some(notice) = &next.follow {
                self.note_follow(notice).await?;
            }
            let Some(letter) = next.letter else { return Ok(()) };
            next = self.hear(&letter, now).await?;
        }
    }

    /// Tells the circle of one user what another wants of that user now. Doing it again changes nothing.
    pub async fn tell(&self, from: &str, to: &str, now: Timestamp) -> Result<(), StoreError> {
        let row = tie_key(to);
        let Some((found, mut rows)) = self.db.read_with(&CIRCLES, from, &[&row]).await? else {
            return Ok(());
        };
        // Of a relation that is gone nothing is left to want, and all that was told before has a lower number.
        let nothing = Notice { version: found.head.last, ..Notice::default() };
        let notice = rows.remove(&row).map_or(nothing, |tie: Tie| tie.own);
        let letter = Letter { from: from.to_owned(), to: to.to_owned(), notice };
        self.carry_out(Sent { letter: Some(letter), follow: None }, now).await
    }

    /// Takes a notice into the circle that it is for.
    async fn hear(&self, letter: &Letter, now: Timestamp) -> Result<Sent, StoreError> {
        let from = self.person(&letter.from).await?;
        let Letter { from: other, to: owner, notice } = letter.clone();
        let wants = Wants::head().row(tie_key(&other));
        let id = owner.clone();
        let rule = move |part: &mut Circle<'_>| {
            let hear = |tie: &mut Tie, _: &Counts, number| Ok(tie.hear(notice, number, now));
            let tell = |part: &mut Circle<'_>, tie: &Tie, news: &Option<News>| {
                let (Some(news), Some(from)) = (news.filter(|_| !tie.silences()), &from) else {
                    return Ok(());
                };
                for effect in announce::heard(&owner, from, news)? {
                    part.emit(&effect)?;
                }
                Ok(())
            };
            change_tie(part, (&owner, &other), hear, tell)
        };
        match self.db.change(&CIRCLES, &id, wants, rule).await {
            Ok(sent) => Ok(sent.unwrap_or_default()),
            Err(GraphError::Store(error)) => Err(error),
            // A notice is not refused.
            Err(refusal) => Err(StoreError::Damaged(refusal.to_string())),
        }
    }

    /// Counts a follower, or counts one no longer. It may be late, or have been counted before.
    pub(super) async fn note_follow(&self, notice: &FollowNotice) -> Result<(), StoreError> {
        let from = if notice.follows { self.person(&notice.follower).await? } else { None };
        let row = follower_key(&notice.follower);
        let noted = notice.clone();
        let rule = move |part: &mut Part<'_, (), FollowerCount, Follower>| {
            let known = part.row(&row).cloned();
            if known.as_ref().is_some_and(|known| known.version >= noted.version) {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            let followed = known.as_ref().is_some_and(|known| known.follows);
            let count = part.head.count.saturating_add(noted.follows.into());
            part.head.count = count.saturating_sub(followed.into());
            part.set(&row, Follower { version: noted.version, follows: noted.follows });
            // Who stops and begins again is no news.
            if let (None, true, Some(from)) = (&known, noted.follows, &from) {
                part.emit(&announce::followed(&noted.target, from)?)?;
            }
            Ok(Decision::Write(()))
        };
        let wants = Wants::head().row(follower_key(&notice.follower));
        self.db.change_shard(&FOLLOWERS, &notice.target, &notice.follower, wants, rule).await?;
        if let Some(id) = &notice.gone {
            let entry = follower_entry(&notice.target, id, &notice.follower)?;
            self.db.remove_entries(&[entry]).await?;
        }
        Ok(())
    }

    async fn person(&self, user_id: &str) -> Result<Option<Person>, StoreError> {
        let found = self.accounts.profiles(&[user_id.to_owned()]).await?;
        Ok(found.into_iter().next().map(Person::from))
    }
}
