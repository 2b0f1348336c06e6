//! Revocations on a CQL server, spread over a few partitions; those that end go by their TTL.

use async_trait::async_trait;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use scylla::DeserializeRow;
use scylla::value::CqlTimestamp;

use super::query::Query;
use super::session::Cql;
use super::value::{damaged, from_cql, to_cql, ttl_until};
use crate::StoreError;
use crate::revocations::{Revocation, RevocationStore, Revoked};

/// Partitions that revocations are spread over. A part of the tables' layout, as the hash is.
const SHARDS: i32 = 16;

static REVOKE: Query = Query::write(
    "revocations",
    "INSERT INTO revocations (shard, what, at, until) VALUES (?, ?, ?, ?) USING TTL ?",
);
static WRITTEN_AT: Query = Query::read(
    "revocations",
    "SELECT WRITETIME(at) AS written_at FROM revocations WHERE shard = ? AND what = ?",
);
// With the time of what was read: that goes, however the nodes' clocks differ, and one who revokes the same again
// meanwhile is not undone.
static FORGET: Query =
    Query::write("revocations", "DELETE FROM revocations USING TIMESTAMP ? WHERE shard = ? AND what = ?");
static ALL: Query = Query::read(
    "revocations",
    "SELECT what, at, until, WRITETIME(at) AS written_at FROM revocations WHERE shard = ?",
);

#[derive(DeserializeRow)]
struct RevocationRow {
    what: String,
    at: CqlTimestamp,
    until: Option<CqlTimestamp>,
    written_at: i64,
}

fn key(what: &Revoked) -> Result<(i32, String), StoreError> {
    let what = serde_json::to_string(what).map_err(damaged)?;
    Ok((shard(&what), what))
}

/// FNV-1a: it has to be the same in every version, and no more than even.
fn shard(what: &str) -> i32 {
    let hash = what.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    i32::try_from(hash % u64::from(SHARDS.unsigned_abs())).unwrap_or_default()
}

#[async_trait]
impl RevocationStore for Cql {
    async fn revoke(&self, revocation: Revocation) -> Result<(), StoreError> {
        let (shard, what) = key(&revocation.what)?;
        // Nought is for ever.
        let ttl = revocation.until.map_or(0, ttl_until);
        let values = (shard, what, to_cql(revocation.at), revocation.until.map(to_cql), ttl);
        self.write(&REVOKE, values).await
    }

    async fn reinstate(&self, what: &Revoked) -> Result<bool, StoreError> {
        let (shard, what) = key(what)?;
        let written_at = self.one::<(i64,)>(&WRITTEN_AT, (shard, &what)).await?;
        let Some((written_at,)) = written_at else { return Ok(false) };
        self.write(&FORGET, (written_at, shard, what)).await?;
        Ok(true)
    }

    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        let shards =
            try_join_all((0..SHARDS).map(|shard| self.all_rows::<RevocationRow>(&ALL, (shard,)))).await?;
        let mut holding = Vec::new();
        for row in shards.into_iter().flatten() {
            let until = row.until.map(from_cql).transpose()?;
            if until.is_none_or(|until| until > now) {
                let what = serde_json::from_str(&row.what).map_err(damaged)?;
                holding.push(Revocation { what, at: from_cql(row.at)?, until });
            } else {
                self.write(&FORGET, (row.written_at, shard(&row.what), &row.what)).await?;
            }
        }
        Ok(holding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_stay_what_they_were() {
        assert_eq!(shard(""), 5);
        assert_eq!(shard(r#"{"kind":"user","id":"ana"}"#), shard(r#"{"kind":"user","id":"ana"}"#));
        let used: std::collections::BTreeSet<_> = (0..200).map(|id| shard(&id.to_string())).collect();
        assert_eq!(used.len(), 16);
    }
}
