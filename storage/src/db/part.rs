//! What a rule sees of a partition and what it decides.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::Serialize;

use super::engine::{Entry, RangeWanted, RowsWanted};
use super::key::behind;
use super::outbox::Effect;
use crate::StoreError;

/// The rows that a rule is going to look at, so that they are read together with the head. A rule may look at other rows as
/// well: they are fetched then, and the rule runs again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants(pub(super) RowsWanted);

impl Wants {
    /// No rows: the head alone.
    pub fn head() -> Self {
        Self::default()
    }

    /// One row more.
    #[must_use]
    pub fn row(mut self, key: impl Into<String>) -> Self {
        self.0.keys.push(key.into());
        self
    }

    /// The first rows below a prefix that [`super::prefix`] made.
    #[must_use]
    pub fn first(self, prefix: &str, limit: usize) -> Self {
        self.between(prefix, &behind(prefix), limit)
    }

    /// The first rows from one key on and before another.
    #[must_use]
    pub fn between(mut self, start: &str, end: &str, limit: usize) -> Self {
        // Servers refuse to look for nothing.
        if limit == 0 {
            return self;
        }
        self.0.ranges.push(RangeWanted { start: start.to_owned(), end: end.to_owned(), limit });
        self
    }

    /// Adds what another wants.
    pub(super) fn add(&mut self, other: &Self) {
        for key in &other.0.keys {
            if !self.0.keys.contains(key) {
                self.0.keys.push(key.clone());
            }
        }
        for range in &other.0.ranges {
            let same = |known: &&mut RangeWanted| known.start == range.start && known.end == range.end;
            match self.0.ranges.iter_mut().find(same) {
                Some(known) => known.limit = known.limit.max(range.limit),
                None => self.0.ranges.push(range.clone()),
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.keys.is_empty() && self.0.ranges.is_empty()
    }
}

/// What a rule decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<T> {
    /// What is wanted holds already: nothing is written.
    Stands(T),
    /// Head and rows are written as the rule left them.
    Write(T),
    /// The partition is deleted with all its rows.
    Delete(T),
}

impl Decision<bool> {
    /// Written where the rule changed anything; answers whether it did.
    pub fn write_if(is_changed: bool) -> Self {
        if is_changed { Self::Write(true) } else { Self::Stands(false) }
    }
}

/// A range that was read, and how far.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) wanted: RangeWanted,
    /// The last key that was read, if there may be more behind it.
    pub(super) read_to: Option<String>,
}

impl Span {
    fn covers(&self, key: &str) -> bool {
        key >= self.wanted.start.as_str()
            && key < self.wanted.end.as_str()
            && self.read_to.as_ref().is_none_or(|last| key <= last.as_str())
    }
}

/// The rows that are known while the rules of one compare-and-set run.
#[derive(Debug)]
pub(super) struct KnownRows<R> {
    /// Rows by key; `None` where it is known that there is none.
    pub(super) rows: BTreeMap<String, Option<R>>,
    pub(super) spans: Vec<Span>,
}

/// A partition as a rule sees it: as it was read, with what rules before have decided in the same compare-and-set.
#[derive(Debug)]
pub struct Part<'a, F, H, R> {
    /// What was written when the partition was created.
    pub facts: &'a F,
    /// The head, to be changed.
    pub head: H,
    known: &'a KnownRows<R>,
    /// What rules before have decided in the same compare-and-set.
    decided: &'a BTreeMap<String, Option<R>>,
    pub(super) written: BTreeMap<String, Option<R>>,
    pub(super) entries: Vec<Entry>,
    pub(super) effects: Vec<Effect>,
    /// What the rule looked at and was not read.
    pub(super) missing: Wants,
}

impl<'a, F, H, R> Part<'a, F, H, R> {
    pub(super) fn new(
        facts: &'a F,
        head: H,
        known: &'a KnownRows<R>,
        decided: &'a BTreeMap<String, Option<R>>,
    ) -> Self {
        Self {
            facts,
            head,
            known,
            decided,
            written: BTreeMap::new(),
            entries: Vec::new(),
            effects: Vec::new(),
            missing: Wants::default(),
        }
    }

    /// The row of a key.
    pub fn row(&mut self, key: &str) -> Option<&R> {
        let sides = [&self.written, self.decided, &self.known.rows];
        if let Some(row) = sides.into_iter().find_map(|side| side.get(key)) {
            return row.as_ref();
        }
        if !self.known.spans.iter().any(|span| span.covers(key)) {
            self.missing.add(&Wants::default().row(key));
        }
        None
    }

    /// The first rows below a prefix that [`super::prefix`] made.
    pub fn first(&mut self, prefix: &str, limit: usize) -> Vec<(String, &R)> {
        self.between(prefix, &behind(prefix), limit)
    }

    /// The first rows from one key on and before another.
    pub fn between(&mut self, start: &str, end: &str, limit: usize) -> Vec<(String, &R)> {
        if limit == 0 {
            return Vec::new();
        }
        let known = self.known;
        // A range that was read from an earlier key on holds the rows of this one as well.
        let holds = |span: &&Span| {
            span.wanted.end == end
                && span.wanted.start.as_str() <= start
                && span.read_to.as_ref().is_none_or(|last| last.as_str() >= start)
        };
        let Some(span) = known.spans.iter().filter(holds).max_by_key(|span| &span.wanted.start) else {
            self.missing.add(&Wants::default().between(start, end, limit));
            return Vec::new();
        };
        let range = (Bound::Included(start), Bound::Excluded(end));
        let mut rows: BTreeMap<&String, Option<&R>> = BTreeMap::new();
        for side in [&known.rows, self.decided, &self.written] {
            rows.extend(side.range::<str, _>(range).map(|(key, row)| (key, row.as_ref())));
        }
        // Behind the last key that was read there may be rows that nobody knows of.
        let live = rows.into_iter().filter(|(key, _)| span.read_to.as_ref().is_none_or(|last| *key <= last));
        let first: Vec<_> = live.filter_map(|(key, row)| Some((key.clone(), row?))).take(limit).collect();
        if first.len() < limit && span.read_to.is_some() {
            let more = span.wanted.limit.saturating_add(limit).saturating_mul(2);
            self.missing.add(&Wants::default().between(&span.wanted.start, end, more));
        }
        first
    }

    /// Puts a row in the place of a key's.
    pub fn set(&mut self, key: impl Into<String>, row: R) {
        self.written.insert(key.into(), Some(row));
    }

    /// Removes the row of a key.
    pub fn remove(&mut self, key: impl Into<String>) {
        self.written.insert(key.into(), None);
    }

    /// Whether the rule looked at something that was not read. It runs again when that is read, and whatever it decides now
    /// is not carried out.
    pub fn is_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Adds an entry that leads here. It is written before the change, and stays if the change then fails: readers leave
    /// out entries that lead nowhere.
    pub fn enter(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Adds something that has to happen if the change does. It is written with the change and carried out after it, at
    /// least once.
    pub fn emit(&mut self, effect: &impl Serialize) -> Result<(), StoreError> {
        self.effects.push(Effect::new(effect)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::prefix;
    use super::*;

    fn known(rows: &[(&str, u8)], wants: &Wants, read_to: Option<&str>) -> KnownRows<u8> {
        KnownRows {
            rows: rows.iter().map(|(key, row)| ((*key).to_owned(), Some(*row))).collect(),
            spans: wants
                .0
                .ranges
                .iter()
                .map(|wanted| Span { wanted: wanted.clone(), read_to: read_to.map(str::to_owned) })
                .collect(),
        }
    }

    #[test]
    fn a_row_that_was_not_read_is_missing_and_one_that_is_not_there_is_not() {
        let wants = Wants::head().first(&prefix(&["w"]), 2);
        let rows = known(&[("w/1", 1)], &wants, None);
        let none = BTreeMap::new();
        let mut part = Part::new(&(), (), &rows, &none);
        assert_eq!(part.row("w/1"), Some(&1));
        assert_eq!(part.row("w/2"), None);
        assert!(part.missing.is_empty(), "the whole range was read");
        assert_eq!(part.row("a/1"), None);
        assert_eq!(part.missing, Wants::head().row("a/1"));
    }

    #[test]
    fn the_first_rows_are_those_that_the_rule_left() {
        let below = prefix(&["w"]);
        let wants = Wants::head().first(&below, 2);
        let rows = known(&[("w/1", 1), ("w/2", 2)], &wants, Some("w/2"));
        let none = BTreeMap::new();
        let mut part = Part::new(&(), (), &rows, &none);
        assert_eq!(part.first(&below, 2), [("w/1".to_owned(), &1), ("w/2".to_owned(), &2)]);
        part.remove("w/1");
        part.set("w/3", 3);
        // There may be rows between the second and the one that was put.
        assert_eq!(part.first(&below, 2), [("w/2".to_owned(), &2)]);
        assert!(part.missing.0.ranges[0].limit > 2);
    }
}
