//! Polls: a question with a post, and what its readers choose.

pub(super) mod bodies;
pub mod rules;
pub mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Path, ValidJson};
use mundotango_gateway::problem::{Code, FieldCode, Problem};
use mundotango_storage::now;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::bodies::{NewVote, PollState};
use self::rules::Vote;
use super::bodies::SeenPost;
use super::post::Post;
use crate::community::Community;

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(vote, take_back))
}

impl Community {
    /// How the polls of some posts stand for a user, by the ids of those posts that have one.
    pub(super) async fn poll_states(
        &self,
        posts: &[Post],
        user_id: &str,
    ) -> Result<BTreeMap<String, PollState>, Problem> {
        let polls: Vec<_> = posts.iter().filter_map(|post| Some((&post.id, post.poll.as_ref()?))).collect();
        if polls.is_empty() {
            return Ok(BTreeMap::new());
        }
        let ids: Vec<_> = polls.iter().map(|(id, _)| (*id).clone()).collect();
        let (votes, mut own) = tokio::try_join!(self.posts.votes(&ids), self.posts.votes_of(user_id, &ids))?;
        let now = now();
        let states = polls.into_iter().zip(votes).map(|((id, poll), votes)| {
            let state = PollState::new(poll, &votes, own.remove(id), now);
            (id.clone(), state)
        });
        Ok(states.collect())
    }

    /// Puts a user's vote in the place of the one before, or takes it back.
    async fn vote(
        &self,
        post_id: &str,
        user_id: &str,
        vote: Option<Vote>,
    ) -> Result<Json<SeenPost>, Problem> {
        let post = self.readable_post(post_id, user_id).await?;
        let conflict = |detail: &str| Problem::new(StatusCode::CONFLICT, detail);
        let poll = post.poll.as_ref().ok_or_else(|| conflict("the post has no poll"))?;
        if poll.is_over(now()) {
            return Err(conflict("the poll is over").with_code(Code::Over));
        }
        if vote.as_ref().is_some_and(|vote| !poll.takes(vote)) {
            let message = "must be places of options, and one alone where the poll takes one";
            return Err(Problem::invalid_field("choices", FieldCode::OutOfRange, message));
        }
        self.posts.vote(post_id, user_id, vote).await?.ok_or_else(|| Problem::not_found("post"))?;
        let seen = self.seen_posts(vec![post], user_id).await?;
        seen.into_iter().next().map(Json).ok_or_else(|| Problem::not_found("post"))
    }
}

/// Vote in the poll of a post; again with other choices replaces the vote. Its results are shown to those who voted, and to
/// everybody once it is over. `post:{id}` publishes how many have voted, at most four times a second.
#[utoipa::path(
    put, path = "/api/posts/{id}/vote", operation_id = "voteInPoll", tag = "posts", request_body = NewVote,
    responses(
        (status = OK, body = SeenPost),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn vote(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewVote>,
) -> Result<Json<SeenPost>, Problem> {
    community.vote(&id, &identity.user_id, Some(body.vote())).await
}

/// Take the own vote back, as long as the poll is open.
#[utoipa::path(
    delete, path = "/api/posts/{id}/vote", operation_id = "removeVote", tag = "posts",
    responses(
        (status = OK, body = SeenPost),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn take_back(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<SeenPost>, Problem> {
    community.vote(&id, &identity.user_id, None).await
}
