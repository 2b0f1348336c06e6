//! Changes of a partition, and what they cause.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::super::db::{MODEL, Row};
use crate::StoreError;
use crate::db::{Db, Decision, Due, Fate, OUTBOX_SHARDS, Outlet, Wants, key};

/// Carries out effects, which are the numbers of changes, by counting them.
pub(super) struct Counter {
    pub(super) carried_out: Mutex<BTreeMap<usize, usize>>,
    /// Where what was carried out is removed.
    pub(super) db: Db,
    /// Some effects are not carried out at once, as if their node had died.
    pub(super) chance: Mutex<StdRng>,
}

impl Counter {
    fn count(&self, due: &Due) -> Result<bool, StoreError> {
        let Some(effects) = due.effects()? else { return Ok(false) };
        for (_, effect) in effects {
            *self.carried_out.lock().entry(effect.read()?).or_default() += 1;
        }
        Ok(true)
    }

    /// Carries out what is left of the changes of these partitions, until nothing is.
    pub(super) async fn sweep(&self, partitions: &[String]) -> Result<(), StoreError> {
        for shard in 0..OUTBOX_SHARDS {
            let (mut after, mut over) = (None, BTreeSet::new());
            loop {
                let page = self.db.outbox(shard, after.as_deref(), 1000).await?;
                let mut again = false;
                for due in page
                    .items
                    .iter()
                    .filter(|due| partitions.iter().any(|id| due.partition().starts_with(id)))
                {
                    if self.count(due)? || over.contains(due.key()) {
                        self.db.carried_out(shard, &[due.key().to_owned()]).await?;
                    } else if self.db.overtake(due).await? == Fate::Over {
                        over.insert(due.key().to_owned());
                        again = true;
                    }
                }
                after = if again { after } else { page.next };
                if after.is_none() && !again {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Outlet for Counter {
    fn take(&self, due: Due) {
        if self.chance.lock().random_bool(0.5) && self.count(&due).is_ok() {
            let db = self.db.clone();
            tokio::spawn(async move { db.carried_out(due.shard(), &[due.key().to_owned()]).await });
        }
    }
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Acknowledged(u64),
    Refused,
    WithoutEffect,
    Unknown,
    Cancelled,
}

/// A rule's own refusal.
pub(super) enum Failure {
    Refused,
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Puts a row of its own name and number, which causes its name to be counted; refused for every seventh.
pub(super) async fn put(db: &Db, partition: &str, name: usize) -> Outcome {
    let (row, refused) = (key(&["o", &name.to_string()]), name.is_multiple_of(7));
    let changed = db.change(&MODEL, partition, Wants::head().row(&row), move |part| {
        if refused {
            part.head.count += 1000;
            return Err(Failure::Refused);
        }
        part.head.count += 1;
        let number = part.head.count;
        part.set(&row, Row { number });
        part.emit(&name)?;
        Ok(Decision::Write(number))
    });
    match changed.await {
        Ok(Some(number)) => Outcome::Acknowledged(number),
        Err(Failure::Refused) => Outcome::Refused,
        Err(Failure::Store(StoreError::Unknown(_))) => Outcome::Unknown,
        Ok(None) | Err(Failure::Store(_)) => Outcome::WithoutEffect,
    }
}
