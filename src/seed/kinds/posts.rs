//! Posts.

use async_trait::async_trait;
use mundotango_storage::db::Db;

use super::{Generator, as_sent};
use crate::community::posts::store::{Post, PostStore, Text, Visibility};
use crate::seed::draw::Draw;
use crate::seed::plan::Plan;
use crate::seed::words;
use crate::texts::PostText;

/// Of a hundred posts, how many everybody may read.
const PUBLIC: u64 = 90;
/// Most sentences of a post.
const SENTENCES: u64 = 6;

/// Who wrote a post, to whom it is told, and the numbers of what it says.
pub(super) fn told(plan: &Plan, post: u64) -> (u64, Visibility, Draw) {
    let mut draw = plan.draw("posts", post);
    let author = draw.popular(plan.users);
    let visibility = match draw.percent(PUBLIC) {
        true => Visibility::Public,
        false if draw.percent(50) => Visibility::Friends,
        false => Visibility::Private,
    };
    (author, visibility, draw)
}

/// Makes posts, most of them by few authors.
pub(super) struct Posts(PostStore);

impl Posts {
    pub(super) fn new(db: &Db) -> Self {
        Self(PostStore::new(db.clone()))
    }
}

#[async_trait]
impl Generator for Posts {
    fn name(&self) -> &'static str {
        "posts"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        plan.posts()
    }

    async fn step(&self, plan: &Plan, number: u64) -> anyhow::Result<u64> {
        let (author, visibility, mut draw) = told(plan, number);
        let content: PostText = as_sent(words::sentences(&mut draw, SENTENCES))?;
        let (created_at, id) = plan.post(number);
        let text = Text::new(content.into_string(), created_at);
        self.0.create(&Post::made(id, plan.user_id(author), text, visibility), &[]).await?;
        Ok(1)
    }
}
