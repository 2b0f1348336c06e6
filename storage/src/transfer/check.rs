//! Reading all that a store holds, and telling what is wrong with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::record::{Index, Record, Table, is_json};
use super::walk::{pages, walk_table};
use super::{Total, Totals, TransferError, aside};
use crate::db::engine::{MARKS, Stored};
use crate::db::whole::Whole;
use crate::db::{KindSpec, Schema};
use crate::{StoreError, Stores};

/// Problems that are told one by one; the others are counted.
const TOLD: usize = 100;
/// Partitions that are looked for at the same time.
const AT_ONCE: usize = 32;

/// Tells where an entry of an index leads to, by the names of index and key: the kind and the id of a partition.
pub type LeadsTo = fn(&str, &str) -> Option<(&'static KindSpec, String)>;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// What each table holds, as far as it can be read.
    pub totals: Totals,
    /// Entries that lead nowhere, by index. They do no harm, as readers leave them out.
    pub leading_nowhere: BTreeMap<String, u64>,
    /// What is wrong; the first hundred.
    pub problems: Vec<String>,
    /// How much is wrong.
    pub wrong: u64,
}

impl CheckReport {
    fn add(&mut self, problem: String) {
        self.wrong += 1;
        if self.problems.len() < TOLD {
            self.problems.push(problem);
        }
    }

    fn look_at(&mut self, record: &Record) {
        let table = record.table();
        match record {
            Record::Partition { id, stored, .. } => {
                if let Some(why) = wrong_shape(stored) {
                    self.add(format!("{table} {id:?}: {why}"));
                }
                let parts = [("facts", &stored.facts), ("head", &stored.head)];
                for (part, body) in parts {
                    if body.as_ref().is_some_and(|body| !is_json(body)) {
                        self.add(format!("{table} {id:?}: its {part} are no JSON"));
                    }
                }
                for (key, row) in &stored.rows {
                    self.look_at_row(table, id, key, row);
                }
            }
            Record::Rows { id, rows, .. } => {
                for (key, row) in rows {
                    self.look_at_row(table, id, key, row);
                }
            }
            Record::Entry { index: Index(index), entry } => {
                if !is_json(&entry.body) {
                    self.add(format!("{table}: the entry {:?} of {:?} is no JSON", entry.key, entry.list));
                }
                if (index.bucket)(&entry.key).is_none() {
                    self.add(format!("{table}: {:?} of {:?} is no key of this index", entry.key, entry.list));
                }
            }
            Record::Publication(one) => {
                use prost::Message as _;
                if mundotango_protocol::Publication::decode(one.publication.clone()).is_err() {
                    self.add(format!("{table}: {} of {:?} is no publication", one.offset, one.channel));
                }
            }
        }
    }

    fn look_at_row(&mut self, table: &str, id: &str, key: &str, row: &[u8]) {
        if !is_json(row) {
            self.add(format!("{table} {id:?}: the row {key:?} is no JSON"));
        }
    }
}

/// What no change leaves behind, if a partition has it.
fn wrong_shape(stored: &Stored) -> Option<&'static str> {
    match stored {
        Stored { version: 0, deleted: true, .. } => Some("it is deleted and was never changed"),
        Stored { version: 0, head: Some(_), .. } => Some("it has a head and was never changed"),
        Stored { version: 0, rows, .. } if !rows.is_empty() => Some("it has rows and was never changed"),
        Stored { version: 0, .. } => None,
        Stored { deleted: true, head: Some(_), .. } => Some("it is deleted and has a head"),
        Stored { marks, .. } if marks.is_empty() => Some("it was changed and has no mark"),
        Stored { marks, .. } if marks.len() > MARKS => Some("it has too many marks"),
        Stored { .. } => None,
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<20} {:>12} {:>12} {:>15}  leading nowhere", "table", "partitions", "rows", "bytes")?;
        for (name, Total { partitions, rows, bytes, .. }) in &self.totals.0 {
            write!(f, "\n{name:<20} {partitions:>12} {rows:>12} {bytes:>15}")?;
            if let Some(nowhere) = self.leading_nowhere.get(name) {
                write!(f, "  {nowhere}")?;
            }
        }
        for problem in &self.problems {
            write!(f, "\n{problem}")?;
        }
        let untold = self.wrong - self.problems.len() as u64;
        if untold > 0 {
            write!(f, "\nand {untold} more")?;
        }
        match self.wrong {
            0 => write!(f, "\nnothing is wrong"),
            wrong => write!(f, "\n{wrong} wrong"),
        }
    }
}

/// Reads all that a store holds. A table that cannot be read is a problem, and the others are read all the same.
pub async fn check(
    stores: &Stores,
    schema: &Schema,
    leads_to: LeadsTo,
) -> Result<CheckReport, TransferError> {
    let whole = stores.db.whole()?;
    let mut report = CheckReport::default();
    for table in Table::all(schema) {
        report.totals.of(table.name());
        let (sender, mut receiver) = pages();
        let reading = async {
            let sender = sender;
            walk_table(&*whole, schema, table, &sender).await
        };
        let looking = async {
            while let Some(records) = receiver.recv().await {
                if let Table::Index(index) = table {
                    let keys = records.iter().filter_map(|record| match record {
                        Record::Entry { entry, .. } => leads_to(index.name, &entry.key),
                        _ => None,
                    });
                    let nowhere = nowhere(&whole, keys.collect()).await?;
                    *report.leading_nowhere.entry(index.name.to_owned()).or_default() += nowhere;
                }
                let mut so_far = std::mem::take(&mut report);
                report = aside(move || {
                    for record in &records {
                        so_far.totals.add(record);
                        so_far.look_at(record);
                    }
                    Ok(so_far)
                })
                .await?;
            }
            Ok::<_, TransferError>(())
        };
        let (read, looked) = tokio::join!(reading, looking);
        looked?;
        match read {
            Ok(()) => {}
            Err(TransferError::Store(error)) => {
                let so_far = *report.totals.of(table.name());
                let place = so_far.partitions + so_far.rows;
                report.add(format!("{}: cannot be read on behind the first {place}: {error}", table.name()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// How many of these partitions are not there.
async fn nowhere(
    whole: &Arc<dyn Whole>,
    wanted: Vec<(&'static KindSpec, String)>,
) -> Result<u64, TransferError> {
    let looks = wanted.into_iter().map(|(kind, id)| {
        let whole = Arc::clone(whole);
        async move { Ok::<_, StoreError>(!whole.partition(kind, &id).await?.stored.exists(kind)) }
    });
    let missing = stream::iter(looks).buffer_unordered(AT_ONCE);
    Ok(missing.try_fold(0, async |sum, missing| Ok(sum + u64::from(missing))).await?)
}
