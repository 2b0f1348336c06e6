//! The link of a text.

use url::Url;

/// Longest link that is looked at, in bytes.
const LONGEST: usize = 2_000;
/// Beginnings of links of a text that are looked at.
const MOST_TRIED: usize = 10;

/// The first link of a text, as the text has it: what begins with `http://` or `https://` at the beginning of a word, without the
/// signs behind it that belong to the sentence.
pub(in crate::community::posts) fn first_link(text: &str) -> Option<&str> {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '`'));
    let links = words.flat_map(links_of).take(MOST_TRIED);
    links.map(without_sentence).find(|link| address(link).is_some())
}

/// The address of a link; `None` for what is none, or would tell a name and a password.
pub(super) fn address(link: &str) -> Option<Url> {
    if link.len() > LONGEST {
        return None;
    }
    let url = Url::parse(link).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    (is_plain && url.has_host() && matches!(url.scheme(), "http" | "https")).then_some(url)
}

/// What of a word may be a link, from each beginning on.
fn links_of(word: &str) -> impl Iterator<Item = &str> {
    let begins = move |(at, _): &(usize, char)| {
        let (before, link) = word.split_at(*at);
        let is_link = ["http://", "https://"]
            .iter()
            .any(|scheme| link.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
        is_link && !before.chars().next_back().is_some_and(char::is_alphanumeric)
    };
    word.char_indices().filter(begins).map(move |(at, _)| &word[at..])
}

/// A link without the signs at its end that belong to the sentence around it.
fn without_sentence(link: &str) -> &str {
    let count = |sign: char| link.matches(sign).count();
    let mut unopened =
        [(')', count(')').saturating_sub(count('('))), (']', count(']').saturating_sub(count('[')))];
    let mut end = link;
    while let Some(last) = end.chars().next_back() {
        let is_sentence = match unopened.iter_mut().find(|(sign, _)| *sign == last) {
            Some((_, 0)) => false,
            Some((_, left)) => {
                *left -= 1;
                true
            }
            None => matches!(
                last,
                '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '*' | '_' | '~' | '…' | '»' | '”' | '’'
            ),
        };
        if !is_sentence {
            break;
        }
        end = &end[..end.len() - last.len_utf8()];
    }
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_link_of_a_text_is_found_as_it_is_written() {
        for (text, link) in [
            ("Look: https://example.com/a?b=c#d!", Some("https://example.com/a?b=c#d")),
            ("HTTP://Example.com", Some("HTTP://Example.com")),
            ("(see https://example.com/a_(b))", Some("https://example.com/a_(b)")),
            ("[tango](https://example.com/a).", Some("https://example.com/a")),
            ("<https://example.com/>, and https://b.example", Some("https://example.com/")),
            ("¿https://ñandú.example/bailar?", Some("https://ñandú.example/bailar")),
            ("https://user:secret@a.example https://b.example", Some("https://b.example")),
            ("https://[2001:db8::1]/x", Some("https://[2001:db8::1]/x")),
            ("https:// https://?x http://", None),
            ("xhttps://example.com", None),
            ("ftp://example.com javascript:alert(1) example.com", None),
            ("no link", None),
        ] {
            assert_eq!(first_link(text), link, "{text}");
        }
    }

    #[test]
    fn a_link_that_is_too_long_is_none() {
        let link = |length: usize| format!("https://example.com/{}", "x".repeat(length - 20));
        assert_eq!(first_link(&link(LONGEST)), Some(link(LONGEST).as_str()));
        assert_eq!(first_link(&link(LONGEST + 1)), None);
    }

    proptest! {
        #[test]
        fn whatever_the_text_a_link_is_a_part_of_it_that_leads_somewhere(text in "(https?://|[a-z]|[ ().,@:/\\[\\]#?é]){0,60}") {
            if let Some(link) = first_link(&text) {
                prop_assert!(text.contains(link));
                let url = address(link).unwrap();
                prop_assert!(url.has_host() && url.username().is_empty());
            }
        }
    }
}
