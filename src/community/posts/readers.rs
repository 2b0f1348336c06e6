//! Who reads which posts.

use std::collections::BTreeSet;

use mundotango_storage::StoreError;

use super::store::{Post, Visibility};
use crate::community::graph::relations::{Relations, Sorts};
use crate::community::graph::rules::Friendship;
use crate::community::graph::store::Circles;
use crate::community::policy::{self, Action, Object, Viewer};

/// Most friends whose posts for friends are looked for in a feed.
const MOST_FRIENDS_IN_FEED: usize = 50;

/// Those of some posts that a user may read.
pub(super) async fn readable(
    circles: &Circles,
    user_id: &str,
    mut posts: Vec<Post>,
) -> Result<Vec<Post>, StoreError> {
    let mine = circles.view(user_id).await?;
    let viewer = Viewer::user(user_id).knowing(&mine);
    posts.retain(|post| {
        let object = Object::Post { author: &post.author_id, visibility: post.visibility };
        policy::may(viewer, Action::Read, &object).is_allowed()
    });
    let is_for_friends = |post: &Post| post.visibility == Visibility::Friends && post.author_id != user_id;
    let authors = posts.iter().filter(|post| is_for_friends(post)).map(|post| post.author_id.clone());
    let authors: Vec<_> = authors.collect::<BTreeSet<_>>().into_iter().collect();
    if !authors.is_empty() {
        // The reader's copy of what the author wants may be late: it may hide a post, and must not show one.
        let ties = circles.ties_to(&authors, user_id).await?;
        let are_friends = authors.iter().zip(ties).filter(|(_, tie)| tie.friendship() == Friendship::Friends);
        let friends: BTreeSet<_> = are_friends.map(|(author, _)| author).collect();
        posts.retain(|post| !is_for_friends(post) || friends.contains(&post.author_id));
    }
    Ok(posts)
}

/// The friends whose posts for friends a feed holds. Their lists are walked as one, so their number is bounded.
pub(super) fn friends_in_feed(mine: &Relations) -> Vec<String> {
    mine.all(Sorts::FRIENDS).take(MOST_FRIENDS_IN_FEED).map(str::to_owned).collect()
}
