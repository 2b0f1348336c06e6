//! The index itself: tantivy on a folder, or in memory.
//!
//! No text is kept in it, only words: what is shown is read from the store. A thing has one document, under its kind and id, in
//! a field that is indexed as it is: that is what a deletion finds it by.
//!
//! What is said in threads lies in a field of its own, and is ordered by time alone: neither how often a word is said there nor how
//! many words there are changes what a search for other things finds, in which order, and how long that takes.

use std::cmp::Reverse;
use std::fs;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tantivy::collector::TopDocs;
use tantivy::directory::MmapDirectory;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::query::{BooleanQuery, ConstScoreQuery, FuzzyTermQuery, Occur, Query, RangeQuery, TermSetQuery};
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::{
    DocId, Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, Score, SegmentReader,
    TantivyDocument, Term,
};

use self::terms::{
    EVERYBODY, LONGEST_BEGINNING, WithoutThreads, any, audiences, beginnings, code_of, friends_of, in_thread,
    is_seen, key_of, only, phrase, pre_tokenized, said, seen_by_code, term, weighed,
};
use super::document::{Audience, Document, MOST_OF_TEXT, MOST_OF_TITLE, MOST_PLACES};
use super::filter::Filter;
use super::fold::{Word, folded, words};
use super::query::{Part, Search, wrong_letters};

/// Rises when documents are made otherwise: an index of another number is made anew.
const LAYOUT: u32 = 2;
/// Words between two texts of one field, so that no phrase reaches from one into the other.
const GAP: usize = 10;
/// Segments with so many deleted documents of a hundred are written anew: what was deleted is gone from the disk then.
const DELETED_BEFORE_MERGE: f32 = 0.1;
/// Weight of a word in a title, against 1 in a text.
const IN_TITLE: f32 = 3.0;
/// Weight of a word that is spelled alike with its accents.
const WITH_ACCENTS: f32 = 1.5;
/// Weight of the beginning of a word in a title.
const BEGINNING: f32 = 0.7;
/// Weight of a word that is spelled otherwise.
const MISSPELT: f32 = 0.3;
/// What remains of the weight of a thing that is over.
const OVER: f32 = 0.5;
/// The score of what is said in a thread and not seen by who searches: less than any other, so that it takes nobody's place.
const UNSEEN: f32 = -1.0;

/// How far an index has followed the changes, kept with each commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub(super) layout: u32,
    /// All entries of the log up to this key are in the index.
    pub cursor: String,
    /// Whether it holds all things, or is being made.
    pub is_complete: bool,
    /// When what was deleted was last taken off the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged_at: Option<Timestamp>,
}

impl Progress {
    /// Progress of an index of this build.
    pub fn new(cursor: String, is_complete: bool) -> Self {
        Self { layout: LAYOUT, cursor, is_complete, purged_at: None }
    }
}

/// What is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The name of its kind.
    pub kind: String,
    /// Its id.
    pub id: String,
}

#[derive(Clone, Copy, Debug)]
struct FieldsOf {
    id: Field,
    kind: Field,
    audience: Field,
    place: Field,
    exact: Field,
    title: Field,
    text: Field,
    beginnings: Field,
    said: Field,
    at: Field,
    over: Field,
    time: Field,
    thread: Field,
    number: Field,
    part_of: Field,
}

fn schema() -> (Schema, FieldsOf) {
    let mut schema = Schema::builder();
    let words = |record| {
        TextOptions::default()
            .set_indexing_options(TextFieldIndexing::default().set_tokenizer("raw").set_index_option(record))
    };
    let fields = FieldsOf {
        id: schema.add_text_field("id", STRING | FAST),
        kind: schema.add_text_field("kind", STRING),
        audience: schema.add_text_field("audience", STRING),
        place: schema.add_text_field("place", STRING),
        exact: schema.add_text_field("exact", words(IndexRecordOption::WithFreqs)),
        title: schema.add_text_field("title", words(IndexRecordOption::WithFreqsAndPositions)),
        text: schema.add_text_field("text", words(IndexRecordOption::WithFreqsAndPositions)),
        beginnings: schema.add_text_field("beginnings", words(IndexRecordOption::Basic)),
        said: schema.add_text_field("said", words(IndexRecordOption::WithFreqsAndPositions)),
        at: schema.add_i64_field("at", FAST),
        over: schema.add_i64_field("over", FAST),
        time: schema.add_i64_field("time", FAST | INDEXED),
        thread: schema.add_u64_field("thread", FAST),
        number: schema.add_u64_field("number", FAST),
        part_of: schema.add_text_field("part_of", STRING),
    };
    (schema.build(), fields)
}

/// An index of things.
pub struct WordIndex {
    fields: FieldsOf,
    index: Index,
    reader: IndexReader,
    /// `None` after it failed and until it is made anew.
    writer: Mutex<Option<IndexWriter>>,
    memory: usize,
}

/// Why an index cannot be used.
pub type IndexError = tantivy::TantivyError;

impl WordIndex {
    /// Opens the index of a folder, or makes one there; without a folder, one in memory. What cannot be read, or is of another
    /// layout, is removed: everything in it is in the store. `memory` is what the writer may take, in bytes.
    pub fn open(folder: Option<&Path>, memory: usize) -> Result<(Self, Option<Progress>), IndexError> {
        let (schema, fields) = schema();
        let Some(folder) = folder else {
            return Self::on(Index::create_in_ram(schema), fields, memory).map(|made| (made, None));
        };
        let open = || -> Result<(Self, Progress), IndexError> {
            let index = Index::open(MmapDirectory::open(folder)?)?;
            let progress = progress_of(&index)?.filter(|progress| progress.layout == LAYOUT);
            let progress = progress.filter(|_| index.schema() == schema).ok_or_else(|| {
                IndexError::InvalidArgument("it is of another layout, or was never whole".to_owned())
            })?;
            Ok((Self::on(index, fields, memory)?, progress))
        };
        let is_there = folder.join("meta.json").exists();
        match open() {
            Ok((index, progress)) => return Ok((index, Some(progress))),
            // Another node works on it: its files are not to be touched.
            Err(error @ IndexError::LockFailure(..)) => return Err(error),
            Err(error) if is_there => {
                tracing::warn!(%error, folder = %folder.display(), "the search index is made anew");
            }
            Err(_) => {}
        }
        // What is no index was put there by somebody, who would miss it.
        let is_empty = fs::read_dir(folder).map_or(true, |mut files| files.next().is_none());
        if !is_there && !is_empty {
            return Err(IndexError::InvalidArgument("the folder holds something else".to_owned()));
        }
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let directory = MmapDirectory::open(folder)?;
        let index = Index::create(directory, schema, IndexSettings::default())?;
        Self::on(index, fields, memory).map(|made| (made, None))
    }

    fn on(index: Index, fields: FieldsOf, memory: usize) -> Result<Self, IndexError> {
        let writer = Mutex::new(Some(writer_of(&index, memory)?));
        // Without threads of its own: it is loaded when something was committed.
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self { fields, index, reader, writer, memory })
    }

    /// Goes back to what was committed last, after something failed; how far that goes.
    pub fn renew(&self) -> Result<Option<Progress>, IndexError> {
        let mut writer = self.writer.lock();
        // The one before holds the lock of the folder.
        drop(writer.take());
        *writer = Some(writer_of(&self.index, self.memory)?);
        progress_of(&self.index)
    }

    fn with_writer<T>(
        &self,
        work: impl FnOnce(&mut IndexWriter) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        match self.writer.lock().as_mut() {
            Some(writer) => work(writer),
            None => Err(IndexError::SystemError("the index has no writer".to_owned())),
        }
    }

    /// Puts documents in the place of those that these things had, or nothing.
    pub fn put(&self, kind: &str, documents: &[(String, Option<Document>)]) -> Result<(), IndexError> {
        self.with_writer(|writer| {
            for (id, document) in documents {
                let key = key_of(kind, id);
                writer.delete_term(Term::from_field_text(self.fields.id, &key));
                match document {
                    Some(document) => {
                        writer.add_document(self.document(kind, &key, document))?;
                    }
                    None => {
                        writer.delete_term(Term::from_field_text(self.fields.part_of, &key));
                    }
                }
            }
            Ok(())
        })
    }

    /// Forgets all things.
    pub fn clear(&self) -> Result<(), IndexError> {
        self.with_writer(|writer| writer.delete_all_documents().map(drop))
    }

    /// Writes down what was put, together with how far it goes, and searches in it from now on.
    pub fn commit(&self, progress: &Progress) -> Result<(), IndexError> {
        let payload = serde_json::to_string(progress)
            .map_err(|error| IndexError::InvalidArgument(error.to_string()))?;
        self.with_writer(|writer| {
            let mut commit = writer.prepare_commit()?;
            commit.set_payload(&payload);
            commit.commit().map(drop)
        })?;
        self.reader.reload()
    }

    /// Writes every segment anew in which something was deleted, so that its words are gone from the disk. Blocks until then.
    pub fn purge(&self) -> Result<usize, IndexError> {
        let segments = self.index.searchable_segment_metas()?;
        let mut purged = 0;
        for segment in segments.iter().filter(|segment| segment.has_deletes()) {
            // One that is merged by now is no longer there.
            let merging = self.with_writer(|writer| Ok(writer.merge(&[segment.id()])))?;
            match merging.wait() {
                Ok(_) => purged += 1,
                Err(error) => tracing::debug!(%error, "a segment was merged meanwhile"),
            }
        }
        if purged > 0 {
            self.reader.reload()?;
        }
        let collecting = self.with_writer(|writer| Ok(writer.garbage_collect_files()))?;
        collecting.wait()?;
        Ok(purged)
    }

    /// How many things it holds.
    pub fn count(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    fn document(&self, kind: &str, key: &str, document: &Document) -> TantivyDocument {
        let fields = &self.fields;
        let mut made = TantivyDocument::new();
        made.add_text(fields.id, key);
        made.add_text(fields.kind, kind);
        for audience in audiences(&document.audience) {
            made.add_text(fields.audience, audience);
        }
        made.add_i64(fields.at, document.at.as_millisecond());
        if let Some(over_at) = document.over_at {
            made.add_i64(fields.over, over_at.as_millisecond());
        }
        if let Some((kind, id)) = &document.part_of {
            made.add_text(fields.part_of, key_of(kind, id));
        }
        if document.has_time {
            made.add_i64(fields.time, document.at.as_millisecond());
        }
        let spelled = |words: Vec<Word>| words.into_iter().map(|word| (word.folded, word.position)).collect();
        if let Audience::InThread { thread, number } = &document.audience {
            made.add_u64(fields.thread, code_of(thread));
            made.add_u64(fields.number, *number);
            let text = pre_tokenized(spelled(words(&document.text, MOST_OF_TEXT)));
            made.add_pre_tokenized_text(fields.said, text);
            return made;
        }
        let places = || document.places.iter().take(MOST_PLACES);
        for place in places() {
            made.add_text(fields.place, folded(place));
        }
        let title = words(&document.title, MOST_OF_TITLE);
        let mut text = words(&document.text, MOST_OF_TEXT);
        for place in places() {
            let start = text.last().map_or(0, |word| word.position + GAP);
            let shifted = words(place, MOST_OF_TITLE).into_iter();
            text.extend(shifted.map(|word| Word { position: word.position + start, ..word }));
        }
        let accents = title.iter().chain(&text).filter(|word| word.exact != word.folded);
        let accents: Vec<_> = accents.map(|word| (word.exact.clone(), word.position)).collect();
        let beginnings: Vec<_> =
            title.iter().flat_map(|word| beginnings(&word.folded)).map(|part| (part, 0)).collect();
        for (field, tokens) in [
            (fields.exact, accents),
            (fields.beginnings, beginnings),
            (fields.title, spelled(title)),
            (fields.text, spelled(text)),
        ] {
            made.add_pre_tokenized_text(field, pre_tokenized(tokens));
        }
        made
    }

    /// The things that fit best, at most so many. With `misspelt`, words are found also where some letters are wrong.
    pub fn find(
        &self,
        search: &Search,
        filter: &Filter,
        misspelt: bool,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<Hit>, IndexError> {
        let is_nowhere = filter.threads.as_ref().is_some_and(Vec::is_empty);
        if search.is_empty() || most == 0 || is_nowhere {
            return Ok(Vec::new());
        }
        let seen = filter.threads.as_deref().map(|threads| Arc::new(seen_by_code(threads)));
        let of_part = |part: &Part| match &seen {
            Some(_) => said(self.fields.said, part, misspelt),
            None => self.part(part, misspelt),
        };
        let mut parts: Vec<_> = search.parts().iter().map(|part| (Occur::Must, of_part(part))).collect();
        parts.extend(self.narrowed(filter).into_iter().map(|query| (Occur::Must, query)));
        let searcher = self.reader.searcher();
        let now = now.as_millisecond();
        // Ranked as they are looked at: what is over must not take the places of what is to come.
        let rank = move |segment: &SegmentReader| {
            let columns = segment.fast_fields();
            let (over, at) = (columns.i64("over").ok(), columns.i64("at").ok());
            let (thread, number) = (columns.u64("thread").ok(), columns.u64("number").ok());
            let seen = seen.clone();
            move |document: DocId, score: Score| {
                let over = over.as_ref().and_then(|over| over.first(document));
                let at = at.as_ref().and_then(|at| at.first(document)).unwrap_or_default();
                let is_unseen = seen.as_ref().is_some_and(|seen| {
                    let thread = thread.as_ref().and_then(|thread| thread.first(document));
                    let number = number.as_ref().and_then(|number| number.first(document));
                    !thread.zip(number).is_some_and(|(thread, number)| is_seen(seen, thread, number))
                });
                let score = match over {
                    _ if is_unseen => UNSEEN,
                    Some(over) if over <= now => score * OVER,
                    _ => score,
                };
                (score, Reverse(at.abs_diff(now)))
            }
        };
        let (query, best) = (BooleanQuery::new(parts), TopDocs::with_limit(most).tweak_score(rank));
        let found = if filter.threads.is_some() {
            searcher.search(&query, &best)?
        } else {
            let counted = WithoutThreads::new(&searcher, self.fields.audience);
            searcher.search_with_statistics_provider(&query, &best, &counted)?
        };
        let mut hits = Vec::with_capacity(found.len());
        for ((score, Reverse(away)), address) in found.into_iter().filter(|((score, _), _)| *score >= 0.0) {
            let segment = searcher.segment_reader(address.segment_ord);
            hits.extend(told(segment, address.doc_id)?.map(|hit| (score, away, hit)));
        }
        // Things that fit alike stand in the same order on every node: what was said last, and what is next.
        hits.sort_by(|one, other| {
            let by_score = other.0.total_cmp(&one.0);
            by_score.then(one.1.cmp(&other.1)).then_with(|| other.2.id.cmp(&one.2.id))
        });
        Ok(hits.into_iter().map(|(_, _, hit)| hit).collect())
    }

    fn narrowed(&self, filter: &Filter) -> Vec<Box<dyn Query>> {
        let fields = &self.fields;
        let audiences: Vec<String> = if let Some(threads) = &filter.threads {
            threads.iter().map(|thread| in_thread(&thread.id)).collect()
        } else {
            let friends = filter.friends.iter().map(|friend| friends_of(friend));
            [EVERYBODY.to_owned(), only(&filter.viewer)].into_iter().chain(friends).collect()
        };
        let audiences = audiences.iter().map(|audience| Term::from_field_text(fields.audience, audience));
        let mut narrowed: Vec<Box<dyn Query>> = vec![Box::new(TermSetQuery::new(audiences))];
        if !filter.kinds.is_empty() {
            let kinds = filter.kinds.iter().map(|kind| Term::from_field_text(fields.kind, kind));
            narrowed.push(Box::new(TermSetQuery::new(kinds)));
        }
        if let Some(place) = &filter.place {
            narrowed.push(term(fields.place, &folded(place), IndexRecordOption::Basic));
        }
        if filter.from.is_some() || filter.to.is_some() {
            let time = |time: Timestamp| Term::from_field_i64(fields.time, time.as_millisecond());
            let from = filter.from.map_or(Bound::Unbounded, |from| Bound::Included(time(from)));
            let to = filter.to.map_or(Bound::Unbounded, |to| Bound::Excluded(time(to)));
            narrowed.push(Box::new(RangeQuery::new(from, to)));
        }
        // They choose, and do not weigh.
        narrowed
            .into_iter()
            .map(|query| Box::new(ConstScoreQuery::new(query, 0.0)) as Box<dyn Query>)
            .collect()
    }

    fn part(&self, part: &Part, misspelt: bool) -> Box<dyn Query> {
        let fields = &self.fields;
        let word = match part {
            Part::Word(word) => word,
            Part::Phrase(words) => {
                let phrase = |field| phrase(field, words);
                return any(vec![weighed(phrase(fields.title), IN_TITLE), phrase(fields.text)]);
            }
        };
        let spelled = &word.folded;
        let with_freqs = IndexRecordOption::WithFreqs;
        let mut ways = vec![
            weighed(term(fields.title, spelled, with_freqs), IN_TITLE),
            term(fields.text, spelled, with_freqs),
        ];
        if word.exact != word.folded {
            ways.push(weighed(term(fields.exact, &word.exact, with_freqs), WITH_ACCENTS));
        }
        if spelled.chars().count() <= LONGEST_BEGINNING {
            ways.push(weighed(term(fields.beginnings, spelled, IndexRecordOption::Basic), BEGINNING));
        }
        let wrong = wrong_letters(spelled);
        if misspelt && wrong > 0 {
            for field in [fields.title, fields.text] {
                let near = FuzzyTermQuery::new(Term::from_field_text(field, spelled), wrong, true);
                ways.push(weighed(Box::new(near), MISSPELT));
            }
        }
        any(ways)
    }
}

fn writer_of(index: &Index, memory: usize) -> Result<IndexWriter, IndexError> {
    let options = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(memory)
        .build();
    let writer: IndexWriter = index.writer_with_options(options)?;
    let mut policy = LogMergePolicy::default();
    policy.set_del_docs_ratio_before_merge(DELETED_BEFORE_MERGE);
    writer.set_merge_policy(Box::new(policy));
    Ok(writer)
}

/// What a document tells: which thing it is of, how far from now that is in milliseconds, and whether it is over.
fn told(segment: &SegmentReader, document: DocId) -> Result<Option<Hit>, IndexError> {
    let columns = segment.fast_fields();
    let Some(ids) = columns.str("id")? else { return Ok(None) };
    let Some(ord) = ids.ords().first(document) else { return Ok(None) };
    let mut key = String::new();
    ids.ord_to_str(ord, &mut key)?;
    let Some((kind, id)) = key.split_once(':') else { return Ok(None) };
    Ok(Some(Hit { kind: kind.to_owned(), id: id.to_owned() }))
}

fn progress_of(index: &Index) -> Result<Option<Progress>, IndexError> {
    let payload = index.load_metas()?.payload;
    Ok(payload.and_then(|payload| serde_json::from_str(&payload).ok()))
}

mod terms;
#[cfg(test)]
mod tests;
