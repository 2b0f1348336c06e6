//! What is traced always, as all nodes share it: one partition, bounded, in which every entry has its end.

use jiff::Timestamp;
use mundotango_ops::traces::{Always, Target};
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, Decision, Erasure, Export, Fields, Kind, Wants, Whose};
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};

/// The list.
pub(crate) static CHOSEN: Kind<(), Head, ()> =
    Kind::new("chosen_traces", "all: 100 targets of 500 B, 50 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Named,
        Export::NotGiven("it is a measure of the operator's"),
        Erasure::Kept("until its end, which each has"),
        &["head.chosen.*.what.**", "head.chosen.*.by"],
    ),
    Fields::of_nobody(&["id", "head.chosen.*.id", "head.chosen.*.until"]),
];

/// The one partition.
const ALL: &str = "all";
/// Most entries: each request is compared with them.
pub(super) const MOST: usize = 100;

/// What is in the list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Head {
    chosen: Vec<Chosen>,
}

/// Something that is traced always, until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chosen {
    /// Its id in the list.
    pub(super) id: String,
    pub(super) what: What,
    pub(super) until: Timestamp,
    /// The admin's id.
    pub(super) by: String,
}

/// What is traced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    User(String),
    Channel(String),
    Command(String),
}

impl From<What> for Target {
    fn from(what: What) -> Self {
        match what {
            What::User(user) => Self::User(user),
            What::Channel(channel) => Self::Channel(channel),
            What::Command(command) => Self::Command(command),
        }
    }
}

/// The list in the store.
#[derive(Clone)]
pub(super) struct ChosenStore(pub(super) Db);

impl ChosenStore {
    /// What is in it, without what is past.
    pub(super) async fn all(&self) -> Result<Vec<Chosen>, StoreError> {
        let found = self.0.read(&CHOSEN, ALL).await?;
        let mut chosen = found.map(|found| found.head.chosen).unwrap_or_default();
        clear(&mut chosen, now());
        Ok(chosen)
    }

    /// Puts something into it. What is there already is traced until the later of both times.
    pub(super) async fn add(&self, what: What, until: Timestamp, by: String) -> Result<Chosen, StoreError> {
        let id = new_id();
        let added = self.0.change(&CHOSEN, ALL, Wants::head(), move |part| {
            let chosen = &mut part.head.chosen;
            clear(chosen, now());
            if let Some(known) = chosen.iter_mut().find(|known| known.what == what) {
                known.until = known.until.max(until);
                known.by.clone_from(&by);
                return Ok(Decision::Write(known.clone()));
            }
            if chosen.len() >= MOST {
                return Err(StoreError::Full("the list of what is traced always"));
            }
            let new = Chosen { id: id.clone(), what: what.clone(), until, by: by.clone() };
            chosen.push(new.clone());
            Ok(Decision::Write(new))
        });
        added.await?.ok_or_else(|| StoreError::Damaged("the list of traces is not there".to_owned()))
    }

    /// Takes an entry out; whether it was there.
    pub(super) async fn remove(&self, id: String) -> Result<bool, StoreError> {
        let removed = self.0.change(&CHOSEN, ALL, Wants::head(), move |part| {
            let before = part.head.chosen.len();
            part.head.chosen.retain(|chosen| chosen.id != id);
            let is_gone = part.head.chosen.len() < before;
            Ok::<_, StoreError>(Decision::write_if(is_gone))
        });
        Ok(removed.await?.unwrap_or_default())
    }
}

/// What of the list has its end after a time.
fn clear(chosen: &mut Vec<Chosen>, now: Timestamp) {
    chosen.retain(|chosen| chosen.until > now);
}

/// As those who decide about traces have it.
pub(super) fn always(chosen: Vec<Chosen>) -> Always {
    chosen.into_iter().map(|chosen| (chosen.what.into(), chosen.until)).collect()
}
