//! Counts and checksums of tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::record::Record;

/// What a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Partitions, deleted ones too; none in an index.
    pub partitions: u64,
    /// Rows of partitions, entries, or publications.
    pub rows: u64,
    /// Bytes of their ids, keys and bodies.
    pub bytes: u64,
    /// The sum of the digests of all of them, so that their order is no matter.
    #[serde(with = "hex")]
    pub checksum: [u64; 4],
}

/// What tables hold, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Totals(pub BTreeMap<String, Total>);

impl Total {
    fn add_item(&mut self, parts: &[&[u8]]) {
        let mut digest = Sha256::new();
        for part in parts {
            // Two items never make one text.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
            self.bytes += part.len() as u64;
        }
        let digest = digest.finalize();
        let (words, _) = digest.as_slice().as_chunks::<8>();
        for (sum, word) in self.checksum.iter_mut().zip(words) {
            *sum = sum.wrapping_add(u64::from_be_bytes(*word));
        }
    }
}

impl Totals {
    /// Counts a record.
    pub(super) fn add(&mut self, record: &Record) {
        let total = self.of(record.table());
        match record {
            Record::Partition { id, stored, .. } => {
                total.partitions += 1;
                let marks = stored.marks.join("\0");
                total.add_item(&[
                    b"p",
                    id.as_bytes(),
                    stored.facts.as_deref().unwrap_or_default(),
                    stored.head.as_deref().unwrap_or_default(),
                    &stored.version.to_le_bytes(),
                    marks.as_bytes(),
                    &[stored.deleted.into()],
                ]);
                for (key, row) in &stored.rows {
                    total.rows += 1;
                    total.add_item(&[b"r", id.as_bytes(), key.as_bytes(), row]);
                }
            }
            Record::Rows { id, rows, .. } => {
                for (key, row) in rows {
                    total.rows += 1;
                    total.add_item(&[b"r", id.as_bytes(), key.as_bytes(), row]);
                }
            }
            Record::Entry { entry, .. } => {
                total.rows += 1;
                total.add_item(&[b"e", entry.list.as_bytes(), entry.key.as_bytes(), &entry.body]);
            }
            // Not when it goes: a CQL server tells that by the second.
            Record::Publication(one) => {
                total.rows += 1;
                let offset = one.offset.to_le_bytes();
                total.add_item(&[
                    b"h",
                    one.channel.as_bytes(),
                    &offset,
                    one.epoch.as_bytes(),
                    &one.publication,
                ]);
            }
        }
    }

    /// Adds what others counted.
    pub(super) fn merge(&mut self, others: &Self) {
        for (table, other) in &others.0 {
            let total = self.of(table);
            total.partitions += other.partitions;
            total.rows += other.rows;
            total.bytes += other.bytes;
            for (sum, word) in total.checksum.iter_mut().zip(other.checksum) {
                *sum = sum.wrapping_add(word);
            }
        }
    }

    /// The total of a table, which is nothing at first.
    pub(super) fn of(&mut self, table: &str) -> &mut Total {
        self.0.entry(table.to_owned()).or_default()
    }
}

mod hex {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(checksum: &[u64; 4], serializer: S) -> Result<S::Ok, S::Error> {
        let [a, b, c, d] = checksum;
        serializer.collect_str(&format_args!("{a:016x}{b:016x}{c:016x}{d:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u64; 4], D::Error> {
        let text = String::deserialize(deserializer)?;
        let word = |index: usize| text.get(index * 16..index * 16 + 16);
        let word = |index| word(index).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        match (word(0), word(1), word(2), word(3)) {
            (Some(a), Some(b), Some(c), Some(d)) if text.len() == 64 => Ok([a, b, c, d]),
            _ => Err(D::Error::custom("no checksum of 64 digits")),
        }
    }
}
