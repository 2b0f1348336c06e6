//! Leaving a list of letters by the link in one, without signing in. Opening the link changes nothing: mail filters open links
//! too. What a mail program sends by itself (RFC 8058) and the button on the page are the same POST.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use deserr::Deserr;
use mundotango_gateway::extract::ValidQuery;
use mundotango_gateway::input::BadFields;
use mundotango_gateway::problem::Problem;
use mundotango_gateway::tokens::{TokenError, Tokens};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::community::Community;
use crate::email::{UnsubscribeAction, UnsubscribeKey, page, unsubscribe_page};
use crate::texts::LinkToken;

type Shared = State<Arc<Community>>;

/// What keeps the key apart from all else that is made of the secret.
const PURPOSE: &str = "unsubscribe links";

/// The key that signs links. It is made of the node's secret, so all nodes have the same.
pub(in crate::community) fn key(tokens: &Tokens) -> Result<UnsubscribeKey, TokenError> {
    Ok(UnsubscribeKey::new(tokens.seal(PURPOSE, "key")?.as_bytes()))
}

pub(in crate::community) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(ask, leave))
}

/// The link of a letter.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LinkQuery {
    /// Whose link it is, and for which list.
    #[param(value_type = LinkToken, inline)]
    token: LinkToken,
}

/// The page behind the link of a letter. It changes nothing.
#[utoipa::path(
    get, path = "/api/mail/unsubscribe", operation_id = "showUnsubscribePage",
    tag = "mail", security(()), params(LinkQuery),
    responses((status = OK, body = String, content_type = "text/html"), (status = NOT_FOUND, body = String, content_type = "text/html")),
)]
async fn ask(
    State(community): Shared,
    headers: HeaderMap,
    ValidQuery(query): ValidQuery<LinkQuery>,
) -> Response {
    let language = page::language(&headers);
    match community.unsubscribe.read(&query.token.into_string()) {
        Some((_, list)) => page::response(StatusCode::OK, unsubscribe_page::page(list, language)),
        None => page::response(StatusCode::NOT_FOUND, unsubscribe_page::unknown_page(language)),
    }
}

/// Leave the list of a letter, by its link: a form with `List-Unsubscribe=One-Click`, as mail programs send it.
#[utoipa::path(
    post, path = "/api/mail/unsubscribe", operation_id = "unsubscribe",
    tag = "mail", security(()), params(LinkQuery),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK, body = String, content_type = "text/html"),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = String, content_type = "text/html"),
    ),
)]
async fn leave(
    State(community): Shared,
    headers: HeaderMap,
    ValidQuery(query): ValidQuery<LinkQuery>,
    body: Bytes,
) -> Result<Response, Problem> {
    let language = page::language(&headers);
    let Some((user_id, list)) = community.unsubscribe.read(&query.token.into_string()) else {
        return Ok(page::response(StatusCode::NOT_FOUND, unsubscribe_page::unknown_page(language)));
    };
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let action = UnsubscribeAction::read(content_type, &body).ok_or_else(|| {
        let detail = "the body must be a form that holds List-Unsubscribe=One-Click";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let wanted = action == UnsubscribeAction::Return;
    community.notifications.preferences.subscribe(&user_id, list, wanted).await?;
    let html = match action {
        UnsubscribeAction::Leave => unsubscribe_page::done_page(list, language),
        UnsubscribeAction::Return => unsubscribe_page::returned_page(language),
    };
    Ok(page::response(StatusCode::OK, html))
}
