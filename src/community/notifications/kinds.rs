//! What users are told of.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a user is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum NotificationKind {
    /// The user waited for a place at an event and has one.
    EventPromoted,
    /// The user waited for a place at an event, and one is held until the user pays.
    EventOffered,
    /// An event that the user comes to begins soon.
    EventReminder,
    /// The user is asked whether to come still to an event.
    EventStillComing,
    /// An event that the user answered is at another time or place.
    EventMoved,
    /// An event that the user answered does not take place.
    EventCancelled,
    /// People answered an event that the user gives.
    EventAnswers,
    /// The user said to come to an event, and has a place or waits for one.
    EventGoing,
    /// Somebody offers the user the own place at an event.
    PlaceOffered,
    /// The place at an event that the user offered is taken.
    PlaceTaken,
    /// The place at an event that the user offered is not wanted.
    PlaceDeclined,
    /// What the user paid for is the user's.
    PaymentReceived,
    /// Money goes back to the user.
    PaymentRefunded,
    /// A payment of the user's did not work.
    PaymentFailed,
    /// Money that should go back to the user could not be sent.
    RefundFailed,
    /// Somebody wants to stay at the user's place.
    BookingRequested,
    /// A host offers the user other nights or another price.
    BookingCountered,
    /// A stay of the user, or at the user's place, is confirmed.
    BookingConfirmed,
    /// A guest has paid for a stay at the user's place.
    BookingPaid,
    /// A host said no to the user.
    BookingDeclined,
    /// Another guest got the nights that the user asked for.
    BookingSuperseded,
    /// The other side did not answer the user in time.
    BookingExpired,
    /// The other side cancelled.
    BookingCancelled,
    /// A stay of the user begins tomorrow.
    BookingReminder,
    /// The user can review a stay.
    ReviewDue,
    /// A review of the user is shown.
    ReviewsRevealed,
    /// A series that the user gives ends unless it is renewed.
    SeriesEnding,
    /// Dates of a series that the user answered are at another time or place, or some of them do not take place.
    SeriesChanged,
    /// Dates of a series that the user answered do not take place.
    SeriesCancelled,
    /// Somebody asks to be a friend of the user.
    FriendRequested,
    /// Somebody whom the user asked is a friend now.
    FriendAccepted,
    /// The user has new followers.
    FollowNew,
    /// Somebody wrote to the user.
    MessageNew,
    /// People commented a post of the user.
    CommentNew,
    /// Somebody answered a comment of the user.
    CommentReplied,
    /// Somebody mentioned the user.
    MentionNew,
    /// What the user proposed is approved or rejected.
    ApprovalDecided,
    /// Somebody answered in a support ticket.
    TicketReplied,
    /// The moderators decided something about the user.
    DecisionMade,
    /// An appeal of the user's is decided.
    AppealDecided,
    /// Something was done after a report of the user's.
    ReportUpheld,
    /// The moderators saw no rule broken in what the user reported.
    ReportDismissed,
}

/// By which ways a user is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ways {
    /// In the list, and on the user's own channel.
    pub in_app: bool,
    /// On the devices, where nobody has shown it within seconds.
    pub push: bool,
    /// By letters: of its own where the kind has one, else in the digest.
    pub email: bool,
}

impl NotificationKind {
    /// All kinds.
    pub const ALL: [Self; 42] = [
        Self::EventPromoted,
        Self::EventOffered,
        Self::EventReminder,
        Self::EventStillComing,
        Self::EventMoved,
        Self::EventCancelled,
        Self::EventAnswers,
        Self::EventGoing,
        Self::PlaceOffered,
        Self::PlaceTaken,
        Self::PlaceDeclined,
        Self::PaymentReceived,
        Self::PaymentRefunded,
        Self::PaymentFailed,
        Self::RefundFailed,
        Self::BookingRequested,
        Self::BookingCountered,
        Self::BookingConfirmed,
        Self::BookingPaid,
        Self::BookingDeclined,
        Self::BookingSuperseded,
        Self::BookingExpired,
        Self::BookingCancelled,
        Self::BookingReminder,
        Self::ReviewDue,
        Self::ReviewsRevealed,
        Self::SeriesEnding,
        Self::SeriesChanged,
        Self::SeriesCancelled,
        Self::FriendRequested,
        Self::FriendAccepted,
        Self::FollowNew,
        Self::MessageNew,
        Self::CommentNew,
        Self::CommentReplied,
        Self::MentionNew,
        Self::ApprovalDecided,
        Self::TicketReplied,
        Self::DecisionMade,
        Self::AppealDecided,
        Self::ReportUpheld,
        Self::ReportDismissed,
    ];

    /// Its name, as clients write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventPromoted => "eventPromoted",
            Self::EventOffered => "eventOffered",
            Self::EventReminder => "eventReminder",
            Self::EventStillComing => "eventStillComing",
            Self::EventMoved => "eventMoved",
            Self::EventCancelled => "eventCancelled",
            Self::EventAnswers => "eventAnswers",
            Self::EventGoing => "eventGoing",
            Self::PlaceOffered => "placeOffered",
            Self::PlaceTaken => "placeTaken",
            Self::PlaceDeclined => "placeDeclined",
            Self::PaymentReceived => "paymentReceived",
            Self::PaymentRefunded => "paymentRefunded",
            Self::PaymentFailed => "paymentFailed",
            Self::RefundFailed => "refundFailed",
            Self::BookingRequested => "bookingRequested",
            Self::BookingCountered => "bookingCountered",
            Self::BookingConfirmed => "bookingConfirmed",
            Self::BookingPaid => "bookingPaid",
            Self::BookingDeclined => "bookingDeclined",
            Self::BookingSuperseded => "bookingSuperseded",
            Self::BookingExpired => "bookingExpired",
            Self::BookingCancelled => "bookingCancelled",
            Self::BookingReminder => "bookingReminder",
            Self::ReviewDue => "reviewDue",
            Self::ReviewsRevealed => "reviewsRevealed",
            Self::SeriesEnding => "seriesEnding",
            Self::SeriesChanged => "seriesChanged",
            Self::SeriesCancelled => "seriesCancelled",
            Self::FriendRequested => "friendRequested",
            Self::FriendAccepted => "friendAccepted",
            Self::FollowNew => "followNew",
            Self::MessageNew => "messageNew",
            Self::CommentNew => "commentNew",
            Self::CommentReplied => "commentReplied",
            Self::MentionNew => "mentionNew",
            Self::ApprovalDecided => "approvalDecided",
            Self::TicketReplied => "ticketReplied",
            Self::DecisionMade => "decisionMade",
            Self::AppealDecided => "appealDecided",
            Self::ReportUpheld => "reportUpheld",
            Self::ReportDismissed => "reportDismissed",
        }
    }

    /// By which ways users are told who have said nothing.
    pub const fn usual_ways(self) -> Ways {
        // What a user does is told to that user only if that is asked for.
        let is_told = !matches!(self, Self::EventGoing);
        Ways { in_app: is_told, push: is_told, email: is_told }
    }

    /// Whether a letter of its own tells of it, at once; else the digest does.
    pub const fn has_letter(self) -> bool {
        !matches!(
            self,
            Self::EventAnswers
                | Self::BookingPaid
                | Self::SeriesEnding
                | Self::ReviewsRevealed
                | Self::FriendRequested
                | Self::FriendAccepted
                | Self::FollowNew
                | Self::MessageNew
                | Self::CommentNew
                | Self::CommentReplied
                | Self::MentionNew
                | Self::ApprovalDecided
                | Self::ReportUpheld
                | Self::ReportDismissed
        )
    }

    /// Whether its title is, or may be, the name of who caused it.
    pub const fn names_actor(self) -> bool {
        matches!(
            self,
            Self::FriendRequested
                | Self::FriendAccepted
                | Self::FollowNew
                | Self::MentionNew
                | Self::MessageNew
        )
    }

    /// How long it is worth a push.
    pub const fn push_within(self) -> Duration {
        match self {
            Self::EventPromoted
            | Self::EventOffered
            | Self::EventReminder
            | Self::EventGoing
            | Self::PlaceOffered
            | Self::BookingReminder => Duration::from_hours(12),
            _ => Duration::from_hours(24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_there_once_by_the_name_that_is_kept() {
        let names = NotificationKind::ALL.map(|kind| (serde_json::to_value(kind).unwrap(), kind.as_str()));
        assert!(names.iter().all(|(kept, name)| kept == name), "{names:?}");
        let distinct: std::collections::BTreeSet<_> = names.iter().map(|(_, name)| name).collect();
        assert_eq!(distinct.len(), NotificationKind::ALL.len());
    }
}
