//! Reading all tables of a store, page by page.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::record::{Index, Kind, Record, Table};
use super::spool::Spool;
use super::{Totals, TransferError, aside};
use crate::StoreError;
use crate::db::whole::{Whole, WholePartition};
use crate::db::{KindSpec, Schema};

/// Pages that wait for who takes them.
const WAITING: usize = 2;
/// How often a large partition is read that changes meanwhile.
const TRIES: u32 = 20;
/// Pause before it is read again.
const PAUSE: Duration = Duration::from_millis(200);

/// Where pages go.
pub(super) type Pages = mpsc::Sender<Vec<Record>>;

/// Where pages go, and where they come from.
pub(super) fn pages() -> (Pages, mpsc::Receiver<Vec<Record>>) {
    mpsc::channel(WAITING)
}

async fn send(pages: &Pages, records: Vec<Record>) -> Result<(), TransferError> {
    if records.is_empty() {
        return Ok(());
    }
    pages.send(records).await.map_err(|_| TransferError::Gone)
}

/// Reads all tables.
pub(super) async fn walk(whole: Arc<dyn Whole>, schema: &Schema, pages: Pages) -> Result<(), TransferError> {
    for table in Table::all(schema) {
        walk_table(&*whole, schema, table, &pages).await?;
    }
    Ok(())
}

/// Reads one table.
pub(super) async fn walk_table(
    whole: &dyn Whole,
    schema: &Schema,
    table: Table,
    pages: &Pages,
) -> Result<(), TransferError> {
    let mut from = None;
    loop {
        from = match table {
            Table::Kind(kind) => {
                let page = whole.partitions(kind, from.as_deref()).await?;
                let mut records = Vec::with_capacity(page.items.len());
                for one in page.items {
                    if one.goes_on {
                        send(pages, std::mem::take(&mut records)).await?;
                        walk_large(whole, schema, kind, one, pages).await?;
                    } else {
                        records.push(first(kind, one));
                    }
                }
                send(pages, records).await?;
                page.next
            }
            Table::Index(index) => {
                let page = whole.entries(index, from.as_deref()).await?;
                let records =
                    page.items.into_iter().map(|entry| Record::Entry { index: Index(index), entry });
                send(pages, records.collect()).await?;
                page.next
            }
            Table::Publications => {
                let page = whole.publications(from.as_deref()).await?;
                send(pages, page.items.into_iter().map(Record::Publication).collect()).await?;
                page.next
            }
        };
        if from.is_none() {
            return Ok(());
        }
    }
}

fn first(kind: &'static KindSpec, one: WholePartition) -> Record {
    Record::Partition { kind: Kind(kind), id: one.id, stored: one.stored, goes_on: one.goes_on }
}

/// Reads a partition of more than one page, all of it at one version.
async fn walk_large(
    whole: &dyn Whole,
    schema: &Schema,
    kind: &'static KindSpec,
    mut one: WholePartition,
    pages: &Pages,
) -> Result<(), TransferError> {
    for _ in 0..TRIES {
        if !one.goes_on {
            return send(pages, vec![first(kind, one)]).await;
        }
        let (id, version) = (one.id.clone(), one.stored.version);
        let mut after = one.stored.rows.last_key_value().map(|(key, _)| key.clone()).unwrap_or_default();
        let mut spool = Spool::new();
        spool.push(&first(kind, one))?;
        let is_whole = loop {
            let Some(rows) = whole.more_rows(kind, &id, version, &after).await? else { break false };
            let last = rows.last().map(|(key, _)| key.clone());
            spool.push(&Record::Rows { kind: Kind(kind), id: id.clone(), rows, goes_on: last.is_some() })?;
            match last {
                Some(last) => after = last,
                None => break true,
            }
        };
        if is_whole {
            for records in spool.replay(schema)? {
                send(pages, records?).await?;
            }
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
        one = whole.partition(kind, &id).await?;
    }
    let (table, id) = (kind.name, one.id);
    Err(StoreError::Unavailable(format!(
        "{table} {id:?} changes faster than it can be read: try again when it is calmer"
    ))
    .into())
}

/// Counts what a store holds.
pub(super) async fn count(whole: Arc<dyn Whole>, schema: &Schema) -> Result<Totals, TransferError> {
    let (sender, mut receiver) = pages();
    let counting = async {
        let mut totals = Totals::default();
        while let Some(records) = receiver.recv().await {
            totals = aside(move || {
                for record in &records {
                    totals.add(record);
                }
                Ok(totals)
            })
            .await?;
        }
        Ok(totals)
    };
    tokio::try_join!(walk(whole, schema, sender), counting).map(|((), totals)| totals)
}
