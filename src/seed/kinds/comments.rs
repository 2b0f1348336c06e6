//! Comments on posts.

use std::collections::BTreeMap;

use anyhow::Context as _;
use async_trait::async_trait;
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;

use super::{Generator, as_sent, posts};
use crate::community::posts::comments::kind::Comment;
use crate::community::posts::comments::store::{CommentStore, NewComment};
use crate::community::posts::store::Visibility;
use crate::seed::plan::Plan;
use crate::seed::words;
use crate::texts::CommentText;

/// Most comments of most posts.
const FEW: u64 = 3;
/// Most comments of a post that many talk about.
const MANY: u64 = 40;
/// Of a hundred posts, how many are talked about by many.
const TALKED_ABOUT: u64 = 2;
/// Of a hundred comments, how many answer the one before.
const ANSWERS: u64 = 25;

/// Makes the comments on a post in one step, one after the other, as their numbers are in that order. Only public posts
/// have some, which everybody may read.
pub(super) struct Comments(CommentStore);

impl Comments {
    pub(super) fn new(db: &Db) -> Self {
        Self(CommentStore::new(db.clone()))
    }
}

#[async_trait]
impl Generator for Comments {
    fn name(&self) -> &'static str {
        "comments"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        plan.posts()
    }

    async fn step(&self, plan: &Plan, post: u64) -> anyhow::Result<u64> {
        let mut draw = plan.draw("comments", post);
        if posts::told(plan, post).1 != Visibility::Public {
            return Ok(0);
        }
        let most = if draw.percent(TALKED_ABOUT) { MANY } else { FEW };
        let (written_at, id) = plan.post(post);
        let mut times: Vec<_> = (0..draw.below(most + 1))
            .map(|_| Plan::before(&mut draw, plan.at, plan.at.duration_since(written_at)))
            .collect();
        times.sort_unstable();
        let mut last = None;
        for at in &times {
            let content: CommentText = as_sent(words::comment(&mut draw))?;
            let new = NewComment {
                request: draw.id(*at),
                author_id: plan.user_id(draw.below(plan.users)),
                content: content.into_string(),
                mentions: BTreeMap::new(),
                at: *at,
            };
            let answered = last.take().filter(|_| draw.percent(ANSWERS));
            let nobody_is_told = |_: &Comment| Ok::<_, StoreError>(Vec::<()>::new());
            let added = self.0.add(&id, new, answered.as_ref(), nobody_is_told).await?;
            last = Some(added.context("a post is missing")?);
        }
        Ok(times.len() as u64)
    }
}
