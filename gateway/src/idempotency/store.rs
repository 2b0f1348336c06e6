//! Requests with an idempotency key, as they are kept: who runs one, which id it makes, and what came of it.

use std::time::Duration;

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Erasure, Export, Fields, Kind, Part, Wants, Whose};
use serde::{Deserialize, Serialize};

/// How long an answer is repeated after it was given.
const KEPT: Duration = Duration::from_hours(24);

/// The requests, by user, route and key. All of a record is its head, which one write renews as a whole.
pub static IDEMPOTENCY_KEYS: Kind<(), Record, ()> =
    Kind::new("idempotency_keys", "a key: 1 row of 130 KB", PERSONAL).implicit().ttl(KEPT);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Named,
        Export::NotGiven("it is a copy of an answer"),
        Erasure::Kept("24 hours, by its time to live"),
        &["id", "head.fingerprint", "head.id", "head.answer.**"],
    ),
    Fields::of_nobody(&["head.runs", "head.run.**"]),
];

/// A request with a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// A MAC of the request, by which another one with the same key is noticed; none before the first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// The id of what the request makes: the same however often it runs.
    #[serde(default)]
    id: String,
    /// How often it ran since nothing can have been made.
    #[serde(default)]
    runs: u32,
    /// Who runs the request now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
}

/// One run of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Its own name.
    pub(super) name: String,
    /// The node that runs it.
    pub(super) node: String,
    /// When it began.
    pub(super) since: Timestamp,
}

/// An answer that is repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(super) status: u16,
    /// Those headers that are the route's own.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// What a request with a key is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Run, and make what it makes with this id.
    Run(String),
    /// Give the answer that was given before.
    Repeat(Answer),
    /// Wait: another one runs.
    Running(Run),
    /// Nothing: another request had the key.
    Reused,
}

type Records<'a> = Part<'a, (), Record, ()>;

/// Claims the right to run a request. `ended` is a run that is known to have ended without a word.
pub(super) async fn claim(
    db: &Db,
    place: &str,
    fingerprint: &str,
    new_id: &str,
    run: &Run,
    ended: Option<&Run>,
) -> Result<Claim, StoreError> {
    let (fingerprint, new_id, run) = (fingerprint.to_owned(), new_id.to_owned(), run.clone());
    let ended = ended.map(|run| run.name.clone());
    let claimed = db.change(&IDEMPOTENCY_KEYS, place, Wants::head(), move |part: &mut Records<'_>| {
        let record = &mut part.head;
        match &record.fingerprint {
            None => {
                record.fingerprint = Some(fingerprint.clone());
                record.id.clone_from(&new_id);
            }
            Some(known) if *known != fingerprint => {
                return Ok::<_, StoreError>(Decision::Stands(Claim::Reused));
            }
            Some(_) => {}
        }
        if let Some(answer) = &record.answer {
            return Ok(Decision::Stands(Claim::Repeat(answer.clone())));
        }
        if let Some(other) = record.run.clone().filter(|other| Some(&other.name) != ended.as_ref()) {
            return Ok(Decision::Stands(Claim::Running(other)));
        }
        record.run = Some(run.clone());
        record.runs = record.runs.saturating_add(1);
        Ok(Decision::Write(Claim::Run(record.id.clone())))
    });
    // Partitions of this kind are there without having been created.
    claimed.await?.ok_or(StoreError::NotBegun)
}

/// Keeps what came of a run. Of two runs of one request the first answer stays.
pub(super) async fn finish(db: &Db, place: &str, answer: Answer) -> Result<(), StoreError> {
    let finished = db.change(&IDEMPOTENCY_KEYS, place, Wants::head(), move |part: &mut Records<'_>| {
        let record = &mut part.head;
        if record.fingerprint.is_none() || record.answer.is_some() {
            return Ok::<_, StoreError>(Decision::Stands(()));
        }
        record.run = None;
        record.answer = Some(answer.clone());
        Ok(Decision::Write(()))
    });
    finished.await.map(drop)
}

/// Lets the request run again. With `new_id`, where the run is known to have made nothing, it then makes that, unless a run
/// before may have made something.
pub(super) async fn release(
    db: &Db,
    place: &str,
    run: &Run,
    new_id: Option<String>,
) -> Result<(), StoreError> {
    let name = run.name.clone();
    let released = db.change(&IDEMPOTENCY_KEYS, place, Wants::head(), move |part: &mut Records<'_>| {
        let record = &mut part.head;
        if record.run.as_ref().is_none_or(|run| run.name != name) {
            return Ok::<_, StoreError>(Decision::Stands(()));
        }
        record.run = None;
        if let Some(new_id) = new_id.as_ref().filter(|_| record.runs == 1) {
            record.id.clone_from(new_id);
            record.runs = 0;
        }
        Ok(Decision::Write(()))
    });
    released.await.map(drop)
}
