//! Bookmarks.

use async_trait::async_trait;
use mundotango_storage::db::Db;

use super::Generator;
use crate::community::bookmarks::store::BookmarkStore;
use crate::seed::plan::Plan;

/// Bookmarks of a user who has some.
const A_USER: u64 = 3;
/// Of a hundred users, how many have some.
const HAVE_SOME: u64 = 30;

/// Makes each user's bookmarks in one step.
pub(super) struct Bookmarks(BookmarkStore);

impl Bookmarks {
    pub(super) fn new(db: &Db) -> Self {
        Self(BookmarkStore::new(db.clone()))
    }
}

#[async_trait]
impl Generator for Bookmarks {
    fn name(&self) -> &'static str {
        "bookmarks"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        plan.users
    }

    async fn step(&self, plan: &Plan, user: u64) -> anyhow::Result<u64> {
        let mut draw = plan.draw("bookmarks", user);
        if !draw.percent(HAVE_SOME) {
            return Ok(0);
        }
        let (user_id, posts) = (plan.user_id(user), draw.different(A_USER, plan.posts()));
        let made = posts.len() as u64;
        for post in posts {
            self.0.set(&user_id, &plan.post(post).1, true, None::<()>).await?;
        }
        Ok(made)
    }
}
