//! What a letter tells, as plain texts, and in which languages it can.

use serde::{Deserialize, Serialize};

/// A language that letters are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Spanish.
    Es,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 2] = [Self::En, Self::Es];

    /// The language's tag (BCP 47), which is also its name in the configuration.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Es => "es",
        }
    }

    /// The direction of its script, for the HTML attribute `dir`.
    pub const fn direction(self) -> &'static str {
        match self {
            Self::En | Self::Es => "ltr",
        }
    }
}

/// What a person agrees to receive or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// About the account itself. Nobody can unsubscribe from these, and no other list blocks them.
    Security,
    /// About what happens in the community. A person can unsubscribe.
    Activity,
}

/// What a letter tells about an event. All texts are ready to be read: the language and the time zone are
/// chosen already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventLines {
    /// What the event is called. One line: a line break in it fails the letter, as the subject shows it.
    pub title: String,
    /// When it is, with the time zone if the reader's is another.
    pub when: String,
    /// Where it is.
    pub place: String,
    /// The address of its page.
    pub url: String,
}

/// A letter to one person. Its fields are what the templates see.
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
}

impl Letter {
    /// The name of the letter's templates, and of its kind in ledgers and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Welcome { .. } => "welcome",
            Self::RsvpConfirmed { .. } => "rsvp_confirmed",
            Self::Promoted { .. } => "promoted",
            Self::Reminder { .. } => "reminder",
        }
    }

    /// What a person would unsubscribe from.
    pub const fn scope(&self) -> Scope {
        match self {
            Self::Welcome { .. } => Scope::Security,
            Self::RsvpConfirmed { .. } | Self::Promoted { .. } | Self::Reminder { .. } => Scope::Activity,
        }
    }

    /// Letters of every kind, and of every branch in their templates. A start renders them all, so that a
    /// template which names a field that does not exist stops the start and not a letter.
    pub(super) fn samples() -> Vec<Self> {
        let name = || "Ana".to_owned();
        let event = || EventLines {
            title: "Milonga".to_owned(),
            when: "22:00".to_owned(),
            place: "Buenos Aires".to_owned(),
            url: "https://example.com/events/1".to_owned(),
        };
        vec![
            Self::Welcome { name: name(), home_url: "https://example.com".to_owned() },
            Self::RsvpConfirmed { name: name(), event: event(), status_waiting: false },
            Self::RsvpConfirmed { name: name(), event: event(), status_waiting: true },
            Self::Promoted { name: name(), event: event() },
            Self::Reminder { name: name(), event: event() },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_one_name_everywhere() {
        for language in Language::ALL {
            assert_eq!(serde_json::to_value(language).unwrap(), language.tag());
        }
    }

    #[test]
    fn templates_see_the_fields_of_a_letter_and_no_kind() {
        let [welcome, confirmed, ..] = &Letter::samples()[..] else { panic!("there are fewer") };
        let seen = serde_json::to_value(welcome).unwrap();
        assert_eq!(seen, serde_json::json!({"name": "Ana", "home_url": "https://example.com"}));
        assert_eq!(serde_json::to_value(confirmed).unwrap()["event"]["title"], "Milonga");
        assert_eq!((welcome.scope(), confirmed.scope()), (Scope::Security, Scope::Activity));
    }
}
