//! A letter of each kind, to see whether all can be made.

use super::letter::{
    BookingStep, DigestItem, DigestSection, EventLines, Letter, PaymentStep, ReceiptLine, SeriesDate,
};

impl Letter {
    /// Letters of every kind, and of every branch in their templates, with a text of the caller at each place
    /// where a user's may be. A start renders them all, so that a template which names a field that does not
    /// exist stops the start and not a letter.
    pub(super) fn samples(text: &str) -> Vec<Self> {
        let mut letters = Self::samples_of_events(text);
        letters.extend(Self::samples_of_counts(text));
        letters.extend(Self::samples_of_steps(text));
        letters
    }

    fn samples_of_events(text: &str) -> Vec<Self> {
        let name = || text.to_owned();
        let url = || "https://example.com/?a=1&b=\"2\"".to_owned();
        let event = || EventLines {
            title: name(),
            when: "Saturday, 4 July 2026, 22:00 (Buenos Aires time)".to_owned(),
            place: format!("{text}\nLa Rioja 1180"),
            url: url(),
        };
        let mut letters = vec![
            Self::Welcome { name: name(), home_url: url() },
            Self::PasswordChanged { name: name(), reset_url: url() },
            Self::SecondFactorOn { name: name(), reset_url: url() },
            Self::SecondFactorOff { name: name(), reset_url: url() },
            Self::Promoted { name: name(), event: event() },
            Self::Reminder { name: name(), event: event() },
            Self::EventMoved { name: name(), event: event(), before: "22:00".to_owned() },
            Self::EventCancelled { name: name(), event: event(), reason: None },
            Self::EventCancelled { name: name(), event: event(), reason: Some(format!("{text}\n\n{text}")) },
            Self::TicketReply {
                name: name(),
                subject: name(),
                reply: format!("{text}\n\n{text}"),
                url: url(),
            },
            Self::Notification { name: name(), text: name(), url: url() },
        ];
        for yes in [false, true] {
            let reason = || format!("{text}\n\n{text}");
            letters.push(Self::Decision {
                name: name(),
                what: name(),
                rule: name(),
                reason: reason(),
                until: yes.then(|| "4 July 2026".to_owned()),
                appeal_until: "4 July 2026".to_owned(),
                locked_out: yes,
                url: url(),
            });
            letters.push(Self::AppealDecided { name: name(), upheld: yes, reason: reason(), url: url() });
        }
        for status_waiting in [false, true] {
            letters.push(Self::RsvpConfirmed { name: name(), event: event(), status_waiting });
        }
        for (ends, more) in [(false, 0), (false, 1), (true, 0), (true, 12)] {
            let date = || SeriesDate {
                when: "Saturday, 4 July 2026, 22:00 (Buenos Aires time)".to_owned(),
                place: format!("{text}\nLa Rioja 1180"),
                url: url(),
            };
            letters.push(Self::SeriesDates {
                name: name(),
                title: name(),
                ends,
                moved: if ends { Vec::new() } else { vec![date(), date()] },
                more_moved: if ends { 0 } else { more },
                cancelled: if ends || more > 0 { vec![date()] } else { Vec::new() },
                more_cancelled: more,
                reason: (more > 0).then(|| format!("{text}\n\n{text}")),
                url: url(),
            });
        }
        letters
    }

    fn samples_of_counts(text: &str) -> Vec<Self> {
        let name = || text.to_owned();
        let url = || "https://example.com/?a=1&b=\"2\"".to_owned();
        let mut letters = Vec::new();
        // One of something has other words than many.
        for valid in [1, 24] {
            letters.push(Self::VerifyEmail { name: name(), url: url(), valid_hours: valid });
            letters.push(Self::ResetPassword { name: name(), url: url(), valid_minutes: valid });
            letters.push(Self::SecondFactorEnding { name: name(), keep_url: url(), valid_hours: valid });
            let (device, end_url) = (name(), url());
            letters.push(Self::NewLogin { name: name(), device, end_url, valid_hours: valid });
            letters.push(Self::ConfirmNewAddress { name: name(), url: url(), valid_hours: valid });
            let (new_address, undo_url) = ("a•••@example.com".to_owned(), url());
            letters.push(Self::AddressChanged { name: name(), new_address, undo_url, valid_days: valid });
            letters.push(Self::AccountLeaving { name: name(), undo_url: url(), valid_days: valid });
        }
        letters
    }

    fn samples_of_steps(text: &str) -> Vec<Self> {
        let name = || text.to_owned();
        let url = || "https://example.com/?a=1&b=\"2\"".to_owned();
        let mut letters = Vec::new();
        for step in BookingStep::ALL {
            for place in [None, Some(format!("{text}\nLa Rioja 1180"))] {
                let (nights, other) = ("4–7 July 2026".to_owned(), name());
                letters.push(Self::BookingStep {
                    name: name(),
                    step,
                    listing: name(),
                    nights,
                    place,
                    other,
                    url: url(),
                });
            }
        }
        for step in [PaymentStep::Received, PaymentStep::Refunded, PaymentStep::Failed, PaymentStep::Stuck] {
            let line = || ReceiptLine { name: name(), amount: "12.50 EUR".to_owned() };
            letters.push(Self::PaymentStep {
                name: name(),
                step,
                title: name(),
                lines: if step == PaymentStep::Received { vec![line(), line()] } else { Vec::new() },
                amount: "25.00 EUR".to_owned(),
                number: "01a22267-5695-774a-9335-497936266a2f".to_owned(),
                url: url(),
            });
        }
        for more in [None, Some(1), Some(12)] {
            let item = || DigestItem { text: name(), url: url() };
            let section = || DigestSection { title: name(), items: vec![item(), item()] };
            let (sections, period) = (vec![section(), section()], "4–7 July 2026".to_owned());
            letters.push(Self::Digest { name: name(), period, sections, more, home_url: url() });
        }
        letters
    }
}
