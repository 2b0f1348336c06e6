//! Where in a text it says what was searched for.

use std::ops::Range;

use super::fold::{Word, words};
use super::query::{Search, wrong_letters};

/// Most words of a text that are looked at.
const MOST_WORDS: usize = 2_000;
/// Most ranges of one text.
const MOST_MARKS: usize = 20;

/// The ranges of a text in which searched words stand, in UTF-16 code units. With `by_beginnings`, words that begin with a
/// searched word are among them, and with `misspelt` those that are spelled otherwise.
pub fn marks(text: &str, search: &Search, by_beginnings: bool, misspelt: bool) -> Vec<Range<usize>> {
    let is_meant = |word: &Word| {
        search.words().any(|wanted| {
            let (word, wanted) = (word.folded.as_str(), wanted.folded.as_str());
            word == wanted
                || (by_beginnings && word.starts_with(wanted))
                || (misspelt && is_near(word, wanted))
        })
    };
    let mut marks: Vec<Range<usize>> = Vec::new();
    for word in words(text, MOST_WORDS).iter().filter(|word| is_meant(word)) {
        // Pairs of letters overlap with the letters beside them.
        if let Some(last) = marks.last_mut()
            && word.at.start <= last.end
        {
            last.end = last.end.max(word.at.end);
        } else if marks.len() < MOST_MARKS {
            marks.push(word.at.clone());
        } else {
            break;
        }
    }
    let units = |end: usize| text.get(..end).map_or(0, |before| before.encode_utf16().count());
    marks.into_iter().map(|mark| units(mark.start)..units(mark.end)).collect()
}

fn is_near(word: &str, wanted: &str) -> bool {
    let wrong = usize::from(wrong_letters(wanted));
    let differ = word.chars().count().abs_diff(wanted.chars().count());
    wrong > 0 && differ <= wrong && strsim::osa_distance(word, wanted) <= wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str, search: &str, by_beginnings: bool, misspelt: bool) -> Vec<String> {
        let units: Vec<_> = text.encode_utf16().collect();
        let marks = marks(text, &Search::of(search), by_beginnings, misspelt);
        marks.into_iter().map(|mark| String::from_utf16(&units[mark]).unwrap()).collect()
    }

    #[test]
    fn marks_are_of_the_text_as_it_was_written() {
        for (text, search, marks) in [
            ("¡La Milónga del Sur! 🎉 milonga", "milonga", &["Milónga", "milonga"][..]),
            ("今晚探戈舞会", "探戈舞", &["探戈舞"]),
            ("🎉🎉 Straße", "strasse", &["Straße"]),
            ("Nada", "milonga", &[]),
        ] {
            assert_eq!(marked(text, search, false, false), marks, "{text}");
        }
        assert_eq!(marked("Milonguero", "milon", true, false), ["Milonguero"]);
        assert_eq!(marked("Milonga", "milnoga", false, true), ["Milonga"]);
        assert!(marked("Milonguero Milonga", "milo milnoga", false, false).is_empty());
        assert_eq!(marked(&"tango, ".repeat(100), "tango", false, false).len(), MOST_MARKS);
    }
}
