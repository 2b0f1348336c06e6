//! The tables' making: numbered files in the binary, each applied once, in order, by one at a time.
//!
//! Files only add (expand): what older nodes read and write stays. A file that was applied is never changed.
//! The tables of kinds and indexes are made from their declarations, after the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use jiff::Timestamp;
use scylla::client::session::Session;
use scylla::value::CqlTimestamp;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::failure::refused;
use super::migration_lock::{MigrationLock, PAUSE, PROPAGATION};
use super::options::ScyllaOptions;
use super::replication;
use super::session::open;
use super::tables::of_schema;
use super::value::{damaged, to_cql};
use crate::StoreError;
use crate::db::Schema;

/// How much longer a change of the schema may take than a request.
const SCHEMA_PATIENCE: u32 = 6;

/// Hexadecimal characters of a file's digest that nodes compare.
const DIGEST_CHARACTERS: usize = 16;

/// What the name of a file holds that takes something away, which versions without that file still need.
const CONTRACTS: &str = "_contract_";

/// One numbered file.
pub(super) struct Migration {
    pub(super) name: &'static str,
    pub(super) cql: &'static str,
}

macro_rules! migrations {
    ($($name:literal),* $(,)?) => {
        &[$(Migration { name: $name, cql: include_str!(concat!("migrations/", $name)) }),*]
    };
}

/// All files, in order; the number is the place.
pub(super) const MIGRATIONS: &[Migration] = migrations!["0001_history.cql"];

/// The tables that migrations themselves need.
pub(super) const BOOKKEEPING: &str = "\
-- Which files were applied.
-- partition: one file; bound: 1 row of 150 B
CREATE TABLE IF NOT EXISTS schema_migrations (number int PRIMARY KEY, name text, checksum text, applied_at timestamp);
-- Who applies files at the moment. Only ever compared and set.
-- partition: the one lock; bound: 1 row of 60 B
CREATE TABLE IF NOT EXISTS schema_lock (name text PRIMARY KEY, holder text);
";

/// What [`migrate`] did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The keyspace was made.
    pub made_keyspace: bool,
    /// Files that were applied, in order.
    pub applied: Vec<String>,
    /// How many had been applied before.
    pub already: usize,
    /// Nothing was done, only looked at.
    pub dry_run: bool,
    /// Applied files that this version does not know, as a newer one has applied them.
    pub newer: Vec<String>,
    /// How the keyspace's copies differ from the configured ones, and what to do, if they do.
    pub replication: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (made, applied) = if self.dry_run { ("would make", "would apply") } else { ("made", "applied") };
        if self.made_keyspace {
            writeln!(f, "{made} the keyspace")?;
        }
        for name in &self.applied {
            writeln!(f, "{applied} {name}")?;
        }
        for name in &self.newer {
            writeln!(f, "{name} was applied by a newer version")?;
        }
        write!(f, "{} applied before", self.already)
    }
}

/// Brings the tables up to this version: makes the keyspace and applies the files that are missing. Doing it again
/// changes nothing; where two do it at once, one waits for the other. A dry run only says what would be done.
pub async fn migrate(options: &ScyllaOptions, schema: &Schema, dry_run: bool) -> Result<Report, StoreError> {
    let keyspace = options.checked_keyspace()?;
    let patient =
        ScyllaOptions { request_timeout: options.request_timeout * SCHEMA_PATIENCE, ..options.clone() };
    let session = open(&patient, None).await?;
    let made_keyspace = !exists(&session, "keyspaces", keyspace, None).await?;
    let done = if made_keyspace { BTreeMap::new() } else { applied(&session, keyspace).await? };
    let replication = if made_keyspace { None } else { replication::difference(&session, options).await? };
    let report = Report {
        made_keyspace,
        applied: Vec::new(),
        already: done.len(),
        dry_run,
        newer: newer(&done)?,
        replication,
    };
    let missing = missing(&done)?;
    check_tables(&session, keyspace, &done).await?;
    let tables = missing_tables(&session, keyspace, schema).await?;
    if dry_run || (missing.is_empty() && tables.is_empty()) {
        let mut applied: Vec<_> = missing.iter().map(|(_, migration)| migration.name.to_owned()).collect();
        applied.extend(tables.iter().map(|(table, _)| report_of(table)));
        return Ok(Report { applied, ..report });
    }
    if made_keyspace {
        replication::check_servers(&session, options)?;
        make_keyspace(&session, options, keyspace).await?;
    }
    let started = Instant::now();
    while let Err(error) = make_bookkeeping(&session, keyspace).await {
        // A server may not have loaded the keyspace yet that another migration has just made.
        if started.elapsed() > PROPAGATION {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
    let lock = MigrationLock::take(&session).await?;
    let worked = apply_missing(&session, keyspace, schema, &lock).await;
    lock.release().await;
    let (applied, already) = worked?;
    Ok(Report { applied, already, ..report })
}

/// What nodes on the same tables have to agree on: each file that this version knows, with a digest of it. A file that only
/// one of two nodes knows is no difference, as during a rollout; two builds that mean different things by one number are.
pub fn schema_digests() -> Vec<(String, String)> {
    (1..).zip(MIGRATIONS).map(|(number, migration)| digest(number, migration)).collect()
}

fn digest(number: i32, migration: &Migration) -> (String, String) {
    let mut digest = checksum(&format!("{}\n{}", migration.name, migration.cql));
    // Heartbeats carry it, and only builds that went apart by mistake are to be told apart.
    digest.truncate(DIGEST_CHARACTERS);
    (format!("migration {number} of the tables"), digest)
}

/// Makes the tables that migrations themselves need, and waits until all servers know them.
async fn make_bookkeeping(session: &Session, keyspace: &str) -> Result<(), StoreError> {
    session.await_schema_agreement().await.map_err(refused)?;
    session.use_keyspace(keyspace, false).await.map_err(refused)?;
    if !exists(session, "tables", keyspace, Some("schema_lock")).await? {
        for statement in statements(BOOKKEEPING) {
            run(session, &statement).await?;
        }
    }
    session.await_schema_agreement().await.map_err(refused)?;
    Ok(())
}

/// The files that were not applied yet, in order; also an error where an applied one is not what it was.
pub(super) async fn pending(
    session: &Session,
    keyspace: &str,
    schema: &Schema,
) -> Result<Vec<String>, StoreError> {
    let done = applied(session, keyspace).await?;
    newer(&done)?;
    check_tables(session, keyspace, &done).await?;
    let mut pending: Vec<_> = missing(&done)?.into_iter().map(|(_, file)| file.name.to_owned()).collect();
    let tables = missing_tables(session, keyspace, schema).await?;
    pending.extend(tables.iter().map(|(table, _)| report_of(table)));
    Ok(pending)
}

/// How reports call the making of a table.
fn report_of(table: &str) -> String {
    format!("table {table}")
}

/// The tables of a schema that are not there, with the statements that make them.
async fn missing_tables(
    session: &Session,
    keyspace: &str,
    schema: &Schema,
) -> Result<Vec<(String, String)>, StoreError> {
    let there = known_tables(session, keyspace).await?;
    Ok(of_schema(schema).into_iter().filter(|(table, _)| !there.contains(table)).collect())
}

/// The tables that a keyspace has.
async fn known_tables(session: &Session, keyspace: &str) -> Result<BTreeSet<String>, StoreError> {
    let select = format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'");
    let rows =
        session.query_unpaged(select, ()).await.map_err(refused)?.into_rows_result().map_err(damaged)?;
    let there = rows.rows::<(String,)>().map_err(damaged)?;
    there.map(|row| Ok(row.map_err(damaged)?.0)).collect()
}

/// Fails if a table is not there whose migration was applied, as after a restore of a part of the keyspace.
async fn check_tables(
    session: &Session,
    keyspace: &str,
    done: &BTreeMap<i32, Applied>,
) -> Result<(), StoreError> {
    let there = known_tables(session, keyspace).await?;
    let applied = (1..).zip(MIGRATIONS).filter(|(number, _)| done.contains_key(number));
    let gone: Vec<_> = applied
        .flat_map(|(_, migration)| tables(migration.cql).map(|table| (table, migration.name)))
        .filter(|(table, _)| !there.contains(table))
        .map(|(table, name)| format!("{table} (of {name})"))
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!(
        "tables are gone whose migrations were applied: {}. Restore them; or remove these migrations from \
         {keyspace}.schema_migrations and run mundotango migrate, which makes them without their rows",
        gone.join(", ")
    )))
}

/// The tables that a file makes.
fn tables(cql: &str) -> impl Iterator<Item = String> {
    statements(cql).into_iter().filter_map(|statement| {
        let rest = statement.strip_prefix("CREATE TABLE ")?.trim_start();
        let rest = rest.strip_prefix("IF NOT EXISTS ").unwrap_or(rest);
        Some(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
    })
}

/// The applied files that this version does not know. An error if one of them took something away that this version needs.
fn newer(done: &BTreeMap<i32, Applied>) -> Result<Vec<String>, StoreError> {
    let known = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    let newer: Vec<_> = done.range(known + 1..).map(|(_, applied)| applied.name.clone()).collect();
    match newer.iter().find(|name| name.contains(CONTRACTS)) {
        Some(name) => Err(StoreError::Unavailable(format!(
            "the tables need at least the version of mundotango that has the migration {name}; this one is older"
        ))),
        None => Ok(newer),
    }
}

async fn apply_missing(
    session: &Session,
    keyspace: &str,
    schema: &Schema,
    lock: &MigrationLock<'_>,
) -> Result<(Vec<String>, usize), StoreError> {
    // Another may have applied some while the lock was waited for.
    let done = applied(session, keyspace).await?;
    let mut names = Vec::new();
    for (number, migration) in missing(&done)? {
        tracing::info!(migration = migration.name, "applying");
        for statement in statements(migration.cql) {
            lock.renew().await?;
            run(session, &statement).await.map_err(|error| in_file(migration, &error))?;
        }
        session.await_schema_agreement().await.map_err(refused)?;
        let insert = "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES (?, ?, ?, ?)";
        let values = (number, migration.name, checksum(migration.cql), to_cql(Timestamp::now()));
        session.query_unpaged(insert, values).await.map_err(refused)?;
        names.push(migration.name.to_owned());
    }
    let tables = missing_tables(session, keyspace, schema).await?;
    for (table, statement) in &tables {
        tracing::info!(table, "making");
        lock.renew().await?;
        run(session, statement).await?;
        names.push(report_of(table));
    }
    if !tables.is_empty() {
        session.await_schema_agreement().await.map_err(refused)?;
    }
    Ok((names, done.len()))
}

async fn make_keyspace(session: &Session, options: &ScyllaOptions, keyspace: &str) -> Result<(), StoreError> {
    let mut statement = format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'replication_factor': {}}}",
        options.replication_factor
    );
    if let Some(extra) = &options.keyspace_options {
        statement.push(' ');
        statement.push_str(extra);
    }
    run(session, &statement).await
}

/// What was applied, by number.
async fn applied(session: &Session, keyspace: &str) -> Result<BTreeMap<i32, Applied>, StoreError> {
    if !exists(session, "tables", keyspace, Some("schema_migrations")).await? {
        return Ok(BTreeMap::new());
    }
    let select = format!("SELECT number, name, checksum, applied_at FROM {keyspace}.schema_migrations");
    let rows =
        session.query_unpaged(select, ()).await.map_err(refused)?.into_rows_result().map_err(damaged)?;
    let rows = rows.rows::<(i32, String, String, CqlTimestamp)>().map_err(damaged)?;
    rows.map(|row| {
        let (number, name, checksum, _) = row.map_err(damaged)?;
        Ok((number, Applied { name, checksum }))
    })
    .collect()
}

struct Applied {
    name: String,
    checksum: String,
}

/// The files that are not among the applied ones. Numbers that this version does not know are of a later one.
fn missing(done: &BTreeMap<i32, Applied>) -> Result<Vec<(i32, &'static Migration)>, StoreError> {
    let mut missing = Vec::new();
    for (number, migration) in (1..).zip(MIGRATIONS) {
        match done.get(&number) {
            None => missing.push((number, migration)),
            Some(applied) if applied.checksum == checksum(migration.cql) => {}
            Some(applied) => {
                return Err(damaged(format!(
                    "migration {} is not what was applied as {}: its checksum differs; undo the change and add a new file",
                    migration.name, applied.name
                )));
            }
        }
    }
    Ok(missing)
}

async fn exists(
    session: &Session,
    what: &str,
    keyspace: &str,
    table: Option<&str>,
) -> Result<bool, StoreError> {
    let mut select =
        format!("SELECT keyspace_name FROM system_schema.{what} WHERE keyspace_name = '{keyspace}'");
    if let Some(table) = table {
        let _ = write!(select, " AND table_name = '{table}'");
    }
    let found =
        session.query_unpaged(select, ()).await.map_err(refused)?.into_rows_result().map_err(damaged)?;
    Ok(found.rows_num() > 0)
}

async fn run(session: &Session, statement: &str) -> Result<(), StoreError> {
    session.query_unpaged(statement, ()).await.map(drop).map_err(refused)
}

fn in_file(migration: &Migration, error: &StoreError) -> StoreError {
    StoreError::Unavailable(format!("migration {}: {error}", migration.name))
}

fn checksum(cql: &str) -> String {
    Sha256::digest(cql.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A file's statements: each ends with a semicolon at a line's end. Comments are dropped.
pub(super) fn statements(cql: &str) -> Vec<String> {
    let lines = cql.lines().map(|line| line.split("--").next().unwrap_or_default().trim_end());
    let mut statements = vec![String::new()];
    for line in lines.filter(|line| !line.is_empty()) {
        if let Some(statement) = statements.last_mut() {
            statement.push_str(line.strip_suffix(';').unwrap_or(line));
            statement.push('\n');
        }
        if line.ends_with(';') {
            statements.push(String::new());
        }
    }
    statements.retain(|statement| !statement.trim().is_empty());
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_and_comments_are_dropped() {
        let cql = "-- one; two\nCREATE TABLE a (\n    id text -- why; so\n);\n\nCREATE TABLE b (id text);\n";
        let expected = ["CREATE TABLE a (\n    id text\n)\n", "CREATE TABLE b (id text)\n"];
        assert_eq!(statements(cql), expected);
        assert!(statements("-- nothing\n\n").is_empty());
    }

    #[test]
    fn files_are_numbered_without_a_hole() {
        for (number, migration) in (1..).zip(MIGRATIONS) {
            assert!(migration.name.starts_with(&format!("{number:04}_")), "{}", migration.name);
            assert!(!statements(migration.cql).is_empty());
        }
    }

    #[test]
    fn a_changed_file_is_named() {
        let first = &MIGRATIONS[0];
        let done =
            |checksum: String| BTreeMap::from([(1, Applied { name: first.name.to_owned(), checksum })]);
        let rest = missing(&done(checksum(first.cql))).unwrap_or_default();
        assert_eq!(rest.len(), MIGRATIONS.len() - 1);
        let error = missing(&done("other".to_owned())).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains(first.name)), "{error:?}");
    }

    #[test]
    fn builds_that_mean_different_files_by_a_number_have_different_digests() {
        let digests = schema_digests();
        assert_eq!(digests.len(), MIGRATIONS.len());
        assert!(digests.windows(2).all(|two| two[0] != two[1]), "{digests:?}");
        let first = Migration { name: MIGRATIONS[0].name, cql: MIGRATIONS[0].cql };
        assert_eq!(digest(1, &first), digests[0]);
        for other in [Migration { name: "0001_others.cql", ..first }, Migration { cql: "-- empty", ..first }]
        {
            let (setting, differs) = digest(1, &other);
            assert_eq!(setting, digests[0].0, "nodes compare what has one number");
            assert_ne!(differs, digests[0].1);
        }
    }

    #[test]
    fn what_a_newer_version_applied_is_known_and_what_it_took_away_is_refused() {
        let later = |name: &str| {
            newer(&BTreeMap::from([(99, Applied { name: name.to_owned(), checksum: String::new() })]))
        };
        assert_eq!(later("0099_later.cql").unwrap(), ["0099_later.cql"]);
        let error = later("0099_contract_feeds.cql").unwrap_err().to_string();
        assert!(error.contains("at least") && error.contains("0099_contract_feeds.cql"), "{error}");
    }

    #[test]
    fn the_tables_of_files_are_known() {
        let found: Vec<_> =
            tables("CREATE TABLE IF NOT EXISTS a_1 (id int);\nALTER TABLE b ADD x int;\n").collect();
        assert_eq!(found, ["a_1"]);
        let all = MIGRATIONS.iter().flat_map(|migration| tables(migration.cql));
        assert!(all.into_iter().any(|table| table == "publications"));
    }

    #[test]
    fn a_report_says_what_was_done() {
        let applied = vec!["0001_history.cql".to_owned()];
        let newer = vec!["0099_later.cql".to_owned()];
        let report =
            Report { made_keyspace: true, applied, already: 2, dry_run: true, newer, replication: None };
        let expected = "would make the keyspace\nwould apply 0001_history.cql\n\
                        0099_later.cql was applied by a newer version\n2 applied before";
        assert_eq!(report.to_string(), expected);
    }
}
