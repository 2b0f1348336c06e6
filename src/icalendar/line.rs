//! Content lines: escaped, folded, and ended by CRLF (RFC 5545, 3.1).

use std::fmt::Display;

/// Most octets of a line, without its end.
const MAX_OCTETS: usize = 75;

/// A parameter of a property, whose value is put in quotes.
pub(super) type Parameter<'a> = (&'static str, &'a str);

/// Lines as they are written, one after the other.
#[derive(Debug, Default)]
pub(super) struct Lines(String);

impl Lines {
    /// A property whose value holds nothing to escape: a time, a number, an address.
    pub(super) fn value(&mut self, name: &str, value: impl Display) {
        self.fold(&format!("{name}:{value}"));
    }

    /// A property whose value is a text (3.3.11).
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.fold(&format!("{name}:{}", escaped(text)));
    }

    /// A property with parameters, whose value holds nothing to escape.
    pub(super) fn with(&mut self, name: &str, parameters: &[Parameter<'_>], value: impl Display) {
        let mut line = name.to_owned();
        for (name, value) in parameters {
            line.extend([";", name, "=\"", &unquoted(value), "\""]);
        }
        self.fold(&format!("{line}:{value}"));
    }

    /// All lines.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// Writes a line. No control character gets into it, so that nothing that a user writes begins a line of its own.
    fn fold(&mut self, line: &str) {
        let mut octets = 0;
        for character in line.chars().filter(|character| !character.is_control() || *character == '\t') {
            // Never inside a character, as many readers decode before they unfold.
            if octets + character.len_utf8() > MAX_OCTETS {
                self.0.push_str("\r\n ");
                octets = 1;
            }
            self.0.push(character);
            octets += character.len_utf8();
        }
        self.0.push_str("\r\n");
    }
}

/// A text with all that has a meaning escaped. Whatever ends a line anywhere is a line break, also what some readers split at.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' | ',' | ';' => escaped.extend(['\\', character]),
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}' => escaped.push_str("\\n"),
            character => escaped.push(character),
        }
    }
    escaped
}

/// The value of a parameter that is put in quotes, in which there is no way to write a quote that all readers know.
fn unquoted(text: &str) -> String {
    text.replace('"', "'")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> String {
        let mut lines = Lines::default();
        lines.text("SUMMARY", text);
        lines.into_text()
    }

    /// What a reader makes of it.
    fn read_back(lines: &str) -> String {
        let line = lines.strip_suffix("\r\n").unwrap().replace("\r\n ", "");
        let mut text = String::new();
        let mut characters = line.strip_prefix("SUMMARY:").unwrap().chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => text.push(match characters.next().unwrap() {
                    'n' => '\n',
                    other => other,
                }),
                other => text.push(other),
            }
        }
        text
    }

    #[test]
    fn what_has_a_meaning_is_escaped() {
        for (given, written) in [
            ("Milonga, with a show; at ten: \"sharp\"", r#"SUMMARY:Milonga\, with a show\; at ten: "sharp""#),
            (r"a\nb", r"SUMMARY:a\\nb"),
            ("a\nb", r"SUMMARY:a\nb"),
            ("a\r\nb", r"SUMMARY:a\nb"),
            ("a\rb", r"SUMMARY:a\nb"),
            ("a\u{2028}b\u{85}c", r"SUMMARY:a\nb\nc"),
            ("a\u{0}\u{7}b\tc", "SUMMARY:ab\tc"),
            ("", "SUMMARY:"),
        ] {
            assert_eq!(text(given), format!("{written}\r\n"), "{given:?}");
        }
    }

    #[test]
    fn nothing_that_a_user_writes_begins_a_line_of_its_own() {
        let title = "Milonga\r\nEND:VEVENT\r\nBEGIN:VALARM\rX:1\nY:2";
        assert_eq!(text(title).matches("\r\n").count(), 1);
        let mut lines = Lines::default();
        lines.with("ATTENDEE", &[("CN", "Ana\r\nX:1\" y, z: ;")], "mailto:ana@example.com\r\nX:2");
        let written = lines.into_text();
        assert_eq!(written, "ATTENDEE;CN=\"AnaX:1' y, z: ;\":mailto:ana@example.comX:2\r\n");
    }

    #[test]
    fn lines_are_folded_between_characters() {
        let family = "👨\u{200d}👩\u{200d}👧\u{200d}👦";
        for given in ["ñ".repeat(200), family.repeat(30), format!("{}{}", "x".repeat(66), "💃".repeat(40))]
        {
            let written = text(&given);
            let lines: Vec<_> = written.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            assert!(lines.len() > 3);
            assert!(lines.iter().all(|line| line.len() <= MAX_OCTETS), "{lines:?}");
            assert!(lines[1..].iter().all(|line| line.starts_with(' ')), "{lines:?}");
            assert!(lines[..lines.len() - 1].iter().all(|line| line.len() > MAX_OCTETS - 4), "{lines:?}");
            assert_eq!(read_back(&written), given);
        }
        assert_eq!(text(&"x".repeat(67)).matches("\r\n").count(), 1, "75 octets are one line");
        assert_eq!(text(&"x".repeat(68)).matches("\r\n").count(), 2);
    }

    proptest! {
        #[test]
        fn every_text_comes_back(given in "[a-c,;:\\\\\"\n ñ💃\u{301}]{0,120}") {
            prop_assert_eq!(read_back(&text(&given)), given);
        }
    }
}
