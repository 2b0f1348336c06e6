//! Who follows whom, who are friends, and who keeps whom out.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_storage::db::Db;

use super::Generator;
use crate::community::graph::rules::Act;
use crate::community::graph::store::Circles;
use crate::seed::plan::Plan;

/// Most users whom each follows. Few are followed by many.
const FOLLOWED: u64 = 8;
/// Most users of whom each is a friend by an own wish.
const FRIENDS: u64 = 3;
/// Of a hundred users, how many keep somebody out.
const BLOCK: u64 = 2;
/// How long ago the last of it began, and the first before that: accounts are older.
const SINCE: SignedDuration = SignedDuration::from_hours(24);
const OVER: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Another user than this one, any of them.
fn another(plan: &Plan, user: u64, drawn: u64) -> u64 {
    (user + 1 + drawn) % plan.users
}

/// Those of whom a user is a friend by the user's own wish.
pub(super) fn friends(plan: &Plan, user: u64) -> Vec<u64> {
    let (mut draw, mut friends) = (plan.draw("friends", user), Vec::new());
    if plan.users > 1 {
        for _ in 0..FRIENDS {
            let friend = another(plan, user, draw.below(plan.users - 1));
            if !friends.contains(&friend) {
                friends.push(friend);
            }
        }
    }
    friends
}

/// Whom a user keeps out, if anybody.
fn blocked(plan: &Plan, user: u64) -> Option<u64> {
    let mut draw = plan.draw("blocks", user);
    (plan.users > 1 && draw.percent(BLOCK)).then(|| another(plan, user, draw.below(plan.users - 1)))
}

fn since(plan: &Plan, kind: &str, user: u64) -> Timestamp {
    let latest = plan.at.checked_sub(SINCE).unwrap_or(Timestamp::UNIX_EPOCH);
    Plan::before(&mut plan.draw(kind, user), latest, OVER)
}

/// Begins something, unless a block of an earlier run has ended it for good.
async fn begin(circles: &Circles, user: &str, other: &str, act: Act, at: Timestamp) -> anyhow::Result<()> {
    if !circles.tie(user, other).await?.keeps_apart() {
        circles.act(user, other, act, at).await?;
    }
    Ok(())
}

/// Has each user follow some others.
pub(super) struct Follows(Circles);

impl Follows {
    pub(super) fn new(db: &Db) -> Self {
        Self(Circles::new(db.clone()))
    }
}

#[async_trait]
impl Generator for Follows {
    fn name(&self) -> &'static str {
        "follows"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        plan.users
    }

    async fn step(&self, plan: &Plan, user: u64) -> anyhow::Result<u64> {
        let (mut draw, at) = (plan.draw("follows", user), since(plan, "follow times", user));
        let (user_id, mut made) = (plan.user_id(user), 0);
        for followed in draw.different(FOLLOWED, plan.users) {
            let follow = Act::Follow(draw.id(at));
            if followed != user {
                begin(&self.0, &user_id, &plan.user_id(followed), follow, at).await?;
                made += 1;
            }
        }
        Ok(made)
    }
}

/// Makes friends, who both say so.
pub(super) struct Friendships(Circles);

impl Friendships {
    pub(super) fn new(db: &Db) -> Self {
        Self(Circles::new(db.clone()))
    }
}

#[async_trait]
impl Generator for Friendships {
    fn name(&self) -> &'static str {
        "friendships"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        plan.users
    }

    async fn step(&self, plan: &Plan, user: u64) -> anyhow::Result<u64> {
        let (user_id, at) = (plan.user_id(user), since(plan, "friend times", user));
        let friends = friends(plan, user);
        let made = friends.len() as u64;
        for friend in friends {
            let friend = plan.user_id(friend);
            begin(&self.0, &user_id, &friend, Act::Befriend, at).await?;
            begin(&self.0, &friend, &user_id, Act::Befriend, at).await?;
        }
        Ok(made)
    }
}

/// Has a few users keep somebody out; after all that a block would not let begin.
pub(super) struct Blocks(Circles);

impl Blocks {
    pub(super) fn new(db: &Db) -> Self {
        Self(Circles::new(db.clone()))
    }
}

#[async_trait]
impl Generator for Blocks {
    fn name(&self) -> &'static str {
        "blocks"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        plan.users
    }

    async fn step(&self, plan: &Plan, user: u64) -> anyhow::Result<u64> {
        let Some(other) = blocked(plan, user) else { return Ok(0) };
        // Of two who would keep each other out, one does.
        if blocked(plan, other) == Some(user) && other < user {
            return Ok(0);
        }
        let at = since(plan, "block times", user);
        self.0.act(&plan.user_id(user), &plan.user_id(other), Act::Block, at).await?;
        Ok(1)
    }
}
