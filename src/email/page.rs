//! The document that the pages behind links of letters share.
//!
//! Nothing of the request is in a page, no script runs, nothing is loaded from elsewhere, and neither caches
//! nor search engines keep it.

use std::fmt::Write as _;

use axum::http::header::ACCEPT_LANGUAGE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::Language;

/// What each answer with a page has to say: no script runs, no other site shows the page in a frame, and no
/// other site learns its address, which holds the token.
const HEADERS: [(&str, &str); 7] = [
    ("content-type", "text/html; charset=utf-8"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'sha256-qSlBRw3mwG2OUAWYqS5FdP+gvmQS7l5tSX+G6Oosn4M='; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("cache-control", "no-store"),
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
    ("x-robots-tag", "noindex, nofollow"),
    ("vary", "accept-language"),
];

/// The style of all pages, whose hash the policy names.
const STYLE: &str = include_str!("templates/page.css");

/// What a page shows. Its texts are the server's own words and are not escaped: never fill in what a client
/// sent.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// The language of all its texts.
    pub language: Language,
    /// Its heading, and its name in the browser.
    pub title: &'a str,
    /// What it says.
    pub paragraphs: &'a [&'a str],
    /// What it asks for.
    pub form: Option<Form<'a>>,
    /// Where it leads.
    pub link: Option<Link<'a>>,
}

/// A form. It posts to the address of its page, so the page need not know the token in there.
#[derive(Clone, Debug)]
pub struct Form<'a> {
    /// What is to be filled in.
    pub field: Option<Field<'a>>,
    /// The label of its button.
    pub button: &'a str,
    /// What the button sends, as name and value.
    pub sends: Option<(&'a str, &'a str)>,
}

/// A field of a form, which has to be filled in.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    /// Its name in the body and in the page.
    pub name: &'a str,
    /// What is to be written there.
    pub label: &'a str,
    /// The type of the input: `email`, `password`; `textarea` for words of several lines.
    pub kind: &'a str,
    /// What a browser may fill in (HTML, 4.10.18.7.1).
    pub autocomplete: &'a str,
    /// The fewest characters. Browsers count UTF-16 units, of which a text has as many or more; a limit for
    /// the most would therefore refuse what the server takes.
    pub min_length: Option<usize>,
    /// What is allowed, or what was wrong.
    pub note: Option<&'a str>,
    /// Whether the note says what was wrong.
    pub is_wrong: bool,
}

/// A link to another page of the server.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// Relative to the page, as the site may lie below a path.
    pub to: &'a str,
    /// Its words.
    pub label: &'a str,
}

/// The language that a reader likes best of ours.
pub fn language(headers: &HeaderMap) -> Language {
    let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    accepted.and_then(Language::accepted).unwrap_or_default()
}

/// An answer with a page, from [`Page::html`].
pub fn response(status: StatusCode, html: String) -> Response {
    (status, HEADERS, html).into_response()
}

impl Page<'_> {
    /// The whole document.
    pub fn html(&self) -> String {
        let Self { language, title, paragraphs, form, link } = self;
        let (lang, dir) = (language.tag(), language.direction());
        let mut html = format!(
            "<!doctype html>\n<html lang=\"{lang}\" dir=\"{dir}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title} – MundoTango</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <p class=\"brand\">MundoTango</p>\n<div class=\"card\">\n<h1>{title}</h1>\n"
        );
        for paragraph in *paragraphs {
            // Writing into a string does not fail.
            let _ = writeln!(html, "<p>{paragraph}</p>");
        }
        if let Some(form) = form {
            form.write(&mut html);
        }
        if let Some(Link { to, label }) = link {
            let _ = writeln!(html, "<p><a href=\"{to}\">{label}</a></p>");
        }
        html.push_str("</div>\n</main>\n</body>\n</html>\n");
        html
    }
}

impl Form<'_> {
    fn write(&self, html: &mut String) {
        let sends = self
            .sends
            .map_or_else(String::new, |(name, value)| format!(" name=\"{name}\" value=\"{value}\""));
        html.push_str("<form method=\"post\">\n");
        if let Some(field) = &self.field {
            field.write(html);
        }
        // Writing into a string does not fail.
        let _ = writeln!(html, "<button type=\"submit\"{sends}>{}</button>\n</form>", self.button);
    }
}

impl Field<'_> {
    fn write(&self, html: &mut String) {
        let Self { name, label, kind, autocomplete, .. } = self;
        let mut more = self.min_length.map_or_else(String::new, |least| format!(" minlength=\"{least}\""));
        // Writing into a string does not fail.
        let _ = writeln!(html, "<label for=\"{name}\">{label}</label>");
        if let Some(note) = self.note {
            let _ = write!(more, " aria-describedby=\"{name}-note\"");
            let wrong = if self.is_wrong { " wrong\" role=\"alert" } else { "" };
            let _ = writeln!(html, "<p class=\"note{wrong}\" id=\"{name}-note\">{note}</p>");
        }
        if self.is_wrong {
            more.push_str(" aria-invalid=\"true\" autofocus");
        }
        if *kind == "textarea" {
            let _ = writeln!(
                html,
                "<textarea id=\"{name}\" name=\"{name}\" rows=\"8\" autocomplete=\"{autocomplete}\" \
                 required{more}></textarea>"
            );
            return;
        }
        let _ = writeln!(
            html,
            "<input id=\"{name}\" name=\"{name}\" type=\"{kind}\" autocomplete=\"{autocomplete}\" \
             required{more}>"
        );
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use base64::Engine as _;
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn page(is_wrong: bool) -> String {
        let field = Field {
            name: "password",
            label: "New password",
            kind: "password",
            autocomplete: "new-password",
            min_length: Some(8),
            note: Some("It has to have 8 characters."),
            is_wrong,
        };
        let page = Page {
            language: Language::En,
            title: "Set it",
            paragraphs: &["One.", "Two."],
            form: Some(Form { field: Some(field), button: "Save", sends: None }),
            link: Some(Link { to: "forgot-password", label: "Another" }),
        };
        page.html()
    }

    #[test]
    fn the_policy_allows_the_style_of_the_page_and_no_script() {
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
        let answer = response(StatusCode::GONE, page(true));
        assert_eq!(answer.status(), StatusCode::GONE);
        let header = |name: &str| answer.headers()[name].to_str().unwrap();
        let policy = header("content-security-policy");
        assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{hash} is not in {policy}");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        assert_eq!(header("cache-control"), "no-store");
        let page = page(true);
        assert!(page.contains(&format!("<style>{STYLE}</style>")), "{page}");
        for foreign in ["<script", "style=", "onclick", "src=", "http", "url("] {
            assert!(!page.contains(foreign), "{foreign} is in\n{page}");
        }
    }

    #[test]
    fn a_form_posts_to_its_own_address_and_its_field_says_what_is_wrong() {
        let page_of = |is_wrong| {
            let page = page(is_wrong);
            assert!(page.contains("<form method=\"post\">") && !page.contains("action="), "{page}");
            assert!(page.contains("<label for=\"password\">New password</label>"), "{page}");
            assert!(page.contains("<p>One.</p>\n<p>Two.</p>\n<form"), "{page}");
            assert!(page.contains("<p><a href=\"forgot-password\">Another</a></p>"), "{page}");
            page
        };
        let input = "<input id=\"password\" name=\"password\" type=\"password\" \
                     autocomplete=\"new-password\" required minlength=\"8\" aria-describedby=\"password-note\"";
        let page = page_of(false);
        assert!(page.contains(&format!("{input}>")), "{page}");
        assert!(page.contains("<p class=\"note\" id=\"password-note\">It has to have"), "{page}");
        let page = page_of(true);
        assert!(page.contains(&format!("{input} aria-invalid=\"true\" autofocus>")), "{page}");
        assert!(page.contains("<p class=\"note wrong\" role=\"alert\" id=\"password-note\">"), "{page}");
    }

    #[test]
    fn pages_are_in_the_readers_language() {
        let of = |accepted: HeaderValue| language(&HeaderMap::from_iter([(ACCEPT_LANGUAGE, accepted)]));
        assert_eq!(of(HeaderValue::from_static("es-AR,en;q=0.5")), Language::Es);
        assert_eq!(of(HeaderValue::from_static("de")), Language::En);
        assert_eq!(of(HeaderValue::from_bytes(b"\xff").unwrap()), Language::En);
        assert_eq!(language(&HeaderMap::new()), Language::En);
    }
}
