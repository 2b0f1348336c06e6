//! Reactions to posts.

use async_trait::async_trait;
use mundotango_storage::db::Db;

use super::Generator;
use crate::community::posts::rules::ReactionType;
use crate::community::posts::store::PostStore;
use crate::seed::plan::Plan;

/// Reactions of each user, to different posts.
const A_USER: u64 = 5;
const TYPES: [&ReactionType; 5] = [
    &ReactionType::Heart,
    &ReactionType::Like,
    &ReactionType::Celebrate,
    &ReactionType::Laugh,
    &ReactionType::Support,
];

/// Makes each user's reactions in one step.
pub(super) struct Reactions(PostStore);

impl Reactions {
    pub(super) fn new(db: &Db) -> Self {
        Self(PostStore::new(db.clone()))
    }
}

#[async_trait]
impl Generator for Reactions {
    fn name(&self) -> &'static str {
        "reactions"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        plan.users
    }

    async fn step(&self, plan: &Plan, user: u64) -> anyhow::Result<u64> {
        let mut draw = plan.draw("reactions", user);
        let (user_id, posts) = (plan.user_id(user), draw.different(A_USER, plan.posts()));
        let made = posts.len() as u64;
        for post in posts {
            let reaction = *draw.one_of(&TYPES);
            self.0.react(&plan.post(post).1, &user_id, Some(reaction)).await?;
        }
        Ok(made)
    }
}
