//! Bookmarks: posts that a user wants to find again, and nobody else sees.

pub mod store;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::FutureExt as _;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path};
use mundotango_gateway::problem::Problem;
use mundotango_storage::Page;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::effects::Effect;
use super::graph::filled;
use super::posts::bodies::SeenPost;
use super::{Community, personal_channel};

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(set, remove))
}

/// What the user's own channel publishes, for the user's other devices.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(super) enum BookmarkMessage {
    /// A post is bookmarked, or no longer.
    #[serde(rename = "bookmark.changed")]
    Changed {
        #[serde(rename = "postId")]
        post_id: String,
        bookmarked: bool,
    },
}

impl Community {
    async fn bookmark(&self, user_id: &str, post_id: String, wanted: bool) -> Result<StatusCode, Problem> {
        if wanted {
            self.readable_post(&post_id, user_id).await?;
        }
        let message = BookmarkMessage::Changed { post_id: post_id.clone(), bookmarked: wanted };
        let effect = Effect::publish(personal_channel(user_id), &message)?;
        self.bookmarks.set(user_id, &post_id, wanted, Some(effect)).await?;
        Ok(StatusCode::NO_CONTENT)
    }
}

/// The caller's bookmarked posts, the last one first. Posts that the caller may no longer read are left out; a page may end
/// before it is full, and its cursor goes on.
#[utoipa::path(
    get, path = "/api/bookmarks", operation_id = "listBookmarks", tag = "bookmarks", params(PageQuery),
    responses((status = OK, body = PageBody<SeenPost>), (status = BAD_REQUEST, body = Problem)),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<SeenPost>>, Problem> {
    let (community, user_id) = (&community, identity.user_id.as_str());
    let read = |page| {
        let reading = async move {
            let page = community.bookmarks.posts(user_id, page).await?;
            let items = community.readable_posts(&page.items, user_id).await?;
            Ok::<_, Problem>(Page { items, next: page.next })
        };
        reading.boxed()
    };
    let page = filled(query.page.request(), read).await?;
    let items = community.seen_posts(page.items, user_id).await?;
    Ok(Json(query.page.body(Page { items, next: page.next })))
}

/// Bookmark a post; at most 2000 at a time.
#[utoipa::path(
    put, path = "/api/posts/{id}/bookmark", operation_id = "addBookmark", tag = "bookmarks",
    responses((status = NO_CONTENT), (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)),
)]
async fn set(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    community.bookmark(&identity.user_id, id, true).await
}

/// Take a bookmark away.
#[utoipa::path(
    delete, path = "/api/posts/{id}/bookmark", operation_id = "removeBookmark",
    tag = "bookmarks", responses((status = NO_CONTENT)),
)]
async fn remove(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    community.bookmark(&identity.user_id, id, false).await
}
