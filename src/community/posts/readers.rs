//! Who reads which posts.

use std::collections::BTreeSet;
use std::sync::Arc;

use mundotango_storage::StoreError;

use super::post::{Post, Visibility};
use crate::community::graph::relations::{Relations, Sorts};
use crate::community::graph::rules::Friendship;
use crate::community::graph::store::Circles;
use crate::community::policy::{self, Action, Object, Viewer};

/// Most friends whose posts for friends are looked for in a feed.
const MOST_FRIENDS_IN_FEED: usize = 50;

/// Somebody who reads posts.
pub(super) struct Reader<'a> {
    circles: &'a Circles,
    user_id: &'a str,
    mine: Arc<Relations>,
}

impl<'a> Reader<'a> {
    /// A user, with how the user stands to others.
    pub(super) async fn new(circles: &'a Circles, user_id: &'a str) -> Result<Self, StoreError> {
        Ok(Self { circles, user_id, mine: circles.view(user_id).await? })
    }

    /// Whether the user may read a post, as far as the user's own circle says: of those for friends, [`Self::confirmed`] asks the
    /// author's circle as well.
    pub(super) fn may_read(&self, post: &Post) -> bool {
        self.may_see(&post.object())
    }

    /// The same of what is not a post itself.
    pub(super) fn may_see(&self, object: &Object<'_>) -> bool {
        policy::may(Viewer::user(self.user_id).knowing(&self.mine), Action::Read, object).is_allowed()
    }

    /// Whether a post belongs into the user's feed, likewise.
    pub(super) fn wants(&self, post: &Post) -> bool {
        self.may_read(post) && !self.mine.has_muted(&post.author_id)
    }

    /// Whether the user follows somebody.
    pub(super) fn follows(&self, author_id: &str) -> bool {
        self.mine.to(author_id).is(Sorts::FOLLOWED)
    }

    /// How the user stands to others.
    pub(super) fn relations(&self) -> &Relations {
        &self.mine
    }

    /// Those of some posts whose authors say so as well where they are for friends: the reader's copy of what the author wants may
    /// be late, which may hide a post and must not show one.
    pub(super) async fn confirmed(&self, mut posts: Vec<Post>) -> Result<Vec<Post>, StoreError> {
        let is_for_friends =
            |post: &Post| post.visibility == Visibility::Friends && post.author_id != self.user_id;
        let authors = posts.iter().filter(|post| is_for_friends(post)).map(|post| post.author_id.clone());
        let authors: Vec<_> = authors.collect::<BTreeSet<_>>().into_iter().collect();
        if !authors.is_empty() {
            let ties = self.circles.ties_to(&authors, self.user_id).await?;
            let friends = authors.iter().zip(ties).filter(|(_, tie)| tie.friendship() == Friendship::Friends);
            let friends: BTreeSet<_> = friends.map(|(author, _)| author).collect();
            posts.retain(|post| !is_for_friends(post) || friends.contains(&post.author_id));
        }
        Ok(posts)
    }

    /// Those of some posts that the user may read.
    pub(super) async fn readable(&self, mut posts: Vec<Post>) -> Result<Vec<Post>, StoreError> {
        posts.retain(|post| self.may_read(post));
        self.confirmed(posts).await
    }

    /// The friends whose posts for friends the feed holds. Their lists are walked as one, so their number is bounded.
    pub(super) fn friends_in_feed(&self) -> Vec<String> {
        self.mine.all(Sorts::FRIENDS).take(MOST_FRIENDS_IN_FEED).map(str::to_owned).collect()
    }
}

/// The post, if a user may read it.
pub(super) async fn readable(
    circles: &Circles,
    user_id: &str,
    post: Option<Post>,
) -> Result<Option<Post>, StoreError> {
    let Some(post) = post else { return Ok(None) };
    Ok(Reader::new(circles, user_id).await?.readable(vec![post]).await?.pop())
}

/// Those of some users who may read a post.
pub(super) async fn readers_of(
    circles: &Circles,
    post: &Post,
    users: BTreeSet<String>,
) -> Result<BTreeSet<String>, StoreError> {
    let mut readers = BTreeSet::new();
    for user in users {
        if readable(circles, &user, Some(post.clone())).await?.is_some() {
            readers.insert(user);
        }
    }
    Ok(readers)
}
