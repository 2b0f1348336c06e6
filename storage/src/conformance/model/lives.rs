//! The lives of partitions: created once by several, with what that causes, changed, and deleted for good.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::super::db::{COUNTERS, Facts, Head, NOTES, Row};
use super::super::new_id;
use super::ModelReport;
use super::changes::Counter;
use crate::StoreError;
use crate::db::{Db, Decision, Effect, Wants};

/// Who race to create a partition.
const RACERS: usize = 3;
/// How often a plain creation is sent again after an unknown outcome, as a caller with an idempotency key does.
const TRIES: usize = 3;

/// Who tried to create a partition, and whether that was told to have done it.
type Told = (String, Result<bool, StoreError>);

/// Begins lives that end with [`Self::judge`].
pub(super) struct Lives {
    /// Partitions of which it is known who created them: their authors, and what each was told.
    contested: BTreeMap<String, Vec<Told>>,
    /// Partitions that were written plainly, each with the number of its effect and the last outcome.
    plain: Vec<(String, usize, Result<(), StoreError>)>,
    /// Partitions of which the deletion was acknowledged, and those of which nobody knows.
    deleted: Vec<(String, Result<Option<()>, StoreError>)>,
}

impl Lives {
    /// Lets nodes race through so many lives. The effects of plain creations have numbers from `first_effect` on.
    pub(super) async fn run(nodes: &[Db], count: usize, first_effect: usize, chance: &mut StdRng) -> Self {
        let mut lives = Self { contested: BTreeMap::new(), plain: Vec::new(), deleted: Vec::new() };
        for number in 0..count {
            let node = || nodes[number % nodes.len()].clone();
            let id = new_id();
            let racing = (0..RACERS).map(async |racer| {
                let author = format!("racer-{racer}");
                let (facts, head) = (Facts { author: author.clone() }, Head { count: 1 });
                let rows = [("o/first".to_owned(), Row { number: 1 })];
                let node = &nodes[(number + racer) % nodes.len()];
                (author, node.create_once(&NOTES, &id, &facts, &head, &rows, &[]).await)
            });
            lives.contested.insert(id.clone(), join_all(racing).await);

            let (id, effect) = (new_id(), first_effect + number);
            let effects = [Effect::new(&effect).unwrap()];
            let mut outcome = Err(StoreError::NotBegun);
            for _ in 0..TRIES {
                let facts = Facts { author: "ana".to_owned() };
                outcome = node().create(&NOTES, &id, &facts, &[], &effects).await;
                if outcome.is_ok() {
                    break;
                }
            }
            lives.plain.push((id, effect, outcome));

            let id = new_id();
            let change = |_: usize| {
                nodes[chance.random_range(0..nodes.len())].change(&COUNTERS, &id, Wants::head(), |part| {
                    part.head.count += 1;
                    Ok::<_, StoreError>(Decision::Write(()))
                })
            };
            let changing: Vec<_> = (0..RACERS).map(change).collect();
            let deleting = nodes[(number + 1) % nodes.len()]
                .change(&COUNTERS, &id, Wants::head(), |_| Ok::<_, StoreError>(Decision::Delete(())));
            let (_, deleted) = tokio::join!(join_all(changing), deleting);
            lives.deleted.push((id, deleted));
        }
        lives
    }

    /// The partitions whose effects have to be looked after.
    pub(super) fn partitions(&self) -> impl Iterator<Item = String> {
        self.plain.iter().map(|(id, _, _)| id.clone())
    }

    /// Says what does not fit, once nothing is under way any more.
    pub(super) async fn judge(self, store: &Db, counter: &Counter, report: &mut ModelReport) {
        for (id, told) in self.contested {
            let found = store.read(&NOTES, &id).await.unwrap();
            let owner = found.map(|found| found.facts.author);
            for (author, outcome) in &told {
                let is_owner = owner.as_ref() == Some(author);
                let fits = match outcome {
                    Ok(created) => is_owner == *created,
                    Err(StoreError::Unknown(_)) => true,
                    Err(_) => !is_owner,
                };
                report.lives += 1;
                if !fits {
                    report.violations.push(format!("{id} is {owner:?}'s, and {author} was told {outcome:?}"));
                }
            }
        }
        for (id, effect, outcome) in self.plain {
            let is_there = store.read(&NOTES, &id).await.unwrap().is_some();
            let times = counter.carried_out.lock().get(&effect).copied().unwrap_or_default();
            report.lives += 1;
            if (outcome.is_ok() && !is_there) || (times > 0) != is_there {
                let text = format!("{id} is there: {is_there}, told {outcome:?}, its effect {times} times");
                report.violations.push(text);
            }
        }
        for (id, outcome) in self.deleted {
            let again = store.change(&COUNTERS, &id, Wants::head(), |part| {
                part.head.count += 1;
                Ok::<_, StoreError>(Decision::Stands(part.head.count))
            });
            let seen = again.await.unwrap();
            report.lives += 1;
            if matches!(outcome, Ok(Some(()))) && seen.is_some() {
                report.violations.push(format!("{id} was deleted, and a change finds {seen:?}"));
            }
        }
    }
}
