//! What users are told of, and in what words.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::email::Language;

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

    /// The words of a push or a line of the digest: of a thing with a title, and of so many causes.
    pub fn words(self, language: Language, title: &str, count: u32) -> String {
        match (language, self) {
            (Language::En, Self::EventPromoted) => format!("You have a place at {title}"),
            (Language::En, Self::EventOffered) => format!("A place at {title} is held until you pay"),
            (Language::En, Self::EventReminder) => format!("{title} begins soon"),
            (Language::En, Self::EventStillComing) => format!("Are you still coming to {title}?"),
            (Language::En, Self::EventMoved) => format!("{title} is at another time or place"),
            (Language::En, Self::EventCancelled) => format!("{title} does not take place"),
            (Language::En, Self::EventAnswers) if count == 1 => format!("One new answer to {title}"),
            (Language::En, Self::EventAnswers) => format!("{count} new answers to {title}"),
            (Language::En, Self::EventGoing) => format!("You said to come to {title}"),
            (Language::En, Self::PlaceOffered) => format!("Somebody offers you a place at {title}"),
            (Language::En, Self::PlaceTaken) => format!("Your place at {title} is taken over"),
            (Language::En, Self::PlaceDeclined) => format!("The place that you offered stays yours: {title}"),
            (Language::En, Self::PaymentReceived) => format!("Your payment for {title} has arrived"),
            (Language::En, Self::PaymentRefunded) => format!("Your money for {title} is on its way back"),
            (Language::En, Self::PaymentFailed) => format!("Your payment for {title} did not work"),
            (Language::En, Self::RefundFailed) => {
                format!("Your money for {title} could not be sent back: we look at it")
            }
            (Language::En, Self::BookingRequested) => format!("Somebody would like to stay: {title}"),
            (Language::En, Self::BookingCountered) => format!("The host offers something else: {title}"),
            (Language::En, Self::BookingConfirmed) => format!("The stay is confirmed: {title}"),
            (Language::En, Self::BookingPaid) => format!("Your guest has paid: {title}"),
            (Language::En, Self::BookingDeclined) => format!("No place this time: {title}"),
            (Language::En, Self::BookingSuperseded) => format!("Another guest got your nights: {title}"),
            (Language::En, Self::BookingExpired) => format!("There was no answer in time: {title}"),
            (Language::En, Self::BookingCancelled) => format!("The booking is cancelled: {title}"),
            (Language::En, Self::BookingReminder) => format!("Your stay begins tomorrow: {title}"),
            (Language::En, Self::ReviewDue) => format!("How was it? {title}"),
            (Language::En, Self::ReviewsRevealed) => format!("There is a review for you: {title}"),
            (Language::En, Self::SeriesEnding) => format!("{title} ends next month unless you renew it"),
            (Language::En, Self::SeriesChanged) => format!("Dates of {title} that you answered have changed"),
            (Language::En, Self::SeriesCancelled) => {
                format!("Dates of {title} that you answered are cancelled")
            }
            (Language::En, Self::FriendRequested) => format!("{title} would like to be your friend"),
            (Language::En, Self::FriendAccepted) => format!("{title} is your friend now"),
            (Language::En, Self::FollowNew) if count == 1 => format!("{title} follows you"),
            (Language::En, Self::FollowNew) => format!("{count} new followers, {title} the last one"),
            (Language::En, Self::MessageNew) if count <= 1 => format!("New message: {title}"),
            (Language::En, Self::MessageNew) => format!("{count} new messages: {title}"),
            (Language::En, Self::CommentNew) if count == 1 => format!("One new comment on {title}"),
            (Language::En, Self::CommentNew) => format!("{count} new comments on {title}"),
            (Language::En, Self::CommentReplied) => format!("An answer to your comment: {title}"),
            (Language::En, Self::MentionNew) => format!("{title} mentioned you"),
            (Language::En, Self::ApprovalDecided) => format!("What you proposed is decided: {title}"),
            (Language::En, Self::TicketReplied) if count == 1 => format!("An answer in your ticket: {title}"),
            (Language::En, Self::TicketReplied) => format!("{count} answers in your ticket: {title}"),
            (Language::En, Self::DecisionMade) => {
                format!("The moderators made a decision about you: {title}")
            }
            (Language::En, Self::AppealDecided) => format!("Your appeal is decided: {title}"),
            (Language::Es, Self::EventPromoted) => format!("Tienes un lugar en {title}"),
            (Language::Es, Self::EventOffered) => format!("Un lugar en {title} te espera hasta que pagues"),
            (Language::Es, Self::EventReminder) => format!("{title} empieza pronto"),
            (Language::Es, Self::EventStillComing) => format!("¿Sigues pensando ir a {title}?"),
            (Language::Es, Self::EventMoved) => format!("{title} cambió de hora o de lugar"),
            (Language::Es, Self::EventCancelled) => format!("{title} se canceló"),
            (Language::Es, Self::EventAnswers) if count == 1 => format!("Una respuesta nueva a {title}"),
            (Language::Es, Self::EventAnswers) => format!("{count} respuestas nuevas a {title}"),
            (Language::Es, Self::EventGoing) => format!("Dijiste que vas a {title}"),
            (Language::Es, Self::PlaceOffered) => format!("Te ofrecen un lugar en {title}"),
            (Language::Es, Self::PlaceTaken) => format!("Aceptaron tu lugar en {title}"),
            (Language::Es, Self::PlaceDeclined) => {
                format!("El lugar que ofreciste sigue siendo tuyo: {title}")
            }
            (Language::Es, Self::PaymentReceived) => format!("Llegó tu pago de {title}"),
            (Language::Es, Self::PaymentRefunded) => format!("Te devolvemos el dinero de {title}"),
            (Language::Es, Self::PaymentFailed) => format!("No se pudo cobrar el pago de {title}"),
            (Language::Es, Self::RefundFailed) => {
                format!("No pudimos devolverte el dinero de {title}: lo estamos revisando")
            }
            (Language::Es, Self::BookingRequested) => format!("Alguien quiere alojarse: {title}"),
            (Language::Es, Self::BookingCountered) => format!("Te ofrecen otra cosa: {title}"),
            (Language::Es, Self::BookingConfirmed) => format!("La estancia está confirmada: {title}"),
            (Language::Es, Self::BookingPaid) => format!("Tu huésped ya pagó: {title}"),
            (Language::Es, Self::BookingDeclined) => format!("Esta vez no hay lugar: {title}"),
            (Language::Es, Self::BookingSuperseded) => format!("Otra persona reservó tus noches: {title}"),
            (Language::Es, Self::BookingExpired) => format!("No hubo respuesta a tiempo: {title}"),
            (Language::Es, Self::BookingCancelled) => format!("Se canceló la reserva: {title}"),
            (Language::Es, Self::BookingReminder) => format!("Tu estancia empieza mañana: {title}"),
            (Language::Es, Self::ReviewDue) => format!("¿Qué tal fue? {title}"),
            (Language::Es, Self::ReviewsRevealed) => format!("Hay una reseña para ti: {title}"),
            (Language::Es, Self::CommentNew) if count == 1 => format!("Un comentario nuevo en {title}"),
            (Language::Es, Self::CommentNew) => format!("{count} comentarios nuevos en {title}"),
            (Language::Es, Self::CommentReplied) => format!("Una respuesta a tu comentario: {title}"),
            (Language::Es, Self::MentionNew) => format!("{title} te mencionó"),
            (Language::Es, Self::SeriesEnding) => format!("{title} termina el mes próximo si no lo renuevas"),
            (Language::Es, Self::SeriesChanged) => format!("Cambiaron fechas tuyas de {title}"),
            (Language::Es, Self::SeriesCancelled) => format!("Se cancelaron fechas tuyas de {title}"),
            (Language::Es, Self::FriendRequested) => format!("{title} te pide amistad"),
            (Language::Es, Self::FriendAccepted) => format!("{title} aceptó tu solicitud de amistad"),
            (Language::Es, Self::FollowNew) if count == 1 => format!("{title} te sigue"),
            (Language::Es, Self::FollowNew) => format!("{count} seguidores nuevos; {title} es el último"),
            (Language::Es, Self::MessageNew) if count <= 1 => format!("Mensaje nuevo: {title}"),
            (Language::Es, Self::MessageNew) => format!("{count} mensajes nuevos: {title}"),
            (Language::Es, Self::ApprovalDecided) => format!("Se decidió tu propuesta: {title}"),
            (Language::Es, Self::TicketReplied) if count == 1 => {
                format!("Una respuesta en tu consulta: {title}")
            }
            (Language::Es, Self::TicketReplied) => format!("{count} respuestas en tu consulta: {title}"),
            (Language::Es, Self::DecisionMade) => format!("Hay una decisión de moderación sobre ti: {title}"),
            (Language::Es, Self::AppealDecided) => format!("Se resolvió tu apelación: {title}"),
            (_, Self::ReportUpheld) => report_upheld(language, count),
            (_, Self::ReportDismissed) => report_dismissed(language, count),
        }
    }
}

/// Of reports after which something was done.
fn report_upheld(language: Language, count: u32) -> String {
    match language {
        Language::En if count == 1 => "The moderators acted on what you reported".to_owned(),
        Language::En => format!("The moderators acted on {count} things that you reported"),
        Language::Es if count == 1 => "La moderación actuó por lo que denunciaste".to_owned(),
        Language::Es => format!("La moderación actuó por {count} cosas que denunciaste"),
    }
}

/// Of reports after which nothing was.
fn report_dismissed(language: Language, count: u32) -> String {
    match language {
        Language::En if count == 1 => "No rule was broken in what you reported".to_owned(),
        Language::En => format!("No rule was broken in {count} things that you reported"),
        Language::Es if count == 1 => "Lo que denunciaste no rompe ninguna regla".to_owned(),
        Language::Es => format!("{count} cosas que denunciaste no rompen ninguna regla"),
    }
}

/// What a push says of several at once.
pub fn several(language: Language, count: usize) -> String {
    match language {
        Language::En => format!("{count} new notifications"),
        Language::Es => format!("{count} avisos nuevos"),
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
