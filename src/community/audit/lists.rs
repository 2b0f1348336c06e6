//! Whether the lists lead to all entries of a day: what is in no list is shown to nobody, though its chain is whole.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use jiff::civil::Date;
use mundotango_storage::StoreError;

use super::rules::Entry;
use super::store::{AuditStore, list_key, lists_of};

/// Lists that are looked at at a time.
const AT_ONCE: usize = 50;

/// Entries by the keys under which a list is to have them: the chain and the number of each.
type Keys = BTreeMap<String, (String, u64)>;

/// Where the entries of a day are to be found.
#[derive(Debug, Default)]
pub(super) struct Expected {
    lists: BTreeMap<String, Keys>,
    /// By chain, the numbers of entries by name.
    names: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Expected {
    /// Adds an entry of a chain.
    pub(super) fn add(&mut self, chain: &str, number: u64, entry: &Entry) {
        let key = list_key(entry.at, chain, &entry.id);
        for list in lists_of(&entry.actor, &entry.thing.id, &entry.act) {
            self.lists.entry(list).or_default().insert(key.clone(), (chain.to_owned(), number));
        }
        self.names.entry(chain.to_owned()).or_default().insert(entry.id.clone(), number);
    }

    /// By chain, the first entry to which a list does not lead.
    pub(super) async fn unlisted(
        self,
        store: &AuditStore,
        day: Date,
    ) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut found = Vec::new();
        for (chain, names) in self.names {
            let unplaced = store.unplaced(&chain, names).await?;
            found.extend(unplaced.into_iter().map(|number| (chain.clone(), number)));
        }
        let lists: Vec<_> = self.lists.into_iter().collect();
        for some in lists.chunks(AT_ONCE) {
            let looked = some.iter().map(|(list, keys)| store.unlisted(list, day, keys.clone()));
            found.extend(try_join_all(looked).await?.into_iter().flat_map(Keys::into_values));
        }
        let mut first = BTreeMap::new();
        for (chain, number) in found {
            let known = first.entry(chain).or_insert(number);
            *known = number.min(*known);
        }
        Ok(first)
    }
}
