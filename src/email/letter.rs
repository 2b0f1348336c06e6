//! What a letter tells, as plain texts.

use serde::{Deserialize, Serialize};

/// Items that a digest shows at most. With the longest texts it stays below the size at which Gmail cuts a
/// letter off.
const MAX_DIGEST_ITEMS: usize = 30;

/// What a person agrees to receive or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// About the account itself, and what the moderators decided about it. Nobody can unsubscribe from these, and no other list blocks them.
    Security,
    /// About events, bookings, tickets and other things that happen. A person can unsubscribe.
    Activity,
    /// Summaries. A person can unsubscribe.
    Digest,
}

impl Scope {
    /// The list from which a person unsubscribes to receive no more of these; `None` for what everybody
    /// receives.
    pub const fn list(self) -> Option<MailingList> {
        match self {
            Self::Security => None,
            Self::Activity => Some(MailingList::Activity),
            Self::Digest => Some(MailingList::Digest),
        }
    }
}

/// What a person can unsubscribe from. Letters about the account's security are in no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailingList {
    /// All letters of [`Scope::Activity`].
    Activity,
    /// All letters of [`Scope::Digest`].
    Digest,
}

impl MailingList {
    /// All lists.
    pub const ALL: [Self; 2] = [Self::Activity, Self::Digest];

    /// The scope of its letters.
    pub const fn scope(self) -> Scope {
        match self {
            Self::Activity => Scope::Activity,
            Self::Digest => Scope::Digest,
        }
    }

    /// Its name in the header `List-Id`: ASCII letters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Activity => "activity",
            Self::Digest => "digest",
        }
    }
}

/// What a letter tells about an event. All texts are ready to be read: the language and the time zone are
/// chosen already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventLines {
    /// What the event is called. One line: a line break in it fails the letter, as the subject shows it.
    pub title: String,
    /// When it is, as [`Dates::when`](super::Dates::when) writes it.
    pub when: String,
    /// Where it is.
    pub place: String,
    /// The address of its page.
    pub url: String,
}

/// A date of a series, as a letter names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeriesDate {
    /// When it is, as [`Dates::when`](super::Dates::when) writes it.
    pub when: String,
    /// Where it is.
    pub place: String,
    /// The address of its page.
    pub url: String,
}

/// What has happened to a booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BookingStep {
    /// A guest asks the host, who reads the letter.
    Requested,
    /// The host offers the guest, who reads the letter, something else.
    Countered,
    /// The host has said yes to the guest, who reads the letter.
    Confirmed,
    /// The guest has said yes to the host's offer, and the host reads the letter.
    Accepted,
    /// The host has said no to the guest, who reads the letter.
    Declined,
    /// Another guest got the nights; this one reads the letter.
    Superseded,
    /// Nobody has answered in time; who waited reads the letter.
    Expired,
    /// Either has cancelled; the other reads the letter.
    Cancelled,
    /// The stay begins tomorrow. The guest reads the letter.
    Arrival,
    /// The stay is over, and the reader can review it.
    Completed,
}

/// What has happened to a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PaymentStep {
    /// The money is there, and what was paid for is the reader's.
    Received,
    /// Money goes back to the reader.
    Refunded,
    /// It did not work.
    Failed,
    /// Money that should go back could not be sent.
    Stuck,
}

/// A line of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceiptLine {
    /// What it is, in one line.
    pub name: String,
    /// What it costs, with its currency.
    pub amount: String,
}

impl BookingStep {
    /// All of them.
    pub(super) const ALL: [Self; 10] = [
        Self::Requested,
        Self::Countered,
        Self::Confirmed,
        Self::Accepted,
        Self::Declined,
        Self::Superseded,
        Self::Expired,
        Self::Cancelled,
        Self::Arrival,
        Self::Completed,
    ];
}

/// Items of a digest that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DigestSection {
    /// What the items are, in the reader's language.
    pub title: String,
    /// The items.
    pub items: Vec<DigestItem>,
}

/// One thing that a digest tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DigestItem {
    /// What it is: one sentence in the reader's language.
    pub text: String,
    /// The address of its page.
    pub url: String,
}

/// A letter to one person. Its fields are what the templates see.
///
/// Names, titles, and what else the subject shows are one line: a line break in one fails the letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Letter {
    /// To somebody who has just registered.
    Welcome {
        /// How the person is called.
        name: String,
        /// The address of the site.
        home_url: String,
    },
    /// Asks for a proof that the address of an account is the person's own.
    VerifyEmail {
        /// How the person is called.
        name: String,
        /// The address that proves it.
        url: String,
        /// How long that works, in hours.
        valid_hours: u32,
    },
    /// To somebody who has forgotten the password.
    ResetPassword {
        /// How the person is called.
        name: String,
        /// The address where a new password is set.
        url: String,
        /// How long that works, in minutes.
        valid_minutes: u32,
    },
    /// To somebody whose password was changed, by whomever.
    PasswordChanged {
        /// How the person is called.
        name: String,
        /// The address where another password can be asked for.
        reset_url: String,
    },
    /// To somebody whose account asks for a code at the login from now on.
    SecondFactorOn {
        /// How the person is called.
        name: String,
        /// The address where another password can be asked for.
        reset_url: String,
    },
    /// To somebody whose account asks for no code any more.
    SecondFactorOff {
        /// How the person is called.
        name: String,
        /// The address where another password can be asked for.
        reset_url: String,
    },
    /// To somebody whose second factor an admin takes off.
    SecondFactorEnding {
        /// How the person is called.
        name: String,
        /// The address that keeps it.
        keep_url: String,
        /// How long that works, in hours.
        valid_hours: u32,
    },
    /// To somebody on whose account a login was made from a device that was not seen before.
    NewLogin {
        /// How the person is called.
        name: String,
        /// The device and the network.
        device: String,
        /// The address that ends all logins.
        end_url: String,
        /// How long that works, in hours.
        valid_hours: u32,
    },
    /// To the new address of an account, which counts once it is confirmed.
    ConfirmNewAddress {
        /// How the person is called.
        name: String,
        /// The address that confirms it.
        url: String,
        /// How long that works, in hours.
        valid_hours: u32,
    },
    /// To the old address of an account that has a new one.
    AddressChanged {
        /// How the person is called.
        name: String,
        /// The new address, masked: whoever knows it recognises it, and nobody else can use it.
        new_address: String,
        /// The address that brings the old one back.
        undo_url: String,
        /// How long that works, in days.
        valid_days: u32,
    },
    /// To somebody who wants the own account deleted.
    AccountLeaving {
        /// How the person is called.
        name: String,
        /// The address that keeps the account.
        undo_url: String,
        /// How long that works, in days.
        valid_days: u32,
    },
    /// To somebody who has said to come to an event.
    RsvpConfirmed {
        /// How the person is called.
        name: String,
        /// The event.
        event: EventLines,
        /// The event is full: the person is on the waiting list.
        status_waiting: bool,
    },
    /// To somebody who said to come to an event that begins soon.
    Reminder {
        /// How the person is called.
        name: String,
        /// The event.
        event: EventLines,
    },
    /// To somebody who has got a place from the waiting list.
    Promoted {
        /// How the person is called.
        name: String,
        /// The event.
        event: EventLines,
    },
    /// To somebody who said to come to an event that is at another time now.
    EventMoved {
        /// How the person is called.
        name: String,
        /// The event as it is now.
        event: EventLines,
        /// When it was to be.
        before: String,
    },
    /// To somebody who said to come to an event that does not take place.
    EventCancelled {
        /// How the person is called.
        name: String,
        /// The event.
        event: EventLines,
        /// What the organiser says about it.
        reason: Option<String>,
    },
    /// To somebody who answered dates of a series that are others now, or do not take place.
    SeriesDates {
        /// How the person is called.
        name: String,
        /// What the series is called.
        title: String,
        /// Whether all of these dates do not take place.
        ends: bool,
        /// Dates at another time or place, as they are now.
        moved: Vec<SeriesDate>,
        /// How many more of these there are.
        more_moved: usize,
        /// Dates that do not take place.
        cancelled: Vec<SeriesDate>,
        /// How many more of these there are.
        more_cancelled: usize,
        /// What the organiser says about those.
        reason: Option<String>,
        /// The address of the series' page.
        url: String,
    },
    /// To one of the two whose booking has changed.
    BookingStep {
        /// How the person is called.
        name: String,
        /// What has happened.
        step: BookingStep,
        /// What the listing is called.
        listing: String,
        /// The nights, as [`Dates::days`](super::Dates::days) writes them.
        nights: String,
        /// Where it is, for who may know.
        place: Option<String>,
        /// How the other person is called.
        other: String,
        /// The address of the booking's page.
        url: String,
    },
    /// To somebody who paid.
    PaymentStep {
        /// How the person is called.
        name: String,
        /// What has happened.
        step: PaymentStep,
        /// What was paid for.
        title: String,
        /// What makes up the total of a receipt; none of other letters.
        lines: Vec<ReceiptLine>,
        /// How much it is about, with its currency.
        amount: String,
        /// The id of the payment, for questions.
        number: String,
        /// The address of the payment's page.
        url: String,
    },
    /// To somebody whose ticket was answered.
    TicketReply {
        /// How the person is called.
        name: String,
        /// The ticket's subject.
        subject: String,
        /// What the answer says, as it was typed.
        reply: String,
        /// The address of the ticket's page.
        url: String,
    },
    /// To somebody about whom the moderators made a decision.
    Decision {
        /// How the person is called.
        name: String,
        /// What was decided, as a sentence in the reader's language.
        what: String,
        /// Which rule, in the reader's language.
        rule: String,
        /// Why, as it was typed.
        reason: String,
        /// Until when it holds, if it ends.
        until: Option<String>,
        /// Until when it can be appealed.
        appeal_until: String,
        /// Whether the person cannot log in: the address is the one of an appeal without a login then.
        locked_out: bool,
        /// The address of the decision's page.
        url: String,
    },
    /// To somebody whose appeal was decided.
    AppealDecided {
        /// How the person is called.
        name: String,
        /// Whether the decision stands.
        upheld: bool,
        /// Why, as it was typed.
        reason: String,
        /// The address of the decision's page.
        url: String,
    },
    /// One notification to somebody who has not seen it.
    Notification {
        /// How the person is called.
        name: String,
        /// What it says: one sentence in the reader's language.
        text: String,
        /// The address of what it is about.
        url: String,
    },
    /// What is new: of a week, or notifications that were not read. Made by [`Letter::digest`], which bounds
    /// it.
    Digest {
        /// How the person is called.
        name: String,
        /// The time that it is about, as [`Dates::days`](super::Dates::days) writes it.
        period: String,
        /// What is new.
        sections: Vec<DigestSection>,
        /// How many items are left out.
        more: Option<usize>,
        /// The address of the site.
        home_url: String,
    },
}

impl Letter {
    /// A digest of the first items of all sections, and how many are left out besides the `more` that the
    /// caller has left out already. `None` if there is nothing to tell.
    pub fn digest(
        name: String,
        period: String,
        sections: Vec<DigestSection>,
        more: usize,
        home_url: String,
    ) -> Option<Self> {
        let mut room = MAX_DIGEST_ITEMS;
        let mut more = more;
        let mut shown = Vec::new();
        for mut section in sections {
            more += section.items.len().saturating_sub(room);
            section.items.truncate(room);
            room -= section.items.len();
            if !section.items.is_empty() {
                shown.push(section);
            }
        }
        let more = (more > 0).then_some(more);
        (!shown.is_empty()).then_some(Self::Digest { name, period, sections: shown, more, home_url })
    }

    /// The name of the letter's texts, and of its kind in ledgers and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Welcome { .. } => "welcome",
            Self::VerifyEmail { .. } => "verify_email",
            Self::ResetPassword { .. } => "reset_password",
            Self::PasswordChanged { .. } => "password_changed",
            Self::SecondFactorOn { .. } => "second_factor_on",
            Self::SecondFactorOff { .. } => "second_factor_off",
            Self::SecondFactorEnding { .. } => "second_factor_ending",
            Self::NewLogin { .. } => "new_login",
            Self::ConfirmNewAddress { .. } => "confirm_new_address",
            Self::AddressChanged { .. } => "address_changed",
            Self::AccountLeaving { .. } => "account_leaving",
            Self::RsvpConfirmed { .. } => "rsvp_confirmed",
            Self::Promoted { .. } => "promoted",
            Self::Reminder { .. } => "reminder",
            Self::EventMoved { .. } => "event_moved",
            Self::EventCancelled { .. } => "event_cancelled",
            Self::SeriesDates { ends: false, .. } => "series_changed",
            Self::SeriesDates { ends: true, .. } => "series_cancelled",
            Self::BookingStep { step: BookingStep::Requested, .. } => "booking_requested",
            Self::BookingStep { step: BookingStep::Countered, .. } => "booking_countered",
            Self::BookingStep { step: BookingStep::Confirmed, .. } => "booking_confirmed",
            Self::BookingStep { step: BookingStep::Accepted, .. } => "booking_accepted",
            Self::BookingStep { step: BookingStep::Declined, .. } => "booking_declined",
            Self::BookingStep { step: BookingStep::Superseded, .. } => "booking_superseded",
            Self::BookingStep { step: BookingStep::Expired, .. } => "booking_expired",
            Self::BookingStep { step: BookingStep::Cancelled, .. } => "booking_cancelled",
            Self::BookingStep { step: BookingStep::Arrival, .. } => "booking_arrival",
            Self::BookingStep { step: BookingStep::Completed, .. } => "booking_completed",
            Self::PaymentStep { step: PaymentStep::Received, .. } => "payment_received",
            Self::PaymentStep { step: PaymentStep::Refunded, .. } => "payment_refunded",
            Self::PaymentStep { step: PaymentStep::Failed, .. } => "payment_failed",
            Self::PaymentStep { step: PaymentStep::Stuck, .. } => "payment_stuck",
            Self::TicketReply { .. } => "ticket_reply",
            Self::Decision { .. } => "decision",
            Self::AppealDecided { .. } => "appeal_decided",
            Self::Notification { .. } => "notification",
            Self::Digest { .. } => "digest",
        }
    }

    /// What a person would unsubscribe from.
    pub const fn scope(&self) -> Scope {
        match self {
            Self::Welcome { .. }
            | Self::VerifyEmail { .. }
            | Self::ResetPassword { .. }
            | Self::PasswordChanged { .. }
            | Self::SecondFactorOn { .. }
            | Self::SecondFactorOff { .. }
            | Self::SecondFactorEnding { .. }
            | Self::NewLogin { .. }
            | Self::ConfirmNewAddress { .. }
            | Self::AddressChanged { .. }
            | Self::AccountLeaving { .. }
            | Self::Decision { .. }
            | Self::AppealDecided { .. } => Scope::Security,
            Self::RsvpConfirmed { .. }
            | Self::Promoted { .. }
            | Self::Reminder { .. }
            | Self::EventMoved { .. }
            | Self::EventCancelled { .. }
            | Self::SeriesDates { .. }
            | Self::BookingStep { .. }
            | Self::PaymentStep { .. }
            | Self::TicketReply { .. }
            | Self::Notification { .. } => Scope::Activity,
            Self::Digest { .. } => Scope::Digest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_see_the_fields_of_a_letter_and_no_kind() {
        let (name, home_url) = ("Ana".to_owned(), "https://example.com".to_owned());
        let seen = serde_json::to_value(Letter::Welcome { name, home_url }).unwrap();
        assert_eq!(seen, serde_json::json!({"name": "Ana", "home_url": "https://example.com"}));
    }

    #[test]
    fn what_is_about_the_account_is_in_no_list_and_all_else_is_in_one() {
        for letter in Letter::samples("Ana") {
            let is_about_the_account = matches!(
                letter.name(),
                "welcome"
                    | "verify_email"
                    | "reset_password"
                    | "password_changed"
                    | "second_factor_on"
                    | "second_factor_off"
                    | "second_factor_ending"
                    | "new_login"
                    | "confirm_new_address"
                    | "address_changed"
                    | "account_leaving"
                    | "decision"
                    | "appeal_decided"
            );
            assert_eq!(letter.scope().list().is_none(), is_about_the_account, "{}", letter.name());
        }
        for list in MailingList::ALL {
            assert_eq!(list.scope().list(), Some(list));
            assert_eq!(serde_json::to_value(list).unwrap(), list.name());
        }
    }

    #[test]
    fn a_digest_is_bounded_and_counts_what_it_leaves_out() {
        let section = |count| DigestSection {
            title: "Events".to_owned(),
            items: vec![
                DigestItem { text: "Milonga".to_owned(), url: "https://example.com".to_owned() };
                count
            ],
        };
        let digest = |sections, more| {
            let (name, url) = ("Ana".to_owned(), "https://example.com".to_owned());
            Letter::digest(name, "4–7 July 2026".to_owned(), sections, more, url)
        };
        let counts = |letter| {
            let Some(Letter::Digest { sections, more, .. }) = letter else { panic!("no digest") };
            (sections.iter().map(|section| section.items.len()).collect::<Vec<_>>(), more)
        };
        assert_eq!(counts(digest(vec![section(2), section(0), section(3)], 0)), (vec![2, 3], None));
        assert_eq!(counts(digest(vec![section(20), section(15), section(9)], 7)), (vec![20, 10], Some(21)));
        assert_eq!(digest(vec![section(0)], 5), None);
    }
}
