//! What is searched for: words and phrases, so few that no search is expensive.

use super::fold::{Word, words};

/// Most words of a search, those of phrases among them; more are left out.
pub const MOST_WORDS: usize = 10;
/// Fewest letters of a word in which one may be wrong.
const LETTERS_FOR_ONE: usize = 4;
/// Fewest letters of a word in which two may be wrong.
const LETTERS_FOR_TWO: usize = 8;

/// A part of a search, which has to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A word, or the beginning of one in a title.
    Word(Word),
    /// Words one after the other.
    Phrase(Vec<Word>),
}

/// What is searched for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    parts: Vec<Part>,
}

/// How many letters of a word may be wrong, where what is spelled so is hardly found.
pub fn wrong_letters(word: &str) -> u8 {
    match word.chars().count() {
        count if count >= LETTERS_FOR_TWO => 2,
        count if count >= LETTERS_FOR_ONE => 1,
        _ => 0,
    }
}

impl Search {
    /// Reads what a person types: words, and phrases in double quotes. Nothing of it is an operator.
    pub fn of(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut left = MOST_WORDS;
        for (number, piece) in text.split(['"', '“', '”', '„', '«', '»']).enumerate() {
            let is_quoted = number % 2 == 1;
            let found = words(piece, 4 * MOST_WORDS);
            let runs = if is_quoted { vec![phrase_of(found)] } else { runs(found) };
            for run in runs {
                let run: Vec<_> = run.into_iter().take(left).collect();
                left -= run.len();
                parts.extend(part(run));
            }
        }
        Self { parts }
    }

    /// What has to be found.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether nothing is searched for.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// All its words.
    pub fn words(&self) -> impl Iterator<Item = &Word> {
        self.parts.iter().flat_map(|part| match part {
            Part::Word(word) => std::slice::from_ref(word),
            Part::Phrase(words) => words.as_slice(),
        })
    }
}

fn part(mut run: Vec<Word>) -> Option<Part> {
    match run.len() {
        0 => None,
        1 => run.pop().map(Part::Word),
        _ => Some(Part::Phrase(run)),
    }
}

/// A phrase of words: of letters without spaces between them the pairs alone, which tell their order.
fn phrase_of(found: Vec<Word>) -> Vec<Word> {
    let covered: Vec<_> = found.iter().filter(|word| word.is_pair).map(|word| word.at.clone()).collect();
    let is_covered =
        |word: &Word| covered.iter().any(|pair| pair.start <= word.at.start && word.at.end <= pair.end);
    found.into_iter().filter(|word| word.is_pair || !is_covered(word)).collect()
}

/// Words each alone, and letters without spaces between them as the phrase of their pairs.
fn runs(found: Vec<Word>) -> Vec<Vec<Word>> {
    let mut runs: Vec<Vec<Word>> = Vec::new();
    for word in phrase_of(found) {
        match runs.last_mut() {
            Some(run)
                if word.is_pair
                    && run.last().is_some_and(|last| last.is_pair && word.at.start < last.at.end) =>
            {
                run.push(word);
            }
            _ => runs.push(vec![word]),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> Vec<String> {
        let parts = Search::of(text).parts;
        let told = parts.iter().map(|part| match part {
            Part::Word(word) => word.folded.clone(),
            Part::Phrase(words) => {
                let words: Vec<_> = words.iter().map(|word| word.folded.as_str()).collect();
                format!("\"{}\"", words.join(" "))
            }
        });
        told.collect()
    }

    #[test]
    fn words_and_phrases_are_read_and_nothing_is_an_operator() {
        assert_eq!(told("Milónga AND -villa*"), ["milonga", "and", "villa"]);
        assert_eq!(told(r#"live "La Juan d'Arienzo" berlin"#), ["live", "\"la juan d arienzo\"", "berlin"]);
        assert_eq!(told("«salón canning»"), ["\"salon canning\""]);
        assert_eq!(told("探"), ["探"]);
        assert_eq!(told("探戈"), ["探戈"]);
        assert_eq!(told("探戈舞 tango"), ["\"探戈 戈舞\"", "tango"]);
        assert_eq!(told("\"milonga\""), ["milonga"]);
        for empty in ["", "\"\"", "!!! ---", "🎉"] {
            assert!(Search::of(empty).is_empty(), "{empty}");
        }
    }

    #[test]
    fn longer_words_may_be_spelled_wrong() {
        assert_eq!(["van", "tango", "milonga", "milongas", "Пётр"].map(wrong_letters), [0, 1, 1, 2, 1]);
    }

    proptest! {
        #[test]
        fn no_search_has_more_words_than_it_may(text in "\\PC{0,200}") {
            prop_assert!(Search::of(&text).words().count() <= MOST_WORDS);
        }
    }
}
