//! Which of a user's friends go to an event.
//!
//! It is the friends who are walked, whom the node keeps sorted by their ids, as the answers of an event are: what is read of the
//! answers begins at the next friend each time, so everything between two friends is passed over.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use mundotango_gateway::Identity;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path};
use mundotango_gateway::problem::Problem;
use mundotango_storage::db::{RowRange, prefix};
use mundotango_storage::{Page, PageRequest, StoreError};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::rsvp_in;
use super::bodies::Attendee;
use super::rules::RsvpStatus;
use super::seating::{ANSWERS, Rsvp, answer_key};
use super::store::{EVENTS, EventStore};
use crate::community::graph::relations::Sorts;
use crate::community::graph::rules::Friendship;
use crate::community::policy::{self, Action, Object, Viewer};
use crate::community::{Community, Person};

type Shared = State<Arc<Community>>;

/// Answers that are read at a time.
const READ_AT_ONCE: usize = 100;
/// How often answers are read for one page.
const MOST_READS: usize = 10;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(friends))
}

impl EventStore {
    /// Those of some users who are going to an event, by user id, which is the cursor. Answers are read ten times at most, a hundred
    /// each time, so a page may end before it is full.
    pub async fn going_among(
        &self,
        event_id: &str,
        users: Vec<&str>,
        page: PageRequest,
    ) -> Result<Page<Rsvp>, StoreError> {
        let (after, skip) = page.start.behind(|user| Some(answer_key(&user)))?;
        let limit = skip.saturating_add(page.limit);
        let keyed = users.into_iter().map(|user| (answer_key(user), user));
        let mut wanted: Vec<_> =
            keyed.filter(|(key, _)| after.as_deref().is_none_or(|after| key.as_str() > after)).collect();
        wanted.sort_unstable();
        let (mut going, mut looked_at) = (Vec::new(), 0);
        'reads: for _ in 0..MOST_READS {
            let Some((first, _)) = wanted.get(looked_at) else { break };
            let range = RowRange::first(prefix(&[ANSWERS]), READ_AT_ONCE).starting_at(first.clone());
            let rows = self.db().rows(&EVENTS, event_id, &range).await?;
            let (mut answers, read_to): (BTreeMap<_, _>, _) = (rows.items.into_iter().collect(), rows.next);
            let is_read = |key: &str| read_to.as_deref().is_none_or(|last| key <= last);
            for (key, user) in wanted.iter().skip(looked_at).take_while(|(key, _)| is_read(key)) {
                looked_at += 1;
                let answer = answers.remove(key).and_then(|row| rsvp_in(event_id, user, row));
                going.extend(answer.filter(|answer| answer.status == RsvpStatus::Going));
                if going.len() >= limit {
                    break 'reads;
                }
            }
        }
        let more = wanted.len() > looked_at;
        let next = wanted.get(looked_at.wrapping_sub(1)).filter(|_| more).map(|(_, user)| (*user).to_owned());
        Ok(Page { items: going.into_iter().skip(skip).collect(), next })
    }
}

/// The caller's friends who are going to an event, by their ids. Those who tell their friends (`audiences.attendance`), of an event
/// that tells the caller who comes. A page may end before it is full; its cursor goes on.
#[utoipa::path(
    get, path = "/api/events/{id}/friends", operation_id = "listFriendsGoing", tag = "events", params(PageQuery),
    responses(
        (status = OK, body = PageBody<Attendee>),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn friends(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<Attendee>>, Problem> {
    community.event_for(&id, &identity, Action::ReadAttendees).await?;
    let mine = community.circles.view(&identity.user_id).await?;
    let viewer = Viewer::from(&identity).knowing(&mine);
    let friends = mine.all(Sorts::FRIENDS).collect();
    let page = community.events.going_among(&id, friends, query.page.request()).await?;
    let ids: Vec<_> = page.items.iter().map(|rsvp| rsvp.user_id.clone()).collect();
    let ties = community.circles.ties_to(&ids, &identity.user_id).await?;
    let users = community.accounts.profiles(&ids).await?;
    let mut users: BTreeMap<_, _> = users.into_iter().map(|user| (user.id.clone(), user)).collect();
    let shown = page.items.into_iter().zip(ties).filter_map(|(rsvp, tie)| {
        let user = users.remove(&rsvp.user_id)?;
        // Of a friendship the friend's own side decides: the caller's copy of it may be late.
        let is_friend = tie.friendship() == Friendship::Friends;
        let audience = user.profile.audiences.attendance;
        let wish = Object::ProfileField { owner: &user.id, audience, is_friend };
        let is_shown = is_friend && policy::may(viewer, Action::Read, &wish).is_allowed();
        is_shown.then(|| Attendee {
            user_id: rsvp.user_id,
            status: rsvp.status,
            party: rsvp.party.into(),
            updated_at: rsvp.updated_at.into(),
            user: Some(Person::from(user)),
        })
    });
    let items = shown.collect();
    Ok(Json(query.page.body(Page { items, next: page.next })))
}
