//! Search: people, posts, events, places to stay, comments and one's own messages by words.
//!
//! [`sources`] tells what there is to search for, `crate::search` finds it, and [`shown`] shows what the caller may see.

mod comments;
mod finding;
pub mod kinds;
mod messages;
mod pages;
mod shown;
pub mod sources;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::Deserr;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{ListQuery, PageQuery, Paging, Path, ValidQuery};
use mundotango_gateway::input::{BadFields, Choice, Time};
use mundotango_gateway::problem::Problem;
use mundotango_ops::metrics;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::shown::{FoundKind, Highlight, Thing};
use super::Community;
use super::accounts::PublicUser;
use super::chat::bodies::SeenMessage;
use super::events::bodies::SeenEvent;
use super::graph::relations::Sorts;
use super::housing::listings::ListingBody;
use super::posts::bodies::SeenPost;
use super::posts::comments::bodies::SeenComment;
use crate::search::filter::Filter;
use crate::search::fold::folded;
use crate::search::query::Search;
use crate::texts::{City, Words};

type Shared = State<Arc<Community>>;

/// Most suggestions.
const SUGGESTIONS: usize = 10;
/// What is found where nobody says of what kind: comments and messages are many, and would bury the rest.
const THINGS: [FoundKind; 4] = [FoundKind::Person, FoundKind::Post, FoundKind::Event, FoundKind::Housing];
/// Friends whose posts for friends are found at most: each is a term more in every search.
const MOST_FRIENDS: usize = 1_000;
/// Most things of one kind in an answer for old clients.
const OF_EACH_KIND: usize = 10;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(search))
        .routes(routes!(search_conversation))
        .routes(routes!(suggest))
        .routes(routes!(search_all_kinds))
}

/// What is searched for.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// Words that all have to be found, and phrases in double quotes. Case, accents and, where little is found, single letters
    /// do not count; of more than ten words the first ten do.
    #[param(value_type = Words, inline)]
    q: Words,
    /// Only things of this kind. Comments and messages are found where they are asked for, messages in the own conversations, the
    /// last one first.
    #[deserr(default)]
    #[param(value_type = Option<FoundKind>, inline)]
    kind: Option<Choice<FoundKind>>,
    /// Only in this city. Posts are in none.
    #[deserr(default)]
    #[param(value_type = Option<City>)]
    city: Option<City>,
    /// Only events that start then or later, and posts from then on.
    #[deserr(default)]
    #[param(value_type = Option<Time>)]
    from: Option<Time>,
    /// Only events that start before, and posts of before.
    #[deserr(default)]
    #[param(value_type = Option<Time>)]
    to: Option<Time>,
}

/// What is searched for in a conversation.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SaidQuery {
    /// Words that all have to be found, and phrases in double quotes. Case, accents and, where little is found, single letters
    /// do not count; of more than ten words the first ten do.
    #[param(value_type = Words, inline)]
    q: Words,
}

/// What a person has typed so far.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TypedQuery {
    /// Words, of which each may be the beginning of one.
    #[param(value_type = Words, inline)]
    q: Words,
}

/// Something that was found: one of `person`, `post`, `event`, `listing`, `comment` and `message` is there, by its kind.
#[derive(Debug, Serialize, ToSchema)]
struct FoundBody {
    kind: FoundKind,
    /// Where in its fields it says what was searched for.
    highlights: Vec<Highlight>,
    #[schema(required = true)]
    person: Option<PublicUser>,
    #[schema(required = true)]
    post: Option<SeenPost>,
    #[schema(required = true)]
    event: Option<SeenEvent>,
    #[schema(required = true)]
    listing: Option<ListingBody>,
    /// A comment on a post that the caller may read: `postId` leads to it.
    #[schema(required = true)]
    comment: Option<SeenComment>,
    #[schema(required = true)]
    message: Option<SeenMessage>,
    /// The conversation in which the message is said: `seq` leads to it there.
    #[serde(rename = "conversationId")]
    #[schema(required = true)]
    conversation_id: Option<String>,
}

impl FoundBody {
    fn new(thing: Thing, search: &Search, misspelt: bool) -> Self {
        let (kind, highlights) = (thing.kind(), thing.highlights(search, misspelt));
        let mut body = Self {
            kind,
            highlights,
            person: None,
            post: None,
            event: None,
            listing: None,
            comment: None,
            message: None,
            conversation_id: None,
        };
        match thing {
            Thing::Person(person) => body.person = Some(person),
            Thing::Post(post) => body.post = Some(post),
            Thing::Event(event) => body.event = Some(*event),
            Thing::Housing(listing) => body.listing = Some(listing),
            Thing::Comment(comment) => body.comment = Some(comment),
            Thing::Message(found) => {
                (body.message, body.conversation_id) = (Some(found.message), Some(found.conversation_id));
            }
        }
        body
    }
}

/// A page of what was found, the best first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FoundPageBody {
    /// The items, in the list's order.
    items: Vec<FoundBody>,
    /// What to send as `cursor` for the next page; null at the end. A search shows its best 200 things.
    #[schema(required = true)]
    next_cursor: Option<String>,
    /// Whether all things can be found; false while a node makes its index anew.
    is_complete: bool,
}

/// What may be meant.
#[derive(Debug, Serialize, ToSchema)]
struct Suggestion {
    kind: FoundKind,
    id: String,
    /// What it is called.
    text: String,
}

/// What may be meant, the likeliest first.
#[derive(Debug, Serialize, ToSchema)]
struct Suggestions {
    items: Vec<Suggestion>,
}

/// What was found of each kind, at most ten of each.
#[derive(Debug, Default, Serialize, ToSchema)]
struct FoundByKind {
    users: Vec<PublicUser>,
    posts: Vec<SeenPost>,
    events: Vec<SeenEvent>,
    housing: Vec<ListingBody>,
}

impl Community {
    /// All that the caller may find by what the index knows.
    async fn filter_for(&self, identity: &Identity) -> Result<Filter, Problem> {
        let mine = self.circles.view(&identity.user_id).await?;
        let friends = mine.all(Sorts::FRIENDS).take(MOST_FRIENDS).map(str::to_owned).collect();
        Ok(Filter { viewer: identity.user_id.clone(), friends, ..Filter::default() })
    }

    /// A page of what is found, with where it says so.
    async fn found_body(
        &self,
        identity: &Identity,
        words: Words,
        filter: &Filter,
        paging: &Paging,
    ) -> Result<Json<FoundPageBody>, Problem> {
        let search = Search::of(&words.into_string());
        let found = Box::pin(self.found_page(identity, &search, filter, paging.request())).await?;
        let page = paging.body(found.things.map(|thing| FoundBody::new(thing, &search, found.misspelt)));
        let is_complete = self.searcher.is_complete();
        Ok(Json(FoundPageBody { items: page.items, next_cursor: page.next_cursor, is_complete }))
    }
}

/// Search for words. What the caller may not see is not found, and there is no number of all that would fit.
#[utoipa::path(
    get, path = "/api/search", operation_id = "search", tag = "search", params(SearchQuery, PageQuery),
    responses(
        (status = OK, body = FoundPageBody),
        (status = BAD_REQUEST, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn search(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter: query, page: paging }: ListQuery<SearchQuery>,
) -> Result<Json<FoundPageBody>, Problem> {
    let _timed = metrics().search_duration_seconds.with_label_values(&["search"]).start_timer();
    let kind = query.kind.map(|kind| kind.0);
    let whose = if kind == Some(FoundKind::Message) {
        community.limits.message_search(&identity.user_id).await?;
        let threads = Some(community.searched_chats(&identity.user_id).await?);
        Filter { threads, ..Filter::default() }
    } else {
        community.filter_for(&identity).await?
    };
    let filter = Filter {
        kinds: kind
            .as_ref()
            .map_or(&THINGS[..], std::slice::from_ref)
            .iter()
            .map(|kind| kind.name())
            .collect(),
        place: query.city.map(City::into_string),
        from: query.from.map(|from| from.0),
        to: query.to.map(|to| to.0),
        ..whose
    };
    community.found_body(&identity, query.q, &filter, &paging).await
}

/// Search in one conversation, as far as the caller was a member when the messages were sent: the last one first.
#[utoipa::path(
    get, path = "/api/chat/conversations/{id}/search", operation_id = "searchConversation", tag = "search",
    params(SaidQuery, PageQuery),
    responses(
        (status = OK, body = FoundPageBody),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = TOO_MANY_REQUESTS, body = Problem),
    ),
)]
async fn search_conversation(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ListQuery { filter: query, page: paging }: ListQuery<SaidQuery>,
) -> Result<Json<FoundPageBody>, Problem> {
    let _timed = metrics().search_duration_seconds.with_label_values(&["search"]).start_timer();
    let threads = Some(vec![community.searched_chat(&id, &identity).await?]);
    community.limits.message_search(&identity.user_id).await?;
    let kinds = vec![FoundKind::Message.name()];
    let filter = Filter { kinds, threads, ..Filter::default() };
    community.found_body(&identity, query.q, &filter, &paging).await
}

/// Names of people, events and places to stay that begin with what was typed.
#[utoipa::path(
    get, path = "/api/search/suggestions", operation_id = "suggestSearches", tag = "search", params(TypedQuery),
    responses(
        (status = OK, body = Suggestions),
        (status = BAD_REQUEST, body = Problem),
    ),
)]
async fn suggest(
    identity: Identity,
    State(community): Shared,
    ValidQuery(query): ValidQuery<TypedQuery>,
) -> Result<Json<Suggestions>, Problem> {
    let _timed = metrics().search_duration_seconds.with_label_values(&["suggestions"]).start_timer();
    let search = Search::of(&query.q.into_string());
    let kinds = [FoundKind::Person, FoundKind::Event, FoundKind::Housing];
    let filter =
        Filter { kinds: kinds.map(FoundKind::name).to_vec(), ..community.filter_for(&identity).await? };
    // Things of one name are suggested once.
    let found = Box::pin(community.first_of(&identity, &search, &filter, false, 3 * SUGGESTIONS)).await?;
    let mut known = BTreeSet::new();
    let mut items = Vec::new();
    for thing in found {
        let (kind, Some(text)) = (thing.kind(), thing.title().map(str::to_owned)) else { continue };
        if items.len() < SUGGESTIONS && known.insert((kind, folded(&text))) {
            items.push(Suggestion { kind, id: thing.into_id(), text });
        }
    }
    Ok(Json(Suggestions { items }))
}

/// Search for words, for old clients: the best of each kind. `GET /api/search` has pages.
#[utoipa::path(
    get, path = "/api/user/global-search", operation_id = "searchAllKinds", tag = "search", params(TypedQuery),
    responses(
        (status = OK, body = FoundByKind),
        (status = BAD_REQUEST, body = Problem),
    ),
)]
async fn search_all_kinds(
    identity: Identity,
    State(community): Shared,
    ValidQuery(query): ValidQuery<TypedQuery>,
) -> Result<Json<FoundByKind>, Problem> {
    let _timed = metrics().search_duration_seconds.with_label_values(&["search"]).start_timer();
    let search = Search::of(&query.q.into_string());
    let mut found = FoundByKind::default();
    let everything = community.filter_for(&identity).await?;
    for kind in THINGS {
        let filter = Filter { kinds: vec![kind.name()], ..everything.clone() };
        let things = Box::pin(community.first_of(&identity, &search, &filter, false, OF_EACH_KIND)).await?;
        for thing in things {
            match thing {
                Thing::Person(person) => found.users.push(person),
                Thing::Post(post) => found.posts.push(post),
                Thing::Event(event) => found.events.push(*event),
                Thing::Housing(listing) => found.housing.push(listing),
                // None is looked for.
                Thing::Comment(_) | Thing::Message(_) => {}
            }
        }
    }
    Ok(Json(found))
}
