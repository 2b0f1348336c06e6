//! Support: members ask for help, and the staff answers.

mod bodies;
pub mod rules;
pub mod store;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use mundotango_gateway::extract::{Everything, ListQuery, PageBody, PageQuery, Path, ValidJson};
use mundotango_gateway::input::{BadFields, Choice};
use mundotango_gateway::problem::Problem;
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::db::Wants;
use mundotango_storage::{Page, StoreError, now};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::bodies::{NewTicket, Of, OwnStep, TicketBody, TicketMessage, TicketReplyBody, To};
use self::rules::{Facts, Voice, close, resolve};
use self::store::{Message, Tickets};
use super::bodies::{AssignBody, StepBody, as_wanted, number};
use super::desk::{Kept, Open, Step};
use super::error::WorkError;
use super::live;
use super::staff::Staff;
use super::work::{State as WorkState, Workflow};
use crate::community::Community;
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::letters::tickets as letters;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::Tell;
use crate::community::policy::{self, Action, Object, Viewer};
use crate::community::roles::{self, Role};
use crate::texts::{Id, Reason};

type Shared = State<Arc<Community>>;
type Ticket = Kept<Tickets>;

const THING: &str = Workflow::Support.thing();

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new()
        .routes(routes!(list, open))
        .routes(routes!(read))
        .routes(routes!(messages, reply))
        .routes(routes!(close_ticket))
        .routes(routes!(reopen_ticket))
        .routes(routes!(assign))
        .routes(routes!(resolve_ticket))
}

/// Which tickets.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TicketsQuery {
    /// `me` for the caller's own, `all` for those of all members, which the staff sees; for the staff `all` if absent, for others `me`.
    #[deserr(default)]
    #[param(value_type = Option<Of>, inline)]
    of: Option<Choice<Of>>,
    /// Only those that stand so. Those that wait come in the order in which they have waited, and all others the newest first.
    #[deserr(default)]
    #[param(value_type = Option<WorkState>, inline)]
    state: Option<Choice<WorkState>>,
    /// Only those that this user works on.
    #[deserr(default)]
    #[param(value_type = Option<Id>, inline)]
    assignee: Option<Id>,
}

fn is_staff(identity: &Identity) -> bool {
    roles::require(identity, Role::Moderator).is_ok()
}

/// Tells the other side of a message, and mails it.
fn told(case: &Ticket, to: &str, place: u64) -> Result<[Effect; 2], StoreError> {
    let told = Tell {
        kind: NotificationKind::TicketReplied,
        thing: case.id.clone(),
        title: case.facts.subject.clone(),
        // Members are not told who of the staff it was, and the staff knows the member.
        actor_id: None,
        count: 1,
        stale_at: None,
    };
    Ok([told.effect(to)?, letters::reply(&case.id, to, place)?])
}

/// What a change of a ticket by the staff causes. What is said of it is sealed under the member's key.
pub(super) fn changed(case: &Ticket, act: &Act) -> Result<Vec<Effect>, StoreError> {
    let mut effects = live::to_all(case)?;
    effects.push(Effect::audit(act.clone().about(&case.facts.user_id)));
    Ok(effects)
}

/// Why something is not done, as the caller may be told.
fn refused(error: WorkError, identity: &Identity) -> Problem {
    if is_staff(identity) { error.into() } else { error.without_names().into() }
}

impl Community {
    async fn ticket_for(&self, id: &str, identity: &Identity, action: Action) -> Result<Ticket, Problem> {
        let case = self.desks.tickets.case(id).await?.ok_or_else(|| Problem::not_found(THING))?;
        let object = Object::Ticket { member: &case.facts.user_id };
        policy::may(Viewer::from(identity), action, &object).allows(THING)?;
        Ok(case)
    }

    async fn ticket_body(&self, case: Option<Ticket>, is_staff: bool) -> Result<Json<TicketBody>, Problem> {
        let case = case.ok_or_else(|| Problem::not_found(THING))?;
        let people = self.people(vec![case.facts.user_id.clone()]).await;
        Ok(Json(TicketBody::new(&case, is_staff, &people)))
    }
}

/// Ask for help. A member has 20 open tickets at most.
#[utoipa::path(
    post, path = "/api/support/tickets", operation_id = "createTicket",
    tag = "support", params(IdempotencyKey), request_body = NewTicket,
    responses(
        (status = CREATED, body = TicketBody),
        (status = BAD_REQUEST, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn open(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    ValidJson(body): ValidJson<NewTicket>,
) -> Result<(StatusCode, Json<TicketBody>), Problem> {
    let facts = Facts {
        user_id: identity.user_id.clone(),
        subject: body.subject.into_string(),
        text: body.text.into_string(),
        created_at: new_id.made_at(),
    };
    let opened = community.desks.tickets.open(&new_id.into_text(), facts, live::to_all).await?;
    Ok((StatusCode::CREATED, community.ticket_body(Some(opened), is_staff(&identity)).await?))
}

/// Tickets: a member's own, and for moderators and admins those of all. A page may end before it is full; its cursor goes on.
#[utoipa::path(
    get, path = "/api/support/tickets", operation_id = "listTickets", tag = "support", params(TicketsQuery, PageQuery),
    responses(
        (status = OK, body = PageBody<TicketBody>),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter, page }: ListQuery<TicketsQuery>,
) -> Result<Json<PageBody<TicketBody>>, Problem> {
    let is_staff = is_staff(&identity);
    let of = filter.of.map_or(if is_staff { Of::All } else { Of::Me }, |of| of.0);
    let wanted = as_wanted::<Tickets>(filter.state, filter.assignee.as_ref());
    let desk = &community.desks.tickets;
    if filter.assignee.is_some() {
        // Members do not learn who works on their tickets.
        roles::require(&identity, Role::Moderator)?;
    }
    let found = match of {
        Of::Me => desk.all(Some(&identity.user_id), wanted, page.request()).await?,
        Of::All => {
            roles::require(&identity, Role::Moderator)?;
            if filter.state.is_some_and(|state| state.0 != WorkState::Done) {
                desk.pending(wanted, page.request()).await?
            } else {
                desk.all(None, wanted, page.request()).await?
            }
        }
    };
    let members = found.items.iter().map(|case| case.facts.user_id.clone());
    let people = community.people(members.collect()).await;
    Ok(Json(page.body(found.map(|case| TicketBody::new(&case, is_staff, &people)))))
}

/// One ticket; for its member, moderators and admins.
#[utoipa::path(
    get, path = "/api/support/tickets/{id}", operation_id = "getTicket", tag = "support",
    responses((status = OK, body = TicketBody), (status = NOT_FOUND, body = Problem)),
)]
async fn read(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
) -> Result<Json<TicketBody>, Problem> {
    let case = community.ticket_for(&id, &identity, Action::Read).await?;
    community.ticket_body(Some(case), is_staff(&identity)).await
}

/// What was said in a ticket besides its first message, in order; notes are for moderators and admins.
#[utoipa::path(
    get, path = "/api/support/tickets/{id}/messages", operation_id = "listTicketMessages", tag = "support", params(PageQuery),
    responses(
        (status = OK, body = PageBody<TicketMessage>),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem),
    ),
)]
async fn messages(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    query: ListQuery<Everything>,
) -> Result<Json<PageBody<TicketMessage>>, Problem> {
    let case = community.ticket_for(&id, &identity, Action::Read).await?;
    // Who works here may need help as well, and is a member then.
    let sees_all = is_staff(&identity) && case.facts.user_id != identity.user_id;
    let found = community.desks.tickets.messages(&id, sees_all, query.page.request()).await?;
    let items = found.items.into_iter().map(|message| TicketMessage::new(message, sees_all));
    Ok(Json(query.page.body(Page { items: items.collect(), next: found.next })))
}

/// Say something in a ticket: its member to the staff, or the staff to its member or to itself. The other side is told and gets a
/// letter. A ticket has 500 messages at most.
#[utoipa::path(
    post, path = "/api/support/tickets/{id}/messages", operation_id = "replyToTicket",
    tag = "support", params(IdempotencyKey), request_body = TicketReplyBody,
    responses(
        (status = CREATED, body = TicketBody),
        (status = BAD_REQUEST, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn reply(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<TicketReplyBody>,
) -> Result<(StatusCode, Json<TicketBody>), Problem> {
    let case = community.ticket_for(&id, &identity, Action::Read).await?;
    let voice = match body.to.0 {
        _ if case.facts.user_id == identity.user_id => Voice::Member,
        To::Member => Voice::Staff,
        To::Staff => Voice::Note,
    };
    let now = new_id.made_at();
    let message = Message {
        id: new_id.into_text(),
        at: now,
        author: identity.user_id.clone(),
        voice,
        text: body.text.into_string(),
    };
    let act = match voice {
        Voice::Member => None,
        Voice::Staff => Some("ticket.replied"),
        Voice::Note => Some("ticket.noted"),
    };
    let act = act.map(|act| Act::by(&identity, act, THING, &id, now).with("message", message.id.as_str()));
    let effects = move |case: &Ticket, place: u64| {
        let mut effects = match &act {
            // What the staff notes for itself is no news for the member.
            Some(act) if voice == Voice::Note => {
                vec![live::to_staff(case)?, Effect::audit(act.clone().about(&case.facts.user_id))]
            }
            Some(act) => changed(case, act)?,
            None => live::to_all(case)?,
        };
        let to = match voice {
            Voice::Member => case.work.assignee.as_deref(),
            Voice::Staff => Some(case.facts.user_id.as_str()),
            Voice::Note => None,
        };
        if let Some(to) = to {
            effects.extend(told(case, to, place)?);
        }
        Ok(effects)
    };
    let step = Step { version: number(body.version), now, action: "replied" };
    let said = community.desks.tickets.say(&id, step, message, effects).await;
    let said = said.map_err(|error| refused(error, &identity))?;
    Ok((StatusCode::CREATED, community.ticket_body(said, is_staff(&identity)).await?))
}

/// Close a ticket; for its member. It can be opened again within 14 days.
#[utoipa::path(
    post, path = "/api/support/tickets/{id}/close", operation_id = "closeTicket",
    tag = "support", request_body = OwnStep,
    responses(
        (status = OK, body = TicketBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn close_ticket(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<OwnStep>,
) -> Result<Json<TicketBody>, Problem> {
    community.ticket_for(&id, &identity, Action::Change).await?;
    let now = now();
    let step = Step { version: number(body.version), now, action: "closed" };
    let rule = move |part: &mut Open<'_, Tickets>| Ok(close(&mut part.head, now));
    let case = community.desks.tickets.change(&id, step, Wants::head(), rule, live::to_all).await;
    let case = case.map_err(|error| refused(error, &identity))?;
    community.ticket_body(case, is_staff(&identity)).await
}

/// Open a ticket again that is resolved or closed, within 14 days; for its member.
#[utoipa::path(
    post, path = "/api/support/tickets/{id}/reopen", operation_id = "reopenTicket",
    tag = "support", request_body = OwnStep,
    responses(
        (status = OK, body = TicketBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn reopen_ticket(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<OwnStep>,
) -> Result<Json<TicketBody>, Problem> {
    let case = community.ticket_for(&id, &identity, Action::Change).await?;
    let step = Step { version: number(body.version), now: now(), action: "opened" };
    let accounts = &community.accounts;
    let staff = match &case.work.assignee {
        Some(assignee) => accounts.user(assignee).await?.filter(|user| user.role >= Role::Moderator),
        None => None,
    };
    let staff = staff.map(|user| user.id);
    let case = community.desks.tickets.reopen(&case, step, staff, live::to_all).await;
    let case = case.map_err(|error| refused(error, &identity))?;
    community.ticket_body(case, is_staff(&identity)).await
}

/// Say who works on a ticket; for moderators and admins.
#[utoipa::path(
    post, path = "/api/support/tickets/{id}/assign", operation_id = "assignTicket",
    tag = "support", request_body = AssignBody,
    responses(
        (status = OK, body = TicketBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn assign(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<AssignBody>,
) -> Result<Json<TicketBody>, Problem> {
    let desk = &community.desks.tickets;
    let case = community.assign_case(desk, &identity, &id, body, |_, _| Ok(()), changed).await?;
    community.ticket_body(case, true).await
}

/// Say that a ticket is resolved; for moderators and admins.
#[utoipa::path(
    post, path = "/api/support/tickets/{id}/resolve", operation_id = "resolveTicket",
    tag = "support", request_body = StepBody,
    responses(
        (status = OK, body = TicketBody),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn resolve_ticket(
    identity: Identity,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<StepBody>,
) -> Result<Json<TicketBody>, Problem> {
    roles::require(&identity, Role::Moderator)?;
    let (now, staff) = (now(), Staff::from(&identity));
    let reason = body.reason.value().map(Reason::into_string);
    let act = Act::by(&identity, "ticket.resolved", THING, &id, now).because(reason);
    let step = Step { version: number(body.version), now, action: "closed" };
    let rule = move |part: &mut Open<'_, Tickets>| resolve(&mut part.head, &staff, now);
    let case =
        community.desks.tickets.change(&id, step, Wants::head(), rule, move |case| changed(case, &act));
    let case = case.await?;
    community.ticket_body(case, true).await
}
