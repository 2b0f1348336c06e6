//! Previews of links: what the page says of itself to which a post leads, fetched by a job and kept with the post.

pub(super) mod bodies;
mod charset;
mod fetching;
pub mod known;
pub(super) mod links;
mod page;
pub mod preview;
mod waiting;
pub mod work;
pub mod writing;

use mundotango_storage::StoreError;

use super::post::Post;
use crate::community::Community;
use crate::community::effects::Effect;

impl Community {
    /// Whether the link of a user's text is looked at, which counts against the user's hour. Past that a post has no preview.
    pub(super) async fn may_preview(&self, author_id: &str) -> bool {
        self.link_previews && self.limits.preview(author_id).await
    }
}

/// What has the preview of a post made, if the post wants one.
pub(super) fn caused_by(post: &Post) -> Result<Option<Effect>, StoreError> {
    post.wanted_link().map(|link| work::look_at(post, link)).transpose()
}
