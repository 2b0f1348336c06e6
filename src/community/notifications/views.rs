//! What clients see of notifications.

use mundotango_gateway::input::Time;
use mundotango_storage::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::kinds::NotificationKind;
use super::store::{Mark, Notification, Numbered};
use crate::community::effects::Effect;

/// The page of the site that a notification leads to.
pub(in crate::community) fn link_of(told: &Notification) -> String {
    match told.kind {
        NotificationKind::EventPromoted
        | NotificationKind::EventOffered
        | NotificationKind::EventReminder
        | NotificationKind::EventStillComing
        | NotificationKind::EventMoved
        | NotificationKind::EventCancelled
        | NotificationKind::EventAnswers
        | NotificationKind::EventGoing
        | NotificationKind::PlaceOffered
        | NotificationKind::PlaceTaken
        | NotificationKind::PlaceDeclined => format!("/events/{}", told.thing),
        NotificationKind::PaymentReceived
        | NotificationKind::PaymentRefunded
        | NotificationKind::PaymentFailed
        | NotificationKind::RefundFailed => format!("/payments/{}", told.thing),
        NotificationKind::BookingRequested
        | NotificationKind::BookingCountered
        | NotificationKind::BookingConfirmed
        | NotificationKind::BookingPaid
        | NotificationKind::BookingDeclined
        | NotificationKind::BookingSuperseded
        | NotificationKind::BookingExpired
        | NotificationKind::BookingCancelled
        | NotificationKind::BookingReminder
        | NotificationKind::ReviewDue
        | NotificationKind::ReviewsRevealed => format!("/bookings/{}", told.thing),
        NotificationKind::SeriesEnding
        | NotificationKind::SeriesChanged
        | NotificationKind::SeriesCancelled => format!("/events/series/{}", told.thing),
        NotificationKind::FriendRequested | NotificationKind::FriendAccepted => {
            format!("/people/{}", told.thing)
        }
        NotificationKind::FollowNew => format!("/people/{}/followers", told.thing),
        NotificationKind::MessageNew => format!("/chat/{}", told.thing),
        NotificationKind::CommentNew | NotificationKind::CommentReplied | NotificationKind::MentionNew => {
            format!("/posts/{}", told.thing)
        }
        NotificationKind::ApprovalDecided => format!("/founder-approval/{}", told.thing),
        NotificationKind::TicketReplied => format!("/support/tickets/{}", told.thing),
        NotificationKind::DecisionMade | NotificationKind::AppealDecided => {
            format!("/moderation/decisions/{}", told.thing)
        }
        NotificationKind::ReportUpheld | NotificationKind::ReportDismissed => "/reports".to_owned(),
    }
}

/// What a user is told.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct NotificationView {
    id: String,
    kind: NotificationKind,
    /// The id of what it is about.
    thing: String,
    /// What that is called.
    title: String,
    /// Who caused it last, if somebody did.
    #[schema(required = true)]
    actor_id: Option<String>,
    /// How often it happened since the user read of it.
    count: u32,
    /// The page of the site that it leads to.
    path: String,
    read: bool,
    at: Time,
}

impl From<Numbered> for NotificationView {
    fn from(Numbered { number, is_read, told }: Numbered) -> Self {
        Self {
            id: number.to_string(),
            path: link_of(&told),
            kind: told.kind,
            thing: told.thing,
            title: told.title,
            actor_id: told.actor_id,
            count: told.count,
            read: is_read,
            at: told.at.into(),
        }
    }
}

/// What the personal channel publishes of notifications. The count is the whole number, never a difference.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum NotificationMessage {
    /// There is a new one. One of the same thing that was unread is in it, and gone.
    #[serde(rename = "notification.created")]
    Created { notification: NotificationView, unread: usize },
    /// One was read or removed, on some device.
    #[serde(rename = "notification.read")]
    Read { id: String, unread: usize },
    /// All up to this one were read, on some device.
    #[serde(rename = "notifications.read")]
    ReadUpTo {
        #[serde(rename = "upTo")]
        up_to: String,
        unread: usize,
    },
}

/// What the devices hear of a new notification.
pub(super) fn announce_new(channel: &str, told: &Numbered, unread: usize) -> Result<Effect, StoreError> {
    Effect::publish(channel, &NotificationMessage::Created { notification: told.clone().into(), unread })
}

/// What the devices hear of what was read or removed.
pub(super) fn announce_mark(channel: &str, mark: &Mark, unread: usize) -> Result<Effect, StoreError> {
    let message = match mark {
        Mark::One(number) => NotificationMessage::Read { id: number.to_string(), unread },
        Mark::UpTo(number) => NotificationMessage::ReadUpTo { up_to: number.to_string(), unread },
    };
    Effect::publish(channel, &message)
}
