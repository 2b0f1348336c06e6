//! Putting a preview to the post whose link it is of.

use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Wants};
use serde::Serialize;

use super::preview::Preview;
use crate::community::posts::post::Post;
use crate::community::posts::store::{POSTS, PostStore};

impl PostStore {
    /// Puts a preview to a post, if the post is still of this revision and wants the preview of this link; whether it did.
    /// `effects` are what that causes.
    pub async fn set_preview<E: Serialize>(
        &self,
        id: &str,
        revision: u32,
        preview: Preview,
        effects: impl Fn(&Post) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<bool, StoreError> {
        let post_id = id.to_owned();
        let set = self.db().change(&POSTS, id, Wants::head(), move |part| {
            let before = Post::in_part(&post_id, part);
            if before.revision != revision || before.wanted_link() != Some(preview.url.as_str()) {
                return Ok(Decision::Stands(false));
            }
            let preview = Box::new(preview.clone());
            part.head.preview = Some(preview.clone());
            for effect in effects(&Post { preview: Some(preview), ..before })? {
                part.emit(&effect)?;
            }
            Ok::<_, StoreError>(Decision::Write(true))
        });
        Ok(set.await?.unwrap_or_default())
    }
}
