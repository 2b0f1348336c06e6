//! The store on ScyllaDB or another CQL server, for nodes that share.
//!
//! - Plain writes carry the writer's time, so sending one twice does what sending it once does.
//! - Where two may race the row is compared and set (LWT). Such a row, or such columns of it, are never written plainly.
//!   A server may not say whether it did it; then the row is read again and tells by the writer's own mark.
//! - What changes together lies in one partition, with a version that each change compares and raises.
//! - Writers of one node queue for a partition; only those of different nodes collide, and try again.
//! - A breaker stands before the servers: once they stop answering, calls fail at once.

mod failure;
mod history;
#[cfg(test)]
mod lint;
mod listed;
mod migration_lock;
mod migrations;
mod options;
mod outbox;
mod partitions;
mod query;
mod reopen;
mod replication;
mod report;
mod row;
mod session;
mod statements;
mod tables;
mod value;
mod whole;

use std::sync::Arc;

use jiff::Timestamp;

pub use migrations::{Report, migrate, schema_digests};
pub use options::ScyllaOptions;
pub use report::{CqlReport, report};

use crate::db::{Db, Schema};
use crate::{StoreError, Stores};
use partitions::CqlPartitions;
use query::Query;
use session::Cql;

static NOW: Query = Query::read("local", "SELECT toUnixTimestamp(now()) FROM system.local");

/// The store on CQL servers.
pub struct ScyllaStore {
    cql: Arc<Cql>,
    keyspace: String,
    schema: Schema,
    db: Db,
}

impl ScyllaStore {
    /// Connects to the servers. The keyspace and the schema's tables have to be there: [`migrate`] makes them.
    pub async fn connect(options: &ScyllaOptions, schema: &Schema) -> Result<Self, StoreError> {
        let keyspace = options.checked_keyspace()?.to_owned();
        let cql = Arc::new(Cql::connect(options).await?);
        tokio::spawn(reopen::look_after(Arc::downgrade(&cql), options.clone()));
        schema.make_counters();
        let db = Db::new(Arc::new(CqlPartitions::new(Arc::clone(&cql), schema)));
        Ok(Self { cql, keyspace, schema: schema.clone(), db })
    }

    /// The ports on this store.
    pub fn stores(&self) -> Stores {
        Stores { db: self.db.clone(), history: self.cql.clone() }
    }

    /// Asks a server for its time, to see that one answers. Returns how many milliseconds this machine's clock is ahead of
    /// it, without what the request itself took; below 0 if it is behind.
    pub async fn check(&self) -> Result<i64, StoreError> {
        self.cql.count_connections();
        let asked = Timestamp::now().as_millisecond();
        let (server,) = self.cql.one::<(i64,)>(&NOW, ()).await?.unwrap_or((asked,));
        let answered = Timestamp::now().as_millisecond();
        Ok((asked - server).max(0) + (answered - server).min(0))
    }

    /// The migrations that this version needs and that were not applied yet.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, StoreError> {
        migrations::pending(&self.cql.session(), &self.keyspace, &self.schema).await
    }
}
