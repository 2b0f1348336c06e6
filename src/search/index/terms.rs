//! Terms and queries of the index: how words, audiences and threads are written there.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use mundotango_storage::db::shard_of;
use tantivy::query::{
    Bm25StatisticsProvider, BooleanQuery, BoostQuery, ConstScoreQuery, FuzzyTermQuery, PhraseQuery, Query,
    TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::tokenizer::{PreTokenizedString, Token};
use tantivy::{Searcher, Term};

use crate::search::document::Audience;
use crate::search::filter::SeenThread;
use crate::search::fold::Word;
use crate::search::query::{Part, wrong_letters};

/// Longest beginning of a word that is indexed, in letters.
pub(super) const LONGEST_BEGINNING: usize = 12;

/// By what a thing's document is found.
pub(super) fn key_of(kind: &str, id: &str) -> String {
    format!("{kind}:{id}")
}

/// The audience of what everybody finds.
pub(super) const EVERYBODY: &str = "all";

/// The audience of what one user finds.
pub(super) fn only(user: &str) -> String {
    format!("only:{user}")
}

/// An audience of all that is said in threads, by which it is counted.
const IN_A_THREAD: &str = "thread";

/// The audience of what a user's friends find.
pub(super) fn friends_of(user: &str) -> String {
    format!("friends:{user}")
}

/// The audience of what is said in a thread.
pub(super) fn in_thread(thread: &str) -> String {
    format!("thread:{thread}")
}

pub(super) fn audiences(audience: &Audience) -> Vec<String> {
    match audience {
        Audience::Everybody => vec![EVERYBODY.to_owned()],
        Audience::Only(user) => vec![only(user)],
        Audience::FriendsOf(user) => vec![only(user), friends_of(user)],
        Audience::InThread { thread, .. } => vec![in_thread(thread), IN_A_THREAD.to_owned()],
    }
}

/// The beginnings of a word, the word itself among them if it is not too long.
pub(super) fn beginnings(word: &str) -> Vec<String> {
    let ends = word.char_indices().skip(1).map(|(at, _)| at).chain([word.len()]).take(LONGEST_BEGINNING);
    ends.filter_map(|end| word.get(..end)).map(str::to_owned).collect()
}

pub(super) fn pre_tokenized(tokens: Vec<(String, usize)>) -> PreTokenizedString {
    let token = |(text, position)| Token { position, text, ..Token::default() };
    PreTokenizedString { text: String::new(), tokens: tokens.into_iter().map(token).collect() }
}

pub(super) fn term(field: Field, text: &str, record: IndexRecordOption) -> Box<dyn Query> {
    Box::new(TermQuery::new(Term::from_field_text(field, text), record))
}

pub(super) fn phrase(field: Field, words: &[Word]) -> Box<dyn Query> {
    let first = words.first().map_or(0, |word| word.position);
    let terms = words
        .iter()
        .map(|word| (word.position.saturating_sub(first), Term::from_field_text(field, &word.folded)));
    Box::new(PhraseQuery::new_with_offset(terms.collect()))
}

pub(super) fn weighed(query: Box<dyn Query>, weight: f32) -> Box<dyn Query> {
    Box::new(BoostQuery::new(query, weight))
}

pub(super) fn any(ways: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    Box::new(BooleanQuery::union(ways))
}

/// Finds a part in what is said in threads. All that has it fits alike.
pub(super) fn said(field: Field, part: &Part, misspelt: bool) -> Box<dyn Query> {
    let found = match part {
        Part::Phrase(words) => phrase(field, words),
        Part::Word(word) => {
            let mut ways = vec![term(field, &word.folded, IndexRecordOption::Basic)];
            let wrong = wrong_letters(&word.folded);
            if misspelt && wrong > 0 {
                let near = Term::from_field_text(field, &word.folded);
                ways.push(Box::new(FuzzyTermQuery::new(near, wrong, true)));
            }
            any(ways)
        }
    };
    Box::new(ConstScoreQuery::new(found, 0.0))
}

/// How a thread is written where words would take too long to compare. Two of one code would only be looked at once more.
pub(super) fn code_of(thread: &str) -> u64 {
    shard_of(thread, u64::MAX)
}

/// The numbers that somebody sees of each thread, by its code.
pub(super) type Seen = HashMap<u64, Vec<RangeInclusive<u64>>>;

pub(super) fn seen_by_code(threads: &[SeenThread]) -> Seen {
    threads.iter().map(|thread| (code_of(&thread.id), thread.seen.clone())).collect()
}

pub(super) fn is_seen(seen: &Seen, thread: u64, number: u64) -> bool {
    seen.get(&thread).is_some_and(|ranges| ranges.iter().any(|range| range.contains(&number)))
}

/// What is counted to weigh words: as if nothing were said in threads, which have other fields for their words.
pub(super) struct WithoutThreads<'a> {
    searcher: &'a Searcher,
    in_threads: Term,
}

impl<'a> WithoutThreads<'a> {
    pub(super) fn new(searcher: &'a Searcher, audience: Field) -> Self {
        Self { searcher, in_threads: Term::from_field_text(audience, IN_A_THREAD) }
    }
}

impl Bm25StatisticsProvider for WithoutThreads<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        self.searcher.total_num_tokens(field)
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        // Both count what is deleted and not yet merged away.
        let in_threads = self.searcher.doc_freq(&self.in_threads)?;
        Ok(self.searcher.total_num_docs()?.saturating_sub(in_threads))
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        self.searcher.doc_freq(term)
    }
}
