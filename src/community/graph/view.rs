//! A user's relations as a node keeps them in memory, for users who read. They are read again when the number in the head of the
//! user's circle tells that they have changed: the head is cached, and each change takes it out of the caches of all nodes.

use std::sync::Arc;

use mundotango_storage::StoreError;
use mundotango_storage::db::{RowRange, last_part, prefix};

use super::relations::{Relations, Sorts};
use super::store::{CIRCLES, Circles, TIES};

/// Relations that are read at a time.
const READ_AT_ONCE: usize = 2_000;

impl Circles {
    /// A user's relations. Costs one look at the head of the circle, which the node keeps and every change takes away on all
    /// nodes; the relations are read only when they have changed, once for all who ask meanwhile.
    pub async fn view(&self, user_id: &str) -> Result<Arc<Relations>, StoreError> {
        let version = self.head(user_id).await?.view;
        if version == 0 {
            return Ok(Arc::default());
        }
        // A head out of the cache may be older than what was read.
        let known = || self.kept.lock().find(user_id).filter(|known| known.version >= version);
        match known() {
            Some(known) => Ok(known),
            None => self.reading.shared(user_id, known, self.read_view(user_id, version)).await,
        }
    }

    /// Reads a user's relations, which are those of a version or later.
    async fn read_view(&self, user_id: &str, version: u64) -> Result<Arc<Relations>, StoreError> {
        let mut relations = Vec::new();
        let mut range = RowRange::first(prefix(&[TIES]), READ_AT_ONCE);
        loop {
            let rows = self.db.rows(&CIRCLES, user_id, &range).await?;
            let sorted = rows.items.iter().map(|(key, tie)| (last_part(key), Sorts::of(tie)));
            relations.extend(sorted.filter(|(_, sorts)| *sorts != Sorts::default()));
            if rows.next.is_none() {
                break;
            }
            range = range.after(rows.next);
        }
        let relations = Arc::new(Relations::new(version, relations));
        self.kept.lock().put(user_id.to_owned(), Arc::clone(&relations));
        Ok(relations)
    }
}
