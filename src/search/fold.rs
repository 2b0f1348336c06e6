//! Words as they are compared: without case, accents and forms of letters, the same way in what is indexed and in what is
//! searched for.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Longest word, in characters: what is behind them is not compared.
const MAX_WORD: usize = 60;

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its spelling without case, but with accents.
    pub exact: String,
    /// Its spelling without accents.
    pub folded: String,
    /// Where it stands in the text, in bytes.
    pub at: Range<usize>,
    /// Its number in the text.
    pub position: usize,
    /// Whether it is two letters of a script without spaces, which overlaps with the word before it.
    pub is_pair: bool,
}

/// What a character is to words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A letter or digit of a script with spaces between words, or a mark on one.
    Letter,
    /// A letter of a script without spaces: each is a word, and so are two beside each other.
    Dense,
    /// Between words.
    Other,
}

impl Class {
    fn of(c: char) -> Self {
        match c {
            // Kana, Han and its extensions, with what repeats them.
            '\u{3005}'..='\u{3007}'
            | '\u{3041}'..='\u{309F}'
            | '\u{30A1}'..='\u{30FA}'
            | '\u{30FC}'..='\u{30FF}'
            | '\u{3400}'..='\u{4DBF}'
            | '\u{4E00}'..='\u{9FFF}'
            | '\u{F900}'..='\u{FAFF}'
            | '\u{FF66}'..='\u{FF9F}'
            | '\u{20000}'..='\u{3134F}' => Self::Dense,
            c if c.is_alphanumeric() || is_combining_mark(c) => Self::Letter,
            _ => Self::Other,
        }
    }
}

/// Without case: what differs in case alone has one upper case, which has one lower case. ß is SS, and ı is I.
fn without_case(text: &str) -> String {
    text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().take(MAX_WORD).collect()
}

/// Marks that are accents, and no letters of their own: Thai and Indic vowels stay.
fn is_accent(c: char) -> bool {
    matches!(
        c,
        '\u{0300}'..='\u{036F}'
            | '\u{0591}'..='\u{05BD}'
            | '\u{05BF}'..='\u{05C7}'
            | '\u{064B}'..='\u{065F}'
            | '\u{0670}'
            | '\u{1AB0}'..='\u{1AFF}'
            | '\u{1DC0}'..='\u{1DFF}'
            | '\u{20D0}'..='\u{20FF}'
            | '\u{FE20}'..='\u{FE2F}'
    )
}

/// Letters that no normalization takes apart.
fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'ł' => "l",
        'ħ' => "h",
        'ŧ' => "t",
        'ŋ' => "n",
        'þ' => "th",
        _ => return None,
    })
}

/// Without case and accents.
pub fn folded(text: &str) -> String {
    let mut before = ' ';
    let mut kept = String::with_capacity(text.len());
    for c in without_case(text).nfd() {
        // й is no и with an accent, as nobody leaves that out.
        let is_dropped = is_accent(c) && !(before == 'и' && c == '\u{0306}');
        before = c;
        match plain(c) {
            _ if is_dropped => {}
            Some(letters) => kept.push_str(letters),
            None => kept.push(c),
        }
    }
    kept.nfc().collect()
}

fn word(text: &str, at: Range<usize>, position: usize, is_pair: bool) -> Option<Word> {
    let spelled = text.get(at.clone())?;
    let (exact, folded) = (without_case(spelled), folded(spelled));
    (!folded.is_empty()).then_some(Word { exact, folded, at, position, is_pair })
}

/// The words of a text, at most so many. Of scripts without spaces each letter is one, and each two beside each other.
pub fn words(text: &str, most: usize) -> Vec<Word> {
    let mut words = Vec::new();
    let mut letters: Option<usize> = None;
    let mut dense_before: Option<usize> = None;
    let mut position = 0;
    let ends = text.char_indices().chain([(text.len(), ' ')]);
    for (at, c) in ends {
        if words.len() >= most {
            break;
        }
        let class = Class::of(c);
        // A mark belongs to the letter before it.
        let class = if class == Class::Letter && is_combining_mark(c) && dense_before.is_some() {
            continue;
        } else {
            class
        };
        if class != Class::Letter
            && let Some(start) = letters.take()
        {
            words.extend(word(text, start..at, position, false));
            position += 1;
        }
        match class {
            Class::Letter => {
                letters.get_or_insert(at);
                dense_before = None;
            }
            Class::Dense => {
                let end = at + c.len_utf8();
                if let Some(start) = dense_before.replace(at) {
                    words.extend(word(text, start..end, position - 1, true));
                }
                words.extend(word(text, at..end, position, false));
                position += 1;
            }
            Class::Other => dense_before = None,
        }
    }
    words.truncate(most);
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded_words(text: &str) -> Vec<String> {
        words(text, 100).into_iter().map(|word| word.folded).collect()
    }

    #[test]
    fn spellings_that_people_mix_are_one_word() {
        for (one, other) in [
            ("milonga", "Milonga"),
            ("milonga", "milónga"),
            ("milonga", "ＭＩＬＯＮＧＡ"),
            ("São", "Sao"),
            ("São", "Sa\u{0303}o"),
            ("Пётр", "Петр"),
            ("İstanbul", "istanbul"),
            ("ISTANBUL", "ıstanbul"),
            ("straße", "STRASSE"),
            ("vidéö", "video"),
            ("œuvre", "oeuvre"),
            ("Łódź", "lodz"),
            ("ΟΔΟΣ", "οδός"),
            ("ﬁesta", "fiesta"),
            ("Ðorðe", "dorde"),
            ("ミロンガ", "ﾐﾛﾝｶﾞ"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        for (one, other) in [("мой", "мои"), ("กา", "กี"), ("か", "が"), ("milonga", "milongo")]
        {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
    }

    #[test]
    fn words_are_told_apart_and_know_where_they_stand() {
        assert_eq!(folded_words("D'Arienzo & Canaro, 22h-04h!"), ["d", "arienzo", "canaro", "22h", "04h"]);
        assert_eq!(folded_words("探戈舞"), ["探", "探戈", "戈", "戈舞", "舞"]);
        assert_eq!(folded_words("学tango吧"), ["学", "tango", "吧"]);
        let text = "¡Qué milónga!";
        let found = words(text, 10);
        let at: Vec<_> = found.iter().map(|word| &text[word.at.clone()]).collect();
        assert_eq!(at, ["Qué", "milónga"]);
        assert_eq!((found[1].exact.as_str(), found[1].folded.as_str()), ("milónga", "milonga"));
        assert_eq!(words(&"a ".repeat(50), 7).len(), 7);
    }

    proptest! {
        #[test]
        fn any_text_has_words_within_it(text in "\\PC{0,40}") {
            for word in words(&text, 100) {
                prop_assert!(text.get(word.at.clone()).is_some());
                prop_assert!(!word.folded.is_empty());
            }
        }

        #[test]
        fn folding_again_changes_nothing(text in "[a-zA-Zà-ÿА-яёЁ探戈ßİı]{0,20}") {
            let once = folded(&text);
            prop_assert_eq!(folded(&once), once);
        }
    }
}
