//! Where the community is on the web, as letters and calendars name it.

use anyhow::Context as _;
use url::Url;

use crate::email::{Language, MailOptions};

/// The site of a community.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    url: String,
    host: String,
    language: Language,
}

impl Site {
    /// The site that the options name (`mail.public_url`, `mail.language`).
    pub fn of(options: &MailOptions) -> anyhow::Result<Self> {
        let url = options.public_url.trim_end_matches('/').to_owned();
        let host = Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned));
        Ok(Self { host: host.context("mail.public_url has no host")?, url, language: options.language })
    }

    /// The address of a path.
    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The page of an event.
    pub fn event_page(&self, event_id: &str) -> String {
        self.address(&format!("/events/{event_id}"))
    }

    /// The page of a booking.
    pub fn booking_page(&self, booking_id: &str) -> String {
        self.address(&format!("/bookings/{booking_id}"))
    }

    /// The name of an event or a stay in all calendars of the world. It is the same for ever, as a calendar shows what comes under
    /// another name a second time.
    pub fn uid(&self, id: &str) -> String {
        format!("{id}@{}", self.host)
    }

    /// The language of what is written to who has chosen none.
    pub fn language(&self) -> Language {
        self.language
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_name_of_the_host_alone() {
        for (public_url, uid) in [
            ("https://tango.example/", "1@tango.example"),
            ("https://tango.example:8443/app", "1@tango.example"),
            ("https://tango.espa\u{f1}a", "1@tango.xn--espaa-rta"),
            ("http://[::1]:5000", "1@[::1]"),
        ] {
            let options = MailOptions { public_url: public_url.to_owned(), ..MailOptions::default() };
            assert_eq!(Site::of(&options).unwrap().uid("1"), uid);
        }
        let options =
            MailOptions { public_url: "https://tango.example/".to_owned(), ..MailOptions::default() };
        assert_eq!(Site::of(&options).unwrap().event_page("1"), "https://tango.example/events/1");
    }
}
