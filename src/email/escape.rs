//! What users write, made harmless in letters: as HTML, and as plain text.
//!
//! Plain text has no markup to escape; there, a line break is what could forge words of ours. So whatever is
//! filled in becomes one line, and only the filter `prose` keeps lines, each behind a `>`.

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, HtmlEscape, Output, State, escape_formatter};

/// The escaping of plain text. HTML's is chosen by the end of a template's name as well.
const PLAIN: AutoEscape = AutoEscape::Custom(std::borrow::Cow::Borrowed("plain"));
/// Characters of a longer text that a letter shows. All of them escaped are 60 kB.
const MAX_PROSE_CHARACTERS: usize = 10_000;
/// Characters of a sentence that a letter shows.
const MAX_SHORT_CHARACTERS: usize = 200;

/// Makes templates escape what is filled in, by the ends of their names: `html`, `txt`; nothing in others,
/// such as subjects.
pub(super) fn set_escaping(templates: &mut Environment<'_>) {
    templates.set_auto_escape_callback(|name| match name.rsplit_once('.') {
        Some((_, "html")) => AutoEscape::Html,
        Some((_, "txt")) => PLAIN,
        _ => AutoEscape::None,
    });
    templates.set_formatter(format);
    templates.add_filter("prose", prose);
    templates.add_filter("short", short);
    templates.add_filter("line", |text: &str| one_line(text));
}

fn format(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if *state.auto_escape() != PLAIN {
        return escape_formatter(out, state, value);
    }
    let text = value.to_string();
    Ok(if value.is_safe() { out.write_str(&text) } else { out.write_str(&one_line(&text)) }?)
}

/// A text with its lines, quoted.
fn prose(state: &State<'_, '_>, text: &str) -> Value {
    let text = cut(text, MAX_PROSE_CHARACTERS);
    let lines = lines(&text);
    Value::from_safe_string(if *state.auto_escape() == AutoEscape::Html {
        let escaped: Vec<_> = lines.iter().map(|line| HtmlEscape(line).to_string()).collect();
        escaped.join("<br />")
    } else {
        let quoted: Vec<_> = lines.iter().map(|line| format!("> {line}").trim_end().to_owned()).collect();
        quoted.join("\n")
    })
}

/// The beginning of a text that could be longer than a letter has room for.
fn short(text: &str) -> String {
    cut(text, MAX_SHORT_CHARACTERS)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default().trim_end()),
    }
}

/// A text in one line, with commas where the lines of an address or the like ended.
fn one_line(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for line in lines(text).iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
        if !joined.is_empty() {
            joined.push_str(if joined.ends_with(|c: char| c.is_ascii_punctuation()) { " " } else { ", " });
        }
        joined.push_str(line);
    }
    joined
}

/// The lines of a text, by all that mail programs take for a line break, without other control characters.
fn lines(text: &str) -> Vec<String> {
    let breaks = |c: char| matches!(c, '\n'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let text = text.replace("\r\n", "\n");
    let clean = |line: &str| line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
    text.split(breaks).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(name: &str, source: &str, text: &str) -> String {
        let mut templates = Environment::new();
        set_escaping(&mut templates);
        templates.add_template_owned(name.to_owned(), source.to_owned()).unwrap();
        let template = templates.get_template(name).unwrap();
        template.render(minijinja::context! { text }).unwrap()
    }

    #[test]
    fn what_is_filled_into_plain_text_is_one_line() {
        for end in ["\n", "\r\n", "\r", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}", "\n \n\t\n"] {
            let text = format!("Club Gricel{end}-- {end}<b>&");
            assert_eq!(rendered("a.txt", "At {{ text }}!", &text), "At Club Gricel, -- <b>&!", "{end:?}");
        }
        assert_eq!(rendered("a.txt", "{{ text }}", "a\0b\u{1b}c"), "abc");
        assert_eq!(rendered("a.html", "{{ text|line }}", "A & B\nC,\n D"), "A &amp; B, C, D");
    }

    #[test]
    fn prose_keeps_its_lines_behind_a_mark() {
        let text = "Hello\r\n-- \nMundoTango\u{2028}Set a password:\n\n  https://evil.example <b>&";
        let plain = "> Hello\n> --\n> MundoTango\n> Set a password:\n>\n>   https://evil.example <b>&";
        assert_eq!(rendered("a.txt", "{{ text|prose }}", text), plain);
        assert_eq!(rendered("a.html", "{{ text|prose }}", "a <b>\n\n&c"), "a &lt;b&gt;<br /><br />&amp;c");
    }

    #[test]
    fn html_is_escaped_and_subjects_are_not() {
        assert_eq!(rendered("a.html", "{{ text }}", "<b>\"&'"), "&lt;b&gt;&quot;&amp;&#x27;");
        assert_eq!(rendered("a.html", "{{ text|short }}", "<b>"), "&lt;b&gt;");
        assert_eq!(rendered("a.subject", "{{ text }}", "<b>"), "<b>");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(rendered("a.txt", "{{ text|short }}", &"ñ".repeat(200)), "ñ".repeat(200));
        assert_eq!(rendered("a.txt", "{{ text|short }}", &"ñ".repeat(201)), "ñ".repeat(200) + "…");
        let longest = rendered("a.html", "{{ text|prose }}", &"'".repeat(100_000));
        assert_eq!(longest.len(), 10_000 * "&#x27;".len() + "…".len());
    }
}
