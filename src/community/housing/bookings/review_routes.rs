//! Writing reviews, answering them, and reading them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use futures_util::FutureExt as _;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice, Maybe, Whole};
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::{PageRequest, StoreError, now};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::ReviewBody;
use super::reviews::Review;
use super::store::{Shown, Subject};
use crate::community::Community;
use crate::community::graph::filled;
use crate::community::housing::status::Side;
use crate::community::policy::{self, Action, Object, Viewer};
use crate::texts::ReviewText;

type Shared = State<Arc<Community>>;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(review))
        .routes(routes!(reply))
        .routes(routes!(of_listing))
        .routes(routes!(of_user))
}

/// What one side says of a stay. It stays as it is.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({"rating": 5, "text": "Quiet, and close to the milongas.", "private": "The shower drips."}))]
struct NewReview {
    /// From 1 to 5.
    #[schema(value_type = u32, minimum = 1, maximum = 5)]
    rating: Whole<1, 5>,
    /// For everybody, once both sides have written or the time for it is over.
    text: ReviewText,
    /// For the other side alone.
    #[deserr(default)]
    #[schema(value_type = Option<ReviewText>)]
    private: Maybe<ReviewText>,
}

/// An answer to the other side's review. It stays as it is.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
struct NewReply {
    /// For everybody.
    text: ReviewText,
}

/// On which side the user was whose reviews are asked for.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UserReviewsQuery {
    /// As guest, written by hosts, if absent; as host, written by guests.
    #[deserr(default, rename = "as")]
    #[param(rename = "as", value_type = Option<Side>)]
    side: Option<Choice<Side>>,
}

impl Community {
    /// The reviews of a subject by those whom a reader sees, and the place of the next ones.
    async fn reviews(
        &self,
        subject: &Subject,
        reader: Viewer<'_>,
        page: PageRequest,
    ) -> Result<mundotango_storage::Page<ReviewBody>, Problem> {
        let now = now();
        let shows = move |shown: &Shown| {
            let object = Object::Somebody { user: shown.booking.user(shown.author), is_paused: false };
            policy::may(reader, Action::Read, &object).is_allowed()
        };
        let read = |page| {
            let reading = async move {
                let mut page = self.housing.store.reviews(subject, now, page).await?;
                page.items.retain(shows);
                Ok::<_, StoreError>(page)
            };
            reading.boxed()
        };
        let page = filled(page, read).await?;
        let author = |shown: &Shown| shown.booking.user(shown.author).to_owned();
        let people = self.people(page.items.iter().map(author).collect()).await;
        Ok(page.map(|shown| ReviewBody::public(shown, &people)))
    }
}

/// Review a stay, until 14 days after check-out; for each side once. Neither sees the other's before both have written.
#[utoipa::path(
    post, path = "/api/bookings/{id}/reviews", operation_id = "reviewBooking",
    tag = "housing", params(IdempotencyKey), request_body = NewReview,
    responses(
        (status = CREATED, body = ReviewBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn review(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewReview>,
) -> Result<(StatusCode, Json<ReviewBody>), Problem> {
    let (booking, side) = community.own_booking(&id, &identity).await?;
    let review = Review {
        stars: body.rating.get(),
        text: body.text.into_string(),
        private: body.private.value().map(ReviewText::into_string),
        written_at: new_id.made_at(),
        reply: None,
    };
    let reviewed = community.housing.review(&booking, side, review.clone()).await?;
    let booking = reviewed.ok_or_else(|| Problem::not_found("booking"))?;
    let people = community.people(vec![identity.user_id]).await;
    Ok((StatusCode::CREATED, Json(ReviewBody::of_party(&booking, side, review, &people))))
}

/// Answer the other side's review, once it is shown; once.
#[utoipa::path(
    post, path = "/api/bookings/{id}/reviews/reply", operation_id = "replyToReview",
    tag = "housing", params(IdempotencyKey), request_body = NewReply,
    responses(
        (status = NO_CONTENT),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn reply(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewReply>,
) -> Result<StatusCode, Problem> {
    let (_, side) = community.own_booking(&id, &identity).await?;
    if community.housing.store.reply(&id, side, body.text.into_string(), now()).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("review"))
    }
}

/// What guests have said of a place, the last one first.
#[utoipa::path(
    get, path = "/api/housing/{id}/reviews", operation_id = "listListingReviews", tag = "housing",
    params(PageQuery),
    responses((status = OK, body = PageBody<ReviewBody>), (status = NOT_FOUND, body = Problem)),
)]
async fn of_listing(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<ReviewBody>>, Problem> {
    let (_, mine) = community.seen_listing(&id, &identity).await?;
    let reader = Viewer::from(&identity).knowing(&mine);
    let page = community.reviews(&Subject::Listing(id), reader, query.page.request()).await?;
    Ok(Json(query.page.body(page)))
}

/// What others have said of a user as guest or as host, the last one first.
#[utoipa::path(
    get, path = "/api/users/{id}/reviews", operation_id = "listUserReviews", tag = "housing",
    params(UserReviewsQuery, PageQuery),
    responses((status = OK, body = PageBody<ReviewBody>), (status = BAD_REQUEST, body = Problem)),
)]
async fn of_user(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ListQuery { filter, page: paging }: ListQuery<UserReviewsQuery>,
) -> Result<Json<PageBody<ReviewBody>>, Problem> {
    let mine = community.circles.view(&identity.user_id).await?;
    let reader = Viewer::from(&identity).knowing(&mine);
    let is_paused = community.accounts.is_paused(&id).await?;
    if !policy::may(reader, Action::Read, &Object::Somebody { user: &id, is_paused }).is_allowed() {
        // As of somebody who never stayed anywhere.
        return Ok(Json(paging.body(mundotango_storage::Page { items: Vec::new(), next: None })));
    }
    // What was said stays readable when the account is gone.
    let subject = Subject::User(filter.side.map_or(Side::Guest, |side| side.0), id);
    let page = community.reviews(&subject, reader, paging.request()).await?;
    Ok(Json(paging.body(page)))
}
