//! Asking the rules: several changes of one partition, decided one after the other on one read.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use mundotango_ops::traces::{TraceContext, in_scope};
use mundotango_protocol::new_id;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::engine::{Entry, MARKS, Stored, Write};
use super::outbox::Effect;
use super::part::{KnownRows, Part, Span};
use super::{Decision, Wants};
use crate::StoreError;
use crate::json::{decode, encode_over};

/// Size of the rows after which no more changes share a compare-and-set, in bytes: servers refuse batches that are too large.
const MAX_BYTES: usize = 256 * 1024;

/// A change that waits, with its result's type hidden.
pub(super) trait Waiter<F, H, R>: Send {
    fn wants(&self) -> &Wants;

    /// The caller's span, if it is recorded.
    fn trace(&self) -> Option<TraceContext>;

    /// Runs the rule and keeps what it answers.
    fn run(&mut self, part: &mut Part<'_, F, H, R>) -> Verdict;

    /// Tells the caller what came of it.
    fn settle(self: Box<Self>, end: End);
}

pub(super) type Waiting<F, H, R> = Box<dyn Waiter<F, H, R>>;

/// What a rule wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    Write,
    Delete,
}

/// What came of a change.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// What the rule answered holds.
    Answer,
    /// There is no such partition.
    Absent,
    Failed(StoreError),
}

impl End {
    fn failed(why: &str) -> Self {
        Self::Failed(StoreError::Unavailable(why.to_owned()))
    }
}

/// What a caller asked for.
pub(super) struct Asked<Rule, T, E> {
    pub(super) wants: Wants,
    pub(super) rule: Rule,
    pub(super) answer: Option<Result<T, E>>,
    pub(super) caller: oneshot::Sender<Result<Option<T>, E>>,
    /// The caller's span, which the rule is part of: another caller's task may run it.
    pub(super) trace: Option<TraceContext>,
}

impl<F, H, R, T, E, Rule> Waiter<F, H, R> for Asked<Rule, T, E>
where
    Rule: FnMut(&mut Part<'_, F, H, R>) -> Result<Decision<T>, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn wants(&self) -> &Wants {
        &self.wants
    }

    fn trace(&self) -> Option<TraceContext> {
        self.trace
    }

    fn run(&mut self, part: &mut Part<'_, F, H, R>) -> Verdict {
        let (verdict, answer) = match in_scope(self.trace, || (self.rule)(part)) {
            Ok(Decision::Stands(answer)) => (Verdict::Nothing, Ok(answer)),
            Ok(Decision::Write(answer)) => (Verdict::Write, Ok(answer)),
            Ok(Decision::Delete(answer)) => (Verdict::Delete, Ok(answer)),
            Err(refusal) => (Verdict::Nothing, Err(refusal)),
        };
        self.answer = Some(answer);
        verdict
    }

    fn settle(self: Box<Self>, end: End) {
        let outcome = match (end, self.answer) {
            (End::Answer, Some(answer)) => answer.map(Some),
            (End::Answer, None) => Err(StoreError::Unavailable("the rule did not run".to_owned()).into()),
            (End::Absent, _) => Ok(None),
            (End::Failed(error), _) => Err(error.into()),
        };
        // A caller that went away is told nothing.
        let _ = self.caller.send(outcome);
    }
}

/// A compare-and-set that was sent.
pub(super) struct Attempt {
    pub(super) version: u64,
    pub(super) mark: String,
    pub(super) write: Write,
    /// What it causes.
    pub(super) effects: Vec<Effect>,
    /// Which of the waiting changes write something by it.
    pub(super) writers: Vec<bool>,
    /// Whether it is known to be carried out, whatever fails after it.
    pub(super) is_done: bool,
    /// The error after which nobody knows whether it was carried out, if there was one.
    pub(super) unknown: Option<StoreError>,
}

/// What a partition that was read again tells of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was carried out.
    Done,
    /// It was not, and may still be.
    Open,
    /// It was not and never will be.
    Lost,
    /// So many changes came since that its mark may be gone.
    Untold,
}

impl Attempt {
    pub(super) fn fate(&self, stored: &Stored) -> Fate {
        if stored.marks.contains(&self.mark) {
            return Fate::Done;
        }
        if stored.version == self.version {
            return Fate::Open;
        }
        // A node has one change of a partition under way at a time, so its mark stays until it writes again itself: without it
        // the attempt was not carried out, unless so many other nodes wrote since that the mark had to go.
        let is_remembered = stored.marks.iter().any(|mark| writer_of(mark) == writer_of(&self.mark));
        if is_remembered || stored.marks.len() < MARKS { Fate::Lost } else { Fate::Untold }
    }
}

/// Changes that are carried out together, and those that have to wait for what comes of them.
pub(super) struct Batch<F, H, R> {
    pub(super) asked: Vec<Waiting<F, H, R>>,
    /// Those that the next compare-and-set may carry, or the one after a deletion.
    pub(super) rest: Vec<Waiting<F, H, R>>,
}

/// What the rules of a batch come to.
pub(super) enum Decided {
    /// Nothing is to be written.
    Nothing,
    Write(Box<Attempt>),
    /// Rules looked at rows that were not read.
    Missing(Wants),
}

/// A partition that rules can look at.
pub(super) struct Loaded<F, H, R> {
    facts: F,
    head: H,
    rows: KnownRows<R>,
    stored: Stored,
}

impl<F: DeserializeOwned, H: Default + DeserializeOwned, R: DeserializeOwned> Loaded<F, H, R> {
    pub(super) fn read(stored: Stored, wants: &Wants) -> Result<Self, StoreError> {
        let (facts, head) = (stored.decode_facts()?, stored.decode_head()?);
        let mut rows: BTreeMap<_, _> = wants.0.keys.iter().map(|key| (key.clone(), None)).collect();
        for (key, body) in &stored.rows {
            rows.insert(key.clone(), Some(decode(body)?));
        }
        let spans = wants.0.ranges.iter().map(|wanted| {
            let range = (Bound::Included(wanted.start.as_str()), Bound::Excluded(wanted.end.as_str()));
            let read: Vec<_> = stored.rows.range::<str, _>(range).take(wanted.limit).collect();
            let is_cut = read.len() == wanted.limit;
            let read_to = read.last().filter(|_| is_cut).map(|(key, _)| (*key).clone());
            Span { wanted: wanted.clone(), read_to }
        });
        let spans = spans.collect();
        Ok(Self { facts, head, rows: KnownRows { rows, spans }, stored })
    }
}

/// Runs the rules one after the other, each on what those before it decided. A rule that panics, or that never has the
/// rows it looks at, loses its place in the batch. What stands behind a rule that deletes has to wait, and so has what
/// would make the compare-and-set too large.
pub(super) fn decide<F, H, R>(
    loaded: &Loaded<F, H, R>,
    batch: &mut Batch<F, H, R>,
    writer: &str,
    is_last_round: bool,
) -> Result<Decided, StoreError>
where
    H: Clone + Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    let stored = &loaded.stored;
    let mut head = loaded.head.clone();
    let mut decided: BTreeMap<String, Option<R>> = BTreeMap::new();
    let mut rows: BTreeMap<String, Option<Bytes>> = BTreeMap::new();
    let (mut writers, mut entries, mut effects) = (Vec::new(), Vec::<Entry>::new(), Vec::<Effect>::new());
    let (mut missing, mut deletes, mut bytes) = (Wants::default(), false, 0);
    let mut running = std::mem::take(&mut batch.asked).into_iter();
    for mut one in running.by_ref() {
        let mut part = Part::new(&loaded.facts, head.clone(), &loaded.rows, &decided);
        let ran = catch_unwind(AssertUnwindSafe(|| one.run(&mut part)));
        if !part.missing.is_empty() && !is_last_round {
            missing.add(&part.missing);
            batch.asked.push(one);
            continue;
        }
        if !part.missing.is_empty() && !batch.asked.is_empty() {
            // What those before it decided is written first, or each of them would cost all others a round.
            batch.rest.push(one);
            break;
        }
        let verdict = match ran {
            Ok(verdict) if part.missing.is_empty() => verdict,
            Ok(_) => {
                one.settle(End::failed("a rule never has all the rows that it looks at"));
                continue;
            }
            Err(_) => {
                tracing::error!("the rule of a change panicked");
                one.settle(End::failed("the rule of the change panicked"));
                continue;
            }
        };
        if verdict == Verdict::Nothing {
            batch.asked.push(one);
            writers.push(false);
            continue;
        }
        let Part { head: new_head, written, entries: new_entries, effects: new_effects, .. } = part;
        let encoded = written.iter().map(|(key, row)| {
            let body = row.as_ref().map(|row| encode_over(stored.rows.get(key), row)).transpose()?;
            Ok((key.clone(), body))
        });
        match encoded.collect::<Result<Vec<_>, StoreError>>() {
            Ok(encoded) => {
                bytes += encoded.iter().filter_map(|(_, body)| body.as_ref()).map(Bytes::len).sum::<usize>();
                rows.extend(encoded);
            }
            Err(error) => {
                one.settle(End::Failed(error));
                continue;
            }
        }
        batch.asked.push(one);
        writers.push(true);
        head = new_head;
        decided.extend(written);
        entries.extend(new_entries);
        bytes += new_effects.iter().map(Effect::size).sum::<usize>();
        effects.extend(new_effects);
        deletes = verdict == Verdict::Delete;
        if deletes || bytes >= MAX_BYTES {
            break;
        }
    }
    batch.rest.extend(running);
    if !missing.is_empty() {
        batch.asked.append(&mut batch.rest);
        return Ok(Decided::Missing(missing));
    }
    if !writers.contains(&true) {
        return Ok(Decided::Nothing);
    }
    let mark = new_mark(writer);
    let marks = with_mark(&stored.marks, &mark);
    let write = Write {
        facts: None,
        head: Some(encode_over(stored.head.as_ref(), &head)?),
        marks,
        deletes,
        rows: if deletes { BTreeMap::new() } else { rows },
        entries,
        outbox: None,
    };
    let attempt =
        Attempt { version: stored.version, mark, write, effects, writers, is_done: false, unknown: None };
    Ok(Decided::Write(Box::new(attempt)))
}

/// The name of a compare-and-set: who sends it, and a random end.
pub(super) fn new_mark(writer: &str) -> String {
    format!("{writer}.{}", random_end())
}

/// The random end of a new id.
pub(super) fn random_end() -> String {
    let id = new_id();
    id.get(id.len().saturating_sub(8)..).unwrap_or(&id).to_owned()
}

fn writer_of(mark: &str) -> &str {
    mark.split('.').next().unwrap_or(mark)
}

/// The marks with a new one in the place of its writer's last.
fn with_mark(marks: &[String], new: &str) -> Vec<String> {
    let others: Vec<_> = marks.iter().filter(|mark| writer_of(mark) != writer_of(new)).collect();
    let kept = others.len().saturating_sub(MARKS - 1);
    others.into_iter().skip(kept).cloned().chain([new.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(version: u64, mark: &str) -> Attempt {
        let (mark, write) = (mark.to_owned(), Write::default());
        Attempt {
            version,
            mark,
            write,
            effects: Vec::new(),
            writers: Vec::new(),
            is_done: false,
            unknown: None,
        }
    }

    fn stored(version: u64, marks: &[String]) -> Stored {
        Stored { version, marks: marks.to_vec(), ..Stored::default() }
    }

    #[test]
    fn a_mark_tells_what_came_of_an_attempt_however_many_changes_others_made() {
        let mut marks = with_mark(&[], "a.1");
        let sent = attempt(1, "a.2");
        assert_eq!(sent.fate(&stored(1, &marks)), Fate::Open);
        for change in 0..100 {
            marks = with_mark(&marks, &format!("b.{change}"));
        }
        assert_eq!(sent.fate(&stored(101, &marks)), Fate::Lost);
        marks = with_mark(&marks, "a.2");
        for change in 0..100 {
            marks = with_mark(&marks, &format!("b.{change}"));
        }
        assert_eq!(sent.fate(&stored(202, &marks)), Fate::Done);
        assert_eq!(marks.len(), 2);
        for writer in 0..MARKS {
            marks = with_mark(&marks, &format!("c{writer}.1"));
        }
        assert_eq!(marks.len(), MARKS);
        assert_eq!(sent.fate(&stored(300, &marks)), Fate::Untold);
    }
}
