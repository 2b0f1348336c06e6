//! What a community is made of: a file a kind, behind one trait.

mod accounts;
mod answers;
mod bookmarks;
mod chats;
mod comments;
mod events;
mod housing;
mod people;
mod posts;
mod reactions;

use async_trait::async_trait;
use deserr::Deserr;
use mundotango_gateway::input::{self, BadFields};
use mundotango_storage::db::Db;
use serde_json::Value;

use super::plan::Plan;

/// Steps of one kind that are under way at the same time: so many writes share a commit of the embedded
/// store, and no more things are in memory.
pub(super) const AT_ONCE: usize = 256;

/// Makes the things of one kind, by the store and the rules of the feature that owns them.
#[async_trait]
pub(super) trait Generator: Send + Sync {
    /// What they are called together.
    fn name(&self) -> &'static str;

    /// How many steps make all of them.
    fn steps(&self, plan: &Plan) -> u64;

    /// How many steps may be under way at the same time.
    fn at_once(&self) -> usize {
        AT_ONCE
    }

    /// Does one step; how many things it made. Doing it again changes nothing. Nobody is told of what is
    /// made: what a request would write into the outbox (publications, letters, notifications) is left out.
    async fn step(&self, plan: &Plan, number: u64) -> anyhow::Result<u64>;
}

/// All kinds, each after those that it needs.
pub(super) fn all(db: &Db, password_hash: String) -> Vec<Box<dyn Generator>> {
    vec![
        Box::new(accounts::Accounts::new(db, password_hash)),
        Box::new(posts::Posts::new(db)),
        Box::new(reactions::Reactions::new(db)),
        Box::new(bookmarks::Bookmarks::new(db)),
        Box::new(events::Events::new(db)),
        Box::new(answers::Answers::new(db)),
        Box::new(people::Follows::new(db)),
        Box::new(people::Friendships::new(db)),
        Box::new(comments::Comments::new(db)),
        Box::new(chats::Conversations::new(db)),
        Box::new(chats::Groups::new(db)),
        Box::new(housing::Places::new(db)),
        Box::new(housing::Stays::new(db)),
        Box::new(people::Blocks::new(db)),
    ]
}

/// Reads a value as a request's body is read, so that nothing is made that nobody could send.
fn as_sent<T: Deserr<BadFields>>(value: impl Into<Value>) -> anyhow::Result<T> {
    input::read_value(value.into()).map_err(|problem| anyhow::anyhow!("{problem}"))
}
