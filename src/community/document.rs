//! What the API's document says of the whole: its parts in the order in which one reads of them, and what channels publish.

use mundotango_gateway::problem::{FieldError, Problem};
use serde_json::{Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{admin, bookmarks, chat, events, graph, housing, notifications, payments, posts};

/// The document without its operations.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "MundoTango",
        description = "The community of tango dancers: REST, and the same operations as RPCs on a socket. \
            `x-channels` says what subscribers receive.",
    ),
    // Relative to where the document is read from, so that it fits every address.
    servers((url = "/", description = "this server")),
    security(("bearer" = [])),
    tags(
        (name = "auth", description = "Making an account, logging in and out, and getting back in by mail."),
        (name = "users", description = "The own profile, and those of others."),
        (name = "people", description = "Following, friends, and keeping others out."),
        (name = "posts", description = "The feed, posts, comments on them, and reactions."),
        (name = "bookmarks", description = "Posts to come back to."),
        (name = "events", description = "Milongas, classes and festivals, and who comes."),
        (name = "calendars", description = "Events for calendar programs, and out of their files."),
        (name = "housing", description = "Places to stay, bookings of them, and reviews."),
        (name = "chat", description = "Conversations between people: direct ones and groups."),
        (name = "search", description = "Finding people, posts, events and places to stay by words."),
        (name = "notifications", description = "What a user is told, by which ways, and on which devices."),
        (name = "payments", description = "Paying for tickets and stays, and sending money back."),
        (name = "points", description = "What members earn by taking part, and who has most."),
        (name = "life-ceo", description = "Conversations with agents."),
        (name = "analytics", description = "What happened, told by clients, and the numbers of it for admins."),
        (name = "mail", description = "Leaving lists, and what mail providers report."),
        (name = "monitoring", description = "Whether the node lives and can take work."),
        (name = "jobs", description = "Queues and schedules; for admins."),
        (name = "system", description = "The running nodes; for admins."),
        (name = "support", description = "Asking for help, and what the staff answers."),
        (name = "moderation", description = "Reporting what does harm, what the moderators decided, and appealing against that."),
        (name = "admin", description = "Proposals, safety reviews, accounts, mail addresses and the audit trail; for moderators and admins."),
        (name = "server", description = "The server API, for an application's own backend, with a key of its own."),
    ),
    components(schemas(
        posts::bodies::PostMessage,
        posts::comments::bodies::CommentMessage,
        posts::live::ReactionsMessage,
        posts::timeline::live::FeedMessage,
        bookmarks::BookmarkMessage,
        graph::announce::FriendMessage,
        events::bodies::EventMessage,
        events::hosts::HostMessage,
        events::handovers::PlaceMessage,
        housing::bookings::bodies::BookingMessage,
        events::series::bodies::SeriesMessage,
        chat::updates::ChatUpdate,
        chat::updates::ListUpdate,
        notifications::views::NotificationMessage,
        admin::live::QueueMessage,
        admin::live::CaseMessage,
        admin::announcements::AnnouncementMessage,
        payments::PaymentMessage,
        crate::life_ceo::AgentMessage,
        FieldError,
        Problem
    )),
    modifiers(&BearerScheme, &Channels),
)]
pub(super) struct Document;

struct BearerScheme;

impl Modify for BearerScheme {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Channels by the form of their names: who may hear them, and the schemas of which each publication has one.
const CHANNELS: &[(&str, &str, &[&str])] = &[
    (
        "posts:feed",
        "New, changed and removed public posts; one that is public no longer is as good as removed. For everybody who is logged in.",
        &["PostMessage"],
    ),
    (
        "post:{id}",
        "What happens to a post: edits, comments, and how many comments and reactions there are. Of a post that is not public only \
            that something happened. For those who may read the post.",
        &["PostMessage", "CommentMessage", "ReactionsMessage"],
    ),
    (
        "events:all",
        "New, changed and cancelled events and series, and the counts of events that are answered, of each about once a second \
            at most. For everybody who is logged in.",
        &["EventMessage", "SeriesMessage"],
    ),
    (
        "event:{id}",
        "Answers to an event, and its changes. For those who may see the event.",
        &["EventMessage"],
    ),
    (
        "#{userId}",
        "What concerns a user alone, on all of the user's devices. Connections are subscribed to it by themselves.",
        &[
            "EventMessage",
            "HostMessage",
            "PlaceMessage",
            "NotificationMessage",
            "BookmarkMessage",
            "FeedMessage",
            "FriendMessage",
            "BookingMessage",
            "PaymentMessage",
            "ListUpdate",
            "CaseMessage",
        ],
    ),
    (
        "chat:{conversationId}",
        "What is said in a conversation, and who reads, types, joins and leaves. For those who are in it. Without history: \
            `GET /api/chat/conversations/{id}/messages?after=` has what a client missed.",
        &["ChatUpdate"],
    ),
    (
        "announcements:all",
        "What everybody is told. For everybody who is logged in.",
        &["AnnouncementMessage"],
    ),
    (
        "staff:queue",
        "What changes in the queues of proposals, reviews and tickets. For accounts of moderators and admins.",
        &["QueueMessage"],
    ),
    (
        "agent:{conversationId}",
        "An agent's answer as it is said. For the conversation's user.",
        &["AgentMessage"],
    ),
];

/// `x-channels`, as OpenAPI itself knows requests alone.
struct Channels;

impl Modify for Channels {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let channels = CHANNELS.iter().map(|(name, about, messages)| {
            let schemas = messages.iter().map(|name| json!({"$ref": format!("#/components/schemas/{name}")}));
            let message = json!({"oneOf": schemas.collect::<Vec<_>>()});
            ((*name).to_owned(), json!({"description": about, "message": message}))
        });
        let channels: Value = channels.collect::<serde_json::Map<_, _>>().into();
        document.extensions.get_or_insert_default().insert("x-channels".to_owned(), channels);
    }
}
