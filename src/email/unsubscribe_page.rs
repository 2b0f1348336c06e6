//! The page behind the links to unsubscribe: what it shows, and what is asked by it.
//!
//! Robots open every link of a letter, so opening the page changes nothing: it is made of the list and the
//! language alone. Only a POST with one of two fixed bodies changes something.

use url::form_urlencoded;

use super::page::{Form, Page};
use super::{Language, MailingList};

/// The longest body that is read, in bytes. Mail programs send a field of 26 bytes, some of them as
/// multipart.
const MAX_BODY_BYTES: usize = 2048;

/// What a POST asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsubscribeAction {
    /// To leave the list.
    Leave,
    /// To be in the list again, after leaving by mistake.
    Return,
}

impl UnsubscribeAction {
    const ALL: [Self; 2] = [Self::Leave, Self::Return];

    /// What a POST with this body asks for; `None` if it is neither of the two. Mail programs send the first
    /// as a form, either URL-encoded or multipart (RFC 8058, 3.1).
    pub fn read(content_type: &str, body: &[u8]) -> Option<Self> {
        if body.len() > MAX_BODY_BYTES {
            return None;
        }
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let is_asked = |action: &Self| {
            let (name, value) = action.field();
            if content_type.eq_ignore_ascii_case("multipart/form-data") {
                has_part(body, name, value)
            } else {
                content_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
                    && form_urlencoded::parse(body).any(|field| field.0 == name && field.1 == value)
            }
        };
        Self::ALL.into_iter().find(is_asked)
    }

    /// The field of the form. The first is set by RFC 8058.
    const fn field(self) -> (&'static str, &'static str) {
        match self {
            Self::Leave => ("List-Unsubscribe", "One-Click"),
            Self::Return => ("List-Return", "Yes"),
        }
    }
}

/// Whether a multipart form has a field with a value: both are fixed texts without line breaks, so the
/// field's lines are all that has to be found.
fn has_part(body: &[u8], name: &str, value: &str) -> bool {
    let Ok(body) = std::str::from_utf8(body) else { return false };
    let name = format!("name=\"{name}\"");
    let parts = body.split("\r\n\r\n").zip(body.split("\r\n\r\n").skip(1));
    parts.filter(|(head, _)| head.contains(&name)).any(|(_, rest)| rest.lines().next() == Some(value))
}

/// The words of the page in a language.
struct Words {
    ask: &'static str,
    what: fn(MailingList) -> &'static str,
    stays: &'static str,
    leave: &'static str,
    done: &'static str,
    done_what: fn(MailingList) -> &'static str,
    mistake: &'static str,
    again: &'static str,
    back: &'static str,
    back_what: &'static str,
    unknown: &'static str,
    unknown_what: &'static str,
}

const ENGLISH: Words = Words {
    ask: "Unsubscribe?",
    what: |list| match list {
        MailingList::Activity => {
            "You will get no more letters about events, bookings and requests. You still see all of it at \
             MundoTango."
        }
        MailingList::Digest => "You will get no more summaries. All other letters still reach you.",
    },
    stays: "Letters about the security of your account, such as those for a new password, always reach you.",
    leave: "Unsubscribe",
    done: "You are unsubscribed",
    done_what: |list| match list {
        MailingList::Activity => "You get no more letters about events, bookings and requests.",
        MailingList::Digest => "You get no more summaries.",
    },
    mistake: "That was a mistake?",
    again: "Subscribe again",
    back: "You are subscribed again",
    back_what: "Letters reach you as before.",
    unknown: "This link does not work",
    unknown_what: "Some of it may be missing: open the whole link of the letter. You can also choose your \
                   letters in the settings of your account.",
};

const SPANISH: Words = Words {
    ask: "¿Cancelar la suscripción?",
    what: |list| match list {
        MailingList::Activity => {
            "No recibirás más mensajes sobre eventos, reservas y consultas. Podrás seguir viéndolo todo \
             en MundoTango."
        }
        MailingList::Digest => "No recibirás más resúmenes. Los demás mensajes te seguirán llegando.",
    },
    stays: "Los mensajes sobre la seguridad de tu cuenta, como los de una contraseña nueva, te llegan \
            siempre.",
    leave: "Cancelar la suscripción",
    done: "Has cancelado la suscripción",
    done_what: |list| match list {
        MailingList::Activity => "Ya no recibirás mensajes sobre eventos, reservas y consultas.",
        MailingList::Digest => "Ya no recibirás resúmenes.",
    },
    mistake: "¿Ha sido un error?",
    again: "Volver a suscribirme",
    back: "Vuelves a tener la suscripción",
    back_what: "Los mensajes te llegan como antes.",
    unknown: "Este enlace no funciona",
    unknown_what: "Quizá le falte una parte: abre el enlace completo del mensaje. También puedes elegir \
                   qué mensajes recibes en los ajustes de tu cuenta.",
};

const fn words(language: Language) -> &'static Words {
    match language {
        Language::En => &ENGLISH,
        Language::Es => &SPANISH,
    }
}

/// For GET: what would stop, and the button that stops it. The button posts to the address of the page
/// itself, so the page needs to know no token.
pub fn page(list: MailingList, language: Language) -> String {
    let words = words(language);
    let what = [(words.what)(list), words.stays];
    document(language, words.ask, &what, Some((UnsubscribeAction::Leave, words.leave)))
}

/// After leaving a list, with the way back.
pub fn done_page(list: MailingList, language: Language) -> String {
    let words = words(language);
    let what = [(words.done_what)(list), words.mistake];
    document(language, words.done, &what, Some((UnsubscribeAction::Return, words.again)))
}

/// After returning to a list.
pub fn returned_page(language: Language) -> String {
    let words = words(language);
    document(language, words.back, &[words.back_what], Some((UnsubscribeAction::Leave, words.leave)))
}

/// For a token that is none.
pub fn unknown_page(language: Language) -> String {
    let words = words(language);
    document(language, words.unknown, &[words.unknown_what], None)
}

/// A whole page. All that it holds are words of this file.
fn document(
    language: Language,
    title: &str,
    paragraphs: &[&str],
    button: Option<(UnsubscribeAction, &str)>,
) -> String {
    let form = button.map(|(action, button)| Form { field: None, button, sends: Some(action.field()) });
    Page { language, title, paragraphs, form, link: None }.html()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn pages(language: Language) -> Vec<String> {
        let of = |list| [page(list, language), done_page(list, language)];
        let mut pages: Vec<_> = MailingList::ALL.into_iter().flat_map(of).collect();
        pages.extend([returned_page(language), unknown_page(language)]);
        pages
    }

    #[test]
    fn every_page_is_in_its_language_and_says_something_else() {
        let mut seen = std::collections::BTreeSet::new();
        for language in Language::ALL {
            for page in pages(language) {
                assert!(page.contains(&format!("<html lang=\"{}\" dir=\"ltr\">", language.tag())), "{page}");
                assert!(seen.insert(page));
            }
        }
    }

    #[test]
    fn t31_the_button_posts_what_mail_programs_post_and_nothing_happens_without_it() {
        for language in Language::ALL {
            for list in MailingList::ALL {
                let page = page(list, language);
                let button = "<button type=\"submit\" name=\"List-Unsubscribe\" value=\"One-Click\">";
                assert!(page.contains("<form method=\"post\">") && page.contains(button), "{page}");
                // Browsers post to the page's own address, with the token in it.
                assert!(!page.contains("action="), "{page}");
                let done = done_page(list, language);
                assert!(done.contains("name=\"List-Return\" value=\"Yes\""), "{done}");
            }
            assert!(!unknown_page(language).contains("<form"));
        }
    }

    #[test]
    fn only_the_fixed_bodies_ask_for_something() {
        let read = |body: &str| UnsubscribeAction::read(FORM, body.as_bytes());
        assert_eq!(read("List-Unsubscribe=One-Click"), Some(UnsubscribeAction::Leave));
        assert_eq!(read("x=1&List-Unsubscribe=One-Click"), Some(UnsubscribeAction::Leave));
        assert_eq!(read("List-Return=Yes"), Some(UnsubscribeAction::Return));
        let charset = format!("{FORM}; charset=utf-8");
        assert!(UnsubscribeAction::read(&charset, b"List-Unsubscribe=One-Click").is_some());
        for body in
            ["", "List-Unsubscribe", "List-Unsubscribe=", "List-Unsubscribe=one-click", "token=One-Click"]
        {
            assert_eq!(read(body), None, "{body}");
        }
        for content_type in ["", "text/plain", "application/json"] {
            assert_eq!(UnsubscribeAction::read(content_type, b"List-Unsubscribe=One-Click"), None);
        }
        let long = format!("List-Unsubscribe=One-Click&x={}", "x".repeat(MAX_BODY_BYTES));
        assert_eq!(read(&long), None);
    }

    #[test]
    fn mail_programs_may_post_a_multipart_form() {
        let read = |body: &[u8]| UnsubscribeAction::read("Multipart/Form-Data; boundary=b", body);
        let form = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n--b--\r\n")
        };
        let leave = form("List-Unsubscribe", "One-Click");
        assert_eq!(read(leave.as_bytes()), Some(UnsubscribeAction::Leave));
        assert_eq!(read(form("List-Unsubscribe", "No").as_bytes()), None);
        assert_eq!(read(form("x", "One-Click").as_bytes()), None);
        assert_eq!(read(form("x", "List-Unsubscribe=One-Click").as_bytes()), None);
        assert_eq!(read(&[leave.as_bytes(), b"\xff"].concat()), None);
        assert_eq!(read(b""), None);
    }
}
