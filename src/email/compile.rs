//! The templates of all letters in a language, made of MJML, plain text, and the language's texts.
//!
//! All work that is the same for all letters is done here, at the start. The texts of a language go into the
//! layout, at the places in `[[ … ]]`; MJML becomes HTML; what is left are places in `{{ … }}`, which each
//! letter fills in.

use anyhow::Context as _;
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use super::Language;
use super::texts::{Section, Texts};

/// A template as MJML and as plain text.
type Pair = (&'static str, &'static str);

macro_rules! pair {
    ($name:literal) => {
        (
            include_str!(concat!("templates/", $name, ".mjml")),
            include_str!(concat!("templates/", $name, ".txt")),
        )
    };
}

/// What a letter looks like around its content.
const LAYOUT: Pair = pair!("layout");
/// How letters show an event.
const EVENT_LINES: Pair = pair!("event");
/// The button of a letter.
const LINK: Pair = pair!("link");

const ACCOUNT: Pair = pair!("account");
const ATTENDANCE: Pair = pair!("attendance");
const BOOKING: Pair = pair!("booking");
const PAYMENT: Pair = pair!("payment");
const SERIES: Pair = pair!("series");

/// The content of each letter by its name, and the field that holds the address of its button.
const CONTENTS: [(&str, &str, Pair); 37] = [
    ("welcome", "home_url", ACCOUNT),
    ("verify_email", "url", ACCOUNT),
    ("reset_password", "url", ACCOUNT),
    ("password_changed", "reset_url", ACCOUNT),
    ("second_factor_on", "reset_url", ACCOUNT),
    ("second_factor_off", "reset_url", ACCOUNT),
    ("second_factor_ending", "keep_url", ACCOUNT),
    ("new_login", "end_url", ACCOUNT),
    ("confirm_new_address", "url", ACCOUNT),
    ("address_changed", "undo_url", ACCOUNT),
    ("account_leaving", "undo_url", ACCOUNT),
    ("rsvp_confirmed", "event.url", ATTENDANCE),
    ("promoted", "event.url", ATTENDANCE),
    ("reminder", "event.url", ATTENDANCE),
    ("event_moved", "event.url", ATTENDANCE),
    ("event_cancelled", "event.url", pair!("event_cancelled")),
    ("series_changed", "url", SERIES),
    ("series_cancelled", "url", SERIES),
    ("booking_requested", "url", BOOKING),
    ("booking_countered", "url", BOOKING),
    ("booking_confirmed", "url", BOOKING),
    ("booking_accepted", "url", BOOKING),
    ("booking_declined", "url", BOOKING),
    ("booking_superseded", "url", BOOKING),
    ("booking_expired", "url", BOOKING),
    ("booking_cancelled", "url", BOOKING),
    ("booking_arrival", "url", BOOKING),
    ("booking_completed", "url", BOOKING),
    ("payment_received", "url", PAYMENT),
    ("payment_refunded", "url", PAYMENT),
    ("payment_failed", "url", PAYMENT),
    ("payment_stuck", "url", PAYMENT),
    ("ticket_reply", "url", pair!("ticket_reply")),
    ("decision", "url", pair!("decision")),
    ("appeal_decided", "url", pair!("appeal_decided")),
    ("notification", "url", pair!("notification")),
    ("digest", "home_url", pair!("digest")),
];

/// The templates of a letter in a language, still with the places that each letter fills in.
pub(super) struct Compiled {
    pub(super) name: &'static str,
    pub(super) subject: String,
    pub(super) html: String,
    pub(super) text: String,
}

/// Compiles all letters in a language. An error is a defect in a template or in the language's texts.
pub(super) fn compile(language: Language) -> anyhow::Result<Vec<Compiled>> {
    let builder = Builder { templates: templates()?, language, texts: Texts::of(language)? };
    let build = |(name, url, content)| {
        builder
            .build(name, url, content)
            .with_context(|| format!("the letter {name} in {:?}", language.tag()))
    };
    CONTENTS.into_iter().map(build).collect()
}

/// Templates with places in `[[ … ]]`.
fn templates() -> anyhow::Result<Environment<'static>> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_auto_escape_callback(|name| {
        let escapes = std::path::Path::new(name).extension().is_some_and(|end| end == "mjml");
        if escapes { AutoEscape::Html } else { AutoEscape::None }
    });
    let syntax = SyntaxConfig::builder()
        .variable_delimiters("[[", "]]")
        .block_delimiters("[%", "%]")
        .comment_delimiters("[#", "#]")
        .build()?;
    templates.set_syntax(syntax);
    Ok(templates)
}

/// Puts the texts of a language into templates, and makes HTML of MJML.
struct Builder {
    templates: Environment<'static>,
    language: Language,
    texts: Texts,
}

impl Builder {
    fn build(&self, name: &'static str, url: &str, content: Pair) -> anyhow::Result<Compiled> {
        let own = self.texts.letters.get(name).context("there are no texts")?;
        let subject = own.get("subject").context("there is no subject")?.clone();
        let mjml = self.fill("letter.mjml", own, url, [LAYOUT.0, content.0, EVENT_LINES.0, LINK.0])?;
        let text = self.fill("letter.txt", own, url, [LAYOUT.1, content.1, EVENT_LINES.1, LINK.1])?;
        let parsed = mrml::parse(&mjml)?;
        anyhow::ensure!(parsed.warnings.is_empty(), "warnings of MJML: {:?}", parsed.warnings);
        let html = parsed.element.render(&mrml::prelude::render::RenderOptions::default())?;
        Ok(Compiled { name, subject, html, text })
    }

    /// Puts texts into the content, and the content into the layout.
    fn fill(
        &self,
        name: &str,
        own: &Section,
        url: &str,
        [layout, content, event_lines, link]: [&str; 4],
    ) -> anyhow::Result<String> {
        let common = &self.texts.common;
        let direction = self.language.direction();
        // Old mail programs do not know the logical sides of CSS.
        let start = if direction == "rtl" { "right" } else { "left" };
        let quote = format!("margin:8px 0;padding:4px 16px;border-{start}:3px solid #d9b3b8");
        let fill = |source: &str, values: Value| -> anyhow::Result<Value> {
            let filled = self.templates.render_named_str(name, source, values)?;
            Ok(Value::from_safe_string(filled))
        };
        let event_lines = fill(event_lines, context! { common })?;
        let link = fill(link, context! { common, url, t => own })?;
        let content = fill(content, context! { common, event_lines, link, quote, t => own })?;
        let values = context! {
            common,
            content,
            start,
            lang => self.language.tag(),
            dir => direction,
            preheader => own.get("preheader"),
            why => own.get("why"),
        };
        Ok(fill(layout, values)?.to_string())
    }
}
