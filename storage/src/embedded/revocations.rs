//! Revocations in the embedded store.
//!
//! revocations: what, in JSON → revocation

use async_trait::async_trait;
use jiff::Timestamp;

use super::tables::Table;
use super::{Shared, decode, encode};
use crate::StoreError;
use crate::revocations::{Revocation, RevocationStore, Revoked};

#[async_trait]
impl RevocationStore for std::sync::Arc<Shared> {
    async fn revoke(&self, revocation: Revocation) -> Result<(), StoreError> {
        let key = encode(&revocation.what)?;
        self.write(Table::Revocations, move |tx| tx.put(Table::Revocations, key, &revocation)).await
    }

    async fn reinstate(&self, what: &Revoked) -> Result<bool, StoreError> {
        let key = encode(what)?;
        self.write(Table::Revocations, move |tx| {
            let known = tx.has(Table::Revocations, &key)?;
            tx.remove(Table::Revocations, key);
            Ok(known)
        })
        .await
    }

    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        let all = self
            .scan(Table::Revocations, |tables| {
                tables
                    .get(Table::Revocations)
                    .iter()
                    .map(|row| decode::<Revocation>(&row.value()?))
                    .collect::<Result<Vec<_>, StoreError>>()
            })
            .await?;
        let (holding, past): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|revocation| revocation.until.is_none_or(|until| until > now));
        for revocation in past {
            self.reinstate(&revocation.what).await?;
        }
        Ok(holding)
    }
}
