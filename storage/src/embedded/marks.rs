//! Marks, by which a start tells whether a table holds all that was committed.
//!
//! Each commit puts one row behind the last of every table that it writes to: its own number, and the number of the
//! commit before it that wrote to the same table. So the marks of a table are a chain, over its files and all journals,
//! and a part that is missing is a link that is missing.

/// The key of a table's mark. No key of a row begins with this byte: ids are text, and times are below it.
pub(super) const KEY: &[u8] = &[0xff];

/// What one commit left in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The store that the commit is of: a random number.
    pub(super) store: u64,
    /// The number of the commit in its store, from 1 on.
    pub(super) number: u64,
    /// The number of the commit before it that wrote to this table; 0 if there is none.
    pub(super) before: u64,
}

impl Mark {
    pub(super) fn encode(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (place, number) in bytes.chunks_exact_mut(8).zip([self.store, self.number, self.before]) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let [store, number, before] = *numbers else { return None };
        let [store, number, before] = [store, number, before].map(u64::from_be_bytes);
        Some(Self { store, number, before })
    }
}
