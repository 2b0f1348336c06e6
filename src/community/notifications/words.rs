//! The words of notifications, as pushes and digests say them.

use super::kinds::NotificationKind;
use crate::email::Language;

impl NotificationKind {
    /// The words of a push or a line of the digest: of a thing with a title, and of so many causes.
    pub fn words(self, language: Language, title: &str, count: u32) -> String {
        match language {
            Language::En => self.in_english(title, count),
            Language::Es => self.in_spanish(title, count),
        }
    }

    fn in_english(self, title: &str, count: u32) -> String {
        match self {
            Self::EventPromoted => format!("You have a place at {title}"),
            Self::EventOffered => format!("A place at {title} is held until you pay"),
            Self::EventReminder => format!("{title} begins soon"),
            Self::EventStillComing => format!("Are you still coming to {title}?"),
            Self::EventMoved => format!("{title} is at another time or place"),
            Self::EventCancelled => format!("{title} does not take place"),
            Self::EventAnswers if count == 1 => format!("One new answer to {title}"),
            Self::EventAnswers => format!("{count} new answers to {title}"),
            Self::EventGoing => format!("You said to come to {title}"),
            Self::PlaceOffered => format!("Somebody offers you a place at {title}"),
            Self::PlaceTaken => format!("Your place at {title} is taken over"),
            Self::PlaceDeclined => format!("The place that you offered stays yours: {title}"),
            Self::PaymentReceived => format!("Your payment for {title} has arrived"),
            Self::PaymentRefunded => format!("Your money for {title} is on its way back"),
            Self::PaymentFailed => format!("Your payment for {title} did not work"),
            Self::RefundFailed => {
                format!("Your money for {title} could not be sent back: we look at it")
            }
            Self::BookingRequested => format!("Somebody would like to stay: {title}"),
            Self::BookingCountered => format!("The host offers something else: {title}"),
            Self::BookingConfirmed => format!("The stay is confirmed: {title}"),
            Self::BookingPaid => format!("Your guest has paid: {title}"),
            Self::BookingDeclined => format!("No place this time: {title}"),
            Self::BookingSuperseded => format!("Another guest got your nights: {title}"),
            Self::BookingExpired => format!("There was no answer in time: {title}"),
            Self::BookingCancelled => format!("The booking is cancelled: {title}"),
            Self::BookingReminder => format!("Your stay begins tomorrow: {title}"),
            Self::ReviewDue => format!("How was it? {title}"),
            Self::ReviewsRevealed => format!("There is a review for you: {title}"),
            Self::SeriesEnding => format!("{title} ends next month unless you renew it"),
            Self::SeriesChanged => format!("Dates of {title} that you answered have changed"),
            Self::SeriesCancelled => {
                format!("Dates of {title} that you answered are cancelled")
            }
            Self::FriendRequested => format!("{title} would like to be your friend"),
            Self::FriendAccepted => format!("{title} is your friend now"),
            Self::FollowNew if count == 1 => format!("{title} follows you"),
            Self::FollowNew => format!("{count} new followers, {title} the last one"),
            Self::MessageNew if count <= 1 => format!("New message: {title}"),
            Self::MessageNew => format!("{count} new messages: {title}"),
            Self::CommentNew if count == 1 => format!("One new comment on {title}"),
            Self::CommentNew => format!("{count} new comments on {title}"),
            Self::CommentReplied => format!("An answer to your comment: {title}"),
            Self::MentionNew => format!("{title} mentioned you"),
            Self::ApprovalDecided => format!("What you proposed is decided: {title}"),
            Self::TicketReplied if count == 1 => format!("An answer in your ticket: {title}"),
            Self::TicketReplied => format!("{count} answers in your ticket: {title}"),
            Self::DecisionMade => {
                format!("The moderators made a decision about you: {title}")
            }
            Self::AppealDecided => format!("Your appeal is decided: {title}"),
            Self::ReportUpheld => report_upheld(Language::En, count),
            Self::ReportDismissed => report_dismissed(Language::En, count),
        }
    }

    fn in_spanish(self, title: &str, count: u32) -> String {
        match self {
            Self::EventPromoted => format!("Tienes un lugar en {title}"),
            Self::EventOffered => format!("Un lugar en {title} te espera hasta que pagues"),
            Self::EventReminder => format!("{title} empieza pronto"),
            Self::EventStillComing => format!("¿Sigues pensando ir a {title}?"),
            Self::EventMoved => format!("{title} cambió de hora o de lugar"),
            Self::EventCancelled => format!("{title} se canceló"),
            Self::EventAnswers if count == 1 => format!("Una respuesta nueva a {title}"),
            Self::EventAnswers => format!("{count} respuestas nuevas a {title}"),
            Self::EventGoing => format!("Dijiste que vas a {title}"),
            Self::PlaceOffered => format!("Te ofrecen un lugar en {title}"),
            Self::PlaceTaken => format!("Aceptaron tu lugar en {title}"),
            Self::PlaceDeclined => {
                format!("El lugar que ofreciste sigue siendo tuyo: {title}")
            }
            Self::PaymentReceived => format!("Llegó tu pago de {title}"),
            Self::PaymentRefunded => format!("Te devolvemos el dinero de {title}"),
            Self::PaymentFailed => format!("No se pudo cobrar el pago de {title}"),
            Self::RefundFailed => {
                format!("No pudimos devolverte el dinero de {title}: lo estamos revisando")
            }
            Self::BookingRequested => format!("Alguien quiere alojarse: {title}"),
            Self::BookingCountered => format!("Te ofrecen otra cosa: {title}"),
            Self::BookingConfirmed => format!("La estancia está confirmada: {title}"),
            Self::BookingPaid => format!("Tu huésped ya pagó: {title}"),
            Self::BookingDeclined => format!("Esta vez no hay lugar: {title}"),
            Self::BookingSuperseded => format!("Otra persona reservó tus noches: {title}"),
            Self::BookingExpired => format!("No hubo respuesta a tiempo: {title}"),
            Self::BookingCancelled => format!("Se canceló la reserva: {title}"),
            Self::BookingReminder => format!("Tu estancia empieza mañana: {title}"),
            Self::ReviewDue => format!("¿Qué tal fue? {title}"),
            Self::ReviewsRevealed => format!("Hay una reseña para ti: {title}"),
            Self::CommentNew if count == 1 => format!("Un comentario nuevo en {title}"),
            Self::CommentNew => format!("{count} comentarios nuevos en {title}"),
            Self::CommentReplied => format!("Una respuesta a tu comentario: {title}"),
            Self::MentionNew => format!("{title} te mencionó"),
            Self::SeriesEnding => format!("{title} termina el mes próximo si no lo renuevas"),
            Self::SeriesChanged => format!("Cambiaron fechas tuyas de {title}"),
            Self::SeriesCancelled => format!("Se cancelaron fechas tuyas de {title}"),
            Self::FriendRequested => format!("{title} te pide amistad"),
            Self::FriendAccepted => format!("{title} aceptó tu solicitud de amistad"),
            Self::FollowNew if count == 1 => format!("{title} te sigue"),
            Self::FollowNew => format!("{count} seguidores nuevos; {title} es el último"),
            Self::MessageNew if count <= 1 => format!("Mensaje nuevo: {title}"),
            Self::MessageNew => format!("{count} mensajes nuevos: {title}"),
            Self::ApprovalDecided => format!("Se decidió tu propuesta: {title}"),
            Self::TicketReplied if count == 1 => {
                format!("Una respuesta en tu consulta: {title}")
            }
            Self::TicketReplied => format!("{count} respuestas en tu consulta: {title}"),
            Self::DecisionMade => format!("Hay una decisión de moderación sobre ti: {title}"),
            Self::AppealDecided => format!("Se resolvió tu apelación: {title}"),
            Self::ReportUpheld => report_upheld(Language::Es, count),
            Self::ReportDismissed => report_dismissed(Language::Es, count),
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
