//! Letters as HTML and as plain text, in every language.
//!
//! All work that is the same for all letters is done at the start. The texts of a language go into the
//! layout, at the places in `[[ … ]]`; MJML becomes HTML; what is left are places in `{{ … }}`, which each
//! letter fills in.

use std::collections::BTreeMap;

use anyhow::Context as _;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::address::refuse_controls;
use super::{Language, Letter};

/// What a letter looks like around its content, as HTML and as text.
const LAYOUT: (&str, &str) = (include_str!("templates/layout.mjml"), include_str!("templates/layout.txt"));
/// How letters show an event.
const EVENT_LINES: (&str, &str) = (include_str!("templates/event.mjml"), include_str!("templates/event.txt"));
/// The content of each letter by its name.
const CONTENTS: [(&str, (&str, &str)); 4] = [
    ("welcome", (include_str!("templates/welcome.mjml"), include_str!("templates/welcome.txt"))),
    (
        "rsvp_confirmed",
        (include_str!("templates/rsvp_confirmed.mjml"), include_str!("templates/rsvp_confirmed.txt")),
    ),
    ("promoted", (include_str!("templates/promoted.mjml"), include_str!("templates/promoted.txt"))),
    ("reminder", (include_str!("templates/reminder.mjml"), include_str!("templates/reminder.txt"))),
];

/// The texts of a language: the letter's name or `common`, then the text's name.
type Texts = BTreeMap<String, BTreeMap<String, String>>;

/// A letter that is ready to be put into an e-mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One line, not encoded.
    pub subject: String,
    /// A whole page.
    pub html: String,
    /// The same as plain text, with `\n` at line ends.
    pub text: String,
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
        let builder = Builder::new()?;
        for language in Language::ALL {
            let texts: Texts = toml::from_str(texts_of(language))
                .with_context(|| format!("the texts of letters in {:?}", language.tag()))?;
            for (name, content) in CONTENTS {
                let about = || format!("the letter {name} in {:?}", language.tag());
                let letter = builder.build(language, name, content, &texts).with_context(about)?;
                // The end of a template's name decides what is escaped.
                for (part, source) in
                    [("subject", letter.subject), ("html", letter.html), ("txt", letter.text)]
                {
                    templates
                        .add_template_owned(template(name, language, part), source)
                        .with_context(about)?;
                }
            }
        }
        let renderer = Self { templates };
        for letter in Letter::samples() {
            for language in Language::ALL {
                renderer.render(&letter, language)?;
            }
        }
        Ok(renderer)
    }

    /// Writes a letter. Fails if the subject would hold a line break or another control character.
    pub fn render(&self, letter: &Letter, language: Language) -> anyhow::Result<Rendered> {
        let fields = Value::from(Serde(letter));
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
        Ok(Rendered { subject, html: part("html")?, text: part("txt")? })
    }
}

/// The name under which a part of a letter is kept.
fn template(letter: &str, language: Language, part: &str) -> String {
    format!("{letter}.{}.{part}", language.tag())
}

/// The texts of a language, as TOML.
const fn texts_of(language: Language) -> &'static str {
    match language {
        Language::En => include_str!("templates/texts/en.toml"),
        Language::Es => include_str!("templates/texts/es.toml"),
    }
}

/// Puts the texts of a language into templates, and makes HTML of MJML.
struct Builder {
    templates: Environment<'static>,
}

impl Builder {
    fn new() -> anyhow::Result<Self> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_auto_escape_callback(|name| {
            let escapes = std::path::Path::new(name).extension().is_some_and(|end| end == "mjml");
            if escapes { minijinja::AutoEscape::Html } else { minijinja::AutoEscape::None }
        });
        let syntax = SyntaxConfig::builder()
            .variable_delimiters("[[", "]]")
            .block_delimiters("[%", "%]")
            .comment_delimiters("[#", "#]")
            .build()?;
        templates.set_syntax(syntax);
        Ok(Self { templates })
    }

    /// The templates of a letter in a language, still with the places that each letter fills in.
    fn build(
        &self,
        language: Language,
        letter: &str,
        (mjml, text): (&str, &str),
        texts: &Texts,
    ) -> anyhow::Result<Rendered> {
        let own = texts.get(letter).context("there are no texts")?;
        let subject = own.get("subject").context("there is no subject")?.clone();
        let mjml = self.fill("letter.mjml", language, own, texts, [LAYOUT.0, mjml, EVENT_LINES.0])?;
        let text = self.fill("letter.txt", language, own, texts, [LAYOUT.1, text, EVENT_LINES.1])?;
        let parsed = mrml::parse(&mjml)?;
        anyhow::ensure!(parsed.warnings.is_empty(), "warnings of MJML: {:?}", parsed.warnings);
        let html = parsed.element.render(&mrml::prelude::render::RenderOptions::default())?;
        Ok(Rendered { subject, html, text })
    }

    /// Puts texts into the content, and the content into the layout.
    fn fill(
        &self,
        name: &str,
        language: Language,
        own: &BTreeMap<String, String>,
        texts: &Texts,
        [layout, content, event_lines]: [&str; 3],
    ) -> anyhow::Result<String> {
        let common = texts.get("common").context("there are no common texts")?;
        let fill = |source: &str, values: Value| self.templates.render_named_str(name, source, values);
        let event_lines = fill(event_lines, context! { common })?;
        let event_lines = Value::from_safe_string(event_lines);
        let content = fill(content, context! { common, event_lines, t => own })?;
        let values = context! {
            common,
            lang => language.tag(),
            dir => language.direction(),
            preheader => own.get("preheader"),
            why => own.get("why"),
            content => Value::from_safe_string(content),
        };
        Ok(fill(layout, values)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventLines;
    use super::*;

    /// Above this Gmail cuts a letter off, in bytes.
    const GMAIL_CLIPS: usize = 102_000;

    fn event(title: &str) -> EventLines {
        EventLines {
            title: title.to_owned(),
            when: "sábado 4 de julio, 22:00".to_owned(),
            place: "Club Gricel & Cía\nLa Rioja 1180".to_owned(),
            url: "https://example.com/events/1?a=1&b=\"2\"".to_owned(),
        }
    }

    /// Every kind of letter and every branch, about somebody with a name that HTML would take for markup.
    fn letters(name: &str, title: &str) -> Vec<Letter> {
        let name = name.to_owned();
        let rsvp = |status_waiting| Letter::RsvpConfirmed {
            name: name.clone(),
            event: event(title),
            status_waiting,
        };
        vec![
            Letter::Welcome { name: name.clone(), home_url: "https://example.com/?a=1&b=2".to_owned() },
            rsvp(false),
            rsvp(true),
            Letter::Promoted { name: name.clone(), event: event(title) },
            Letter::Reminder { name: name.clone(), event: event(title) },
        ]
    }

    #[test]
    fn every_letter_is_whole_in_every_language() {
        let renderer = Renderer::new().unwrap();
        for language in Language::ALL {
            for letter in letters("<b>Ana & Co</b>", "Milonga \"La <i>Nacional</i>\"") {
                let Rendered { subject, html, text } = renderer.render(&letter, language).unwrap();
                for part in [&subject, &html, &text] {
                    for mark in ["{{", "}}", "{%", "%}", "[[", "]]", "[%"] {
                        // The end of two rules of CSS is the one pair of braces that belongs there.
                        assert!(mark == "}}" || !part.contains(mark), "{mark} is left in\n{part}");
                    }
                    assert!(!part.trim().is_empty());
                }
                assert!(!subject.contains(char::is_control), "{subject:?}");
                assert!(html.contains("&lt;b&gt;Ana &amp; Co&lt;"), "{html}");
                assert!(!html.contains("<b>Ana") && !html.contains("<i>Nacional"), "{html}");
                assert!(text.contains("<b>Ana & Co</b>") && !text.contains("&amp;"), "{text}");
                assert!(html.len() < GMAIL_CLIPS, "{} bytes", html.len());
                let start = format!("<html lang=\"{}\" dir=\"ltr\"", language.tag());
                for wanted in [
                    start.as_str(),
                    "<meta name=\"color-scheme\" content=\"light dark\"",
                    "@media (prefers-color-scheme: dark)",
                    "display:none",
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
    fn links_are_whole_in_both_parts_and_end_no_attribute() {
        let renderer = Renderer::new().unwrap();
        let letters = letters("Ana", "Milonga");
        let rendered = renderer.render(&letters[3], Language::Es).unwrap();
        assert!(rendered.text.contains("https://example.com/events/1?a=1&b=\"2\"\n"), "{}", rendered.text);
        let escaped = "href=\"https:&#x2f;&#x2f;example.com&#x2f;events&#x2f;1?a=1&amp;b=&quot;2&quot;\"";
        assert!(rendered.html.matches(escaped).count() >= 2, "{}", rendered.html);
    }

    #[test]
    fn both_branches_of_an_answer_differ_and_languages_differ() {
        let renderer = Renderer::new().unwrap();
        let letters = letters("Ana", "Milonga");
        let subject = |letter: &Letter, language| renderer.render(letter, language).unwrap().subject;
        assert_eq!(subject(&letters[1], Language::En), "You are going: Milonga");
        assert_eq!(subject(&letters[2], Language::En), "You are on the waiting list: Milonga");
        assert_eq!(subject(&letters[2], Language::Es), "Estás en la lista de espera: Milonga");
    }

    #[test]
    fn a_subject_with_a_line_break_is_refused_and_no_encoded_word_gets_through() {
        let renderer = Renderer::new().unwrap();
        for end in ["\r\n", "\n", "\r", "\0"] {
            let letter = &letters("Ana", &format!("Milonga{end}Bcc: all@example.com"))[3];
            assert!(renderer.render(letter, Language::En).is_err(), "{end:?}");
        }
        let letter = &letters("Ana", "=?utf-8?q?Other?=")[3];
        assert!(!renderer.render(letter, Language::En).unwrap().subject.contains("=?"));
    }

    #[test]
    fn all_languages_have_the_same_texts_and_none_is_blank() {
        let names = |language| -> Vec<String> {
            let texts: Texts = toml::from_str(texts_of(language)).unwrap();
            assert!(texts.values().flat_map(BTreeMap::values).all(|text| !text.trim().is_empty()));
            let of = |(letter, own): (&String, &BTreeMap<String, String>)| {
                own.keys().map(|name| format!("{letter}.{name}")).collect::<Vec<_>>()
            };
            texts.iter().flat_map(of).collect()
        };
        assert_eq!(names(Language::En), names(Language::Es));
    }
}
