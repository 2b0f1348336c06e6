//! Letters as HTML and as plain text, in every language.

use anyhow::Context as _;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::address::refuse_controls;
use super::compile::compile;
use super::escape::set_escaping;
use super::unsubscribe::{UnsubscribeKey, UnsubscribeLink, UnsubscribeLinks, UserLinks};
use super::{Language, Letter, MailingList};

/// A letter that is ready to be put into an e-mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One line, not encoded.
    pub subject: String,
    /// A whole page.
    pub html: String,
    /// The same as plain text, with `\n` at line ends.
    pub text: String,
    /// The link by which its reader unsubscribes, which both parts show and headers repeat. `None` for
    /// letters that nobody can unsubscribe from.
    pub unsubscribe: Option<UnsubscribeLink>,
}

/// The templates of all letters.
#[derive(Debug)]
pub struct Renderer {
    templates: Environment<'static>,
}

impl Renderer {
    /// Compiles all templates and renders each once. An error is a defect in a template or in a language's
    /// texts.
    pub fn new() -> anyhow::Result<Self> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        set_escaping(&mut templates);
        for language in Language::ALL {
            for letter in compile(language)? {
                for (part, source) in
                    [("subject", letter.subject), ("html", letter.html), ("txt", letter.text)]
                {
                    let name = template(letter.name, language, part);
                    templates
                        .add_template_owned(name.clone(), source)
                        .with_context(|| format!("the template {name}"))?;
                }
            }
        }
        let renderer = Self { templates };
        let links = UnsubscribeLinks::new("https://example.com", UnsubscribeKey::new(b"of samples alone"))?;
        for letter in Letter::samples("Ana") {
            for language in Language::ALL {
                renderer.render(&letter, language, &links.of("1"))?;
            }
        }
        Ok(renderer)
    }

    /// Writes a letter to the user whose links to unsubscribe are given; a letter about the account's
    /// security has none. Fails if the subject would hold a line break or another control character.
    pub fn render(
        &self,
        letter: &Letter,
        language: Language,
        links: &UserLinks<'_>,
    ) -> anyhow::Result<Rendered> {
        let unsubscribe = letter.scope().list().map(|list| links.link(list));
        let shown = unsubscribe.as_ref().map(|link| {
            context! { url => link.url(), digest => link.list() == MailingList::Digest }
        });
        let fields = context! { unsubscribe => shown, ..Value::from(Serde(letter)) };
        let part = |part: &str| -> anyhow::Result<String> {
            let name = template(letter.name(), language, part);
            self.templates
                .get_template(&name)
                .and_then(|template| template.render(fields.clone()))
                .with_context(|| format!("cannot render {name}"))
        };
        let subject = part("subject")?;
        refuse_controls(&subject)
            .with_context(|| format!("the subject of a letter {} cannot be sent", letter.name()))?;
        // Mail programs would decode a title that looks like an encoded word (RFC 2047), and show another
        // text.
        let subject = subject.replace("=?", "= ?");
        Ok(Rendered { subject, html: part("html")?, text: part("txt")?, unsubscribe })
    }
}

/// The name under which a part of a letter is kept. Its end decides what is escaped.
fn template(letter: &str, language: Language, part: &str) -> String {
    format!("{letter}.{}.{part}", language.tag())
}

#[cfg(test)]
mod tests {
    use super::super::{BookingStep, DigestItem, DigestSection, EventLines};
    use super::*;

    /// Above this Gmail cuts a letter off, in bytes.
    const GMAIL_CLIPS: usize = 102_000;

    fn render(letter: &Letter, language: Language) -> anyhow::Result<Rendered> {
        // Compiling takes longer than all else, so the tests share it.
        static RENDERER: std::sync::LazyLock<Renderer> =
            std::sync::LazyLock::new(|| Renderer::new().unwrap());
        let links = UnsubscribeLinks::new("https://example.com", UnsubscribeKey::new(b"a secret")).unwrap();
        RENDERER.render(letter, language, &links.of("01890a5d-ac96-774b-bcce-b302099a8057"))
    }

    fn event(title: &str, place: &str) -> EventLines {
        EventLines {
            title: title.to_owned(),
            when: "sábado, 4 de julio de 2026, 22:00".to_owned(),
            place: place.to_owned(),
            url: "https://example.com/events/1?a=1&b=\"2\"".to_owned(),
        }
    }

    fn reminder(title: &str) -> Letter {
        Letter::Reminder { name: "Ana".to_owned(), event: event(title, "Club Gricel & Cía\nLa Rioja 1180") }
    }

    #[test]
    fn t36_every_letter_is_whole_in_every_language() {
        for language in Language::ALL {
            for letter in Letter::samples("<b>Ana & Co</b>") {
                let Rendered { subject, html, text, .. } = render(&letter, language).unwrap();
                for part in [&subject, &html, &text] {
                    for mark in ["{{", "}}", "{%", "%}", "[[", "]]", "[%"] {
                        // The end of two rules of CSS is the one pair of braces that belongs there.
                        assert!(mark == "}}" || !part.contains(mark), "{mark} is left in\n{part}");
                    }
                    assert!(!part.trim().is_empty());
                }
                assert!(!text.contains("\n\n\n"), "{text}");
                assert!(!subject.contains(char::is_control), "{subject:?}");
                assert!(html.contains("&lt;b&gt;Ana &amp; Co&lt;"), "{html}");
                assert!(!html.contains("<b>Ana"), "{html}");
                assert!(text.contains("<b>Ana & Co</b>") && !text.contains("&amp;"), "{text}");
                assert!(html.len() < GMAIL_CLIPS, "{} bytes", html.len());
                let start = format!("<html lang=\"{}\" dir=\"ltr\"", language.tag());
                for wanted in [
                    start.as_str(),
                    "<meta name=\"color-scheme\" content=\"light dark\"",
                    "@media (prefers-color-scheme: dark)",
                    "display:none",
                    "direction:ltr",
                ] {
                    assert!(html.contains(wanted), "{wanted} is not in\n{html}");
                }
                for remote in ["<img", "<link", "@import", "url(", "src="] {
                    assert!(!html.contains(remote), "{remote} is in\n{html}");
                }
            }
        }
    }

    #[test]
    fn t31_letters_that_one_can_leave_show_how_in_both_parts_and_others_do_not() {
        for language in Language::ALL {
            for letter in Letter::samples("Ana") {
                let rendered = render(&letter, language).unwrap();
                let name = letter.name();
                assert_eq!(rendered.unsubscribe.as_ref().map(UnsubscribeLink::list), letter.scope().list());
                if let Some(link) = &rendered.unsubscribe {
                    assert!(rendered.text.ends_with(&format!("\n{}\n", link.url())), "{}", rendered.text);
                    let escaped = minijinja::HtmlEscape(link.url()).to_string();
                    assert!(rendered.html.contains(&format!("href=\"{escaped}\"")), "{name}");
                } else {
                    let parts = [&rendered.html, &rendered.text];
                    assert!(parts.iter().all(|part| !part.contains("unsubscribe")), "{name}");
                }
            }
        }
    }

    #[test]
    fn no_text_of_a_user_forges_lines_of_ours() {
        let forged = "Gricel\n\n-- \nMundoTango\r\nSet a new password:\u{2028}https://evil.example/";
        let (name, url) = ("Ana".to_owned(), "https://example.com/1".to_owned());
        let item = DigestItem { text: forged.to_owned(), url: url.clone() };
        let sections = vec![DigestSection { title: forged.to_owned(), items: vec![item] }];
        let letters = [
            Letter::Promoted { name: name.clone(), event: event("Milonga", forged) },
            Letter::EventCancelled {
                name: name.clone(),
                event: event("Milonga", forged),
                reason: Some(forged.to_owned()),
            },
            Letter::BookingStep {
                name: name.clone(),
                step: BookingStep::Confirmed,
                listing: "Room".to_owned(),
                nights: "4–7 July 2026".to_owned(),
                place: Some(forged.to_owned()),
                other: "Bruno".to_owned(),
                url: url.clone(),
            },
            Letter::TicketReply {
                name,
                subject: "Help".to_owned(),
                reply: forged.to_owned(),
                url: url.clone(),
            },
            Letter::Digest {
                name: forged.to_owned(),
                period: "4–7 July 2026".to_owned(),
                sections,
                more: None,
                home_url: url,
            },
        ];
        for letter in letters {
            let text = render(&letter, Language::En).unwrap().text;
            assert!(text.contains("evil.example"), "{text}");
            let signatures = text.lines().filter(|line| line.trim() == "--").count();
            assert_eq!(signatures, 1, "{text}");
            let bad = |line: &str| line.starts_with("https://evil") || line.starts_with("Set a new");
            assert!(!text.lines().any(bad), "{text}");
        }
    }

    #[test]
    fn the_longest_texts_fit_below_what_gmail_cuts() {
        let long = |count| "'".repeat(count);
        let url = format!("https://example.com/{}", "x".repeat(150));
        let item = DigestItem { text: long(10_000), url: url.clone() };
        let sections = vec![DigestSection { title: long(10_000), items: vec![item; 40] }];
        let digest = Letter::digest(long(100), "4–7 July 2026".to_owned(), sections, 0, url.clone()).unwrap();
        let (name, subject, reply) = (long(100), long(200), long(50_000));
        let ticket = Letter::TicketReply { name, subject, reply, url };
        for letter in [digest, ticket] {
            let rendered = render(&letter, Language::Es).unwrap();
            assert!(rendered.html.len() < GMAIL_CLIPS, "{}: {}", letter.name(), rendered.html.len());
        }
    }

    #[test]
    fn links_are_whole_in_both_parts_and_end_no_attribute() {
        let rendered = render(&reminder("Milonga"), Language::Es).unwrap();
        assert!(rendered.text.contains("https://example.com/events/1?a=1&b=\"2\"\n"), "{}", rendered.text);
        let escaped = "href=\"https:&#x2f;&#x2f;example.com&#x2f;events&#x2f;1?a=1&amp;b=&quot;2&quot;\"";
        assert!(rendered.html.matches(escaped).count() >= 2, "{}", rendered.html);
    }

    #[test]
    fn branches_and_languages_differ() {
        let rsvp = |status_waiting| Letter::RsvpConfirmed {
            name: "Ana".to_owned(),
            event: event("Milonga", "Gricel"),
            status_waiting,
        };
        let subject = |letter: &Letter, language| render(letter, language).unwrap().subject;
        assert_eq!(subject(&rsvp(false), Language::En), "You are going: Milonga");
        assert_eq!(subject(&rsvp(true), Language::En), "You are on the waiting list: Milonga");
        assert_eq!(subject(&rsvp(true), Language::Es), "Estás en la lista de espera: Milonga");
        let booking = |step| Letter::BookingStep {
            name: "Ana".to_owned(),
            step,
            listing: "Room in San Telmo".to_owned(),
            nights: "4–7 July 2026".to_owned(),
            place: None,
            other: "Bruno".to_owned(),
            url: "https://example.com/bookings/1".to_owned(),
        };
        let requested = subject(&booking(BookingStep::Requested), Language::En);
        assert_eq!(requested, "Bruno would like to stay with you: Room in San Telmo");
        let cancelled = subject(&booking(BookingStep::Cancelled), Language::Es);
        assert_eq!(cancelled, "Reserva cancelada: Room in San Telmo");
        let verify = |valid_hours| {
            let (name, url) = ("Ana".to_owned(), "https://example.com/1".to_owned());
            render(&Letter::VerifyEmail { name, url, valid_hours }, Language::En).unwrap().text
        };
        assert!(verify(1).contains("works for one hour.") && verify(24).contains("works for 24 hours."));
    }

    #[test]
    fn t34_a_subject_with_a_line_break_is_refused_and_no_encoded_word_gets_through() {
        for end in ["\r\n", "\n", "\r", "\0"] {
            let letter = reminder(&format!("Milonga{end}Bcc: all@example.com"));
            assert!(render(&letter, Language::En).is_err(), "{end:?}");
        }
        let letter = reminder("=?utf-8?q?Other?=");
        assert!(!render(&letter, Language::En).unwrap().subject.contains("=?"));
    }
}
