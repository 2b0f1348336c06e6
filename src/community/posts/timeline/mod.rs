//! The feed of those whom a user follows: new posts are put into the timelines of followers who read them, and each page judges
//! the posts as they are.

pub mod filling;
pub mod jobs;
pub(in crate::community) mod live;
mod reading;
pub mod rules;
pub mod store;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery};
use mundotango_gateway::problem::Problem;
use mundotango_storage::{Page, now};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::work::handled;

use super::bodies::SeenPost;
use crate::community::Community;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(followed))
}

/// The posts of those whom the caller follows, newest first. The last 500 are there; whoever comes back after two weeks or more
/// finds the last 20 of up to 200 of them. A page may end before it is full, and its cursor goes on; pages by number end behind 550
/// posts. New posts are told of on `#{userId}` (`feed.new`).
#[utoipa::path(
    get, path = "/api/posts/feed/following", operation_id = "listFollowedPosts", tag = "posts", params(PageQuery),
    responses((status = OK, body = PageBody<SeenPost>), (status = BAD_REQUEST, body = Problem)),
)]
async fn followed(
    identity: Identity,
    State(community): State<Arc<Community>>,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<SeenPost>>, Problem> {
    let user_id = &identity.user_id;
    let page = Box::pin(community.timelines.page(user_id, query.page.request(), now())).await?;
    let items = community.seen_posts(page.items, user_id).await?;
    Ok(Json(query.page.body(Page { items, next: page.next })))
}
