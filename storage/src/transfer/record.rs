//! What a stream is made of, and its lines.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::PUBLICATIONS;
use crate::StoreError;
use crate::db::engine::Stored;
use crate::db::whole::{WholeEntry, WholePublication};
use crate::db::{IndexSpec, KindSpec, Schema};

/// A table of a store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    Kind(&'static KindSpec),
    Index(&'static IndexSpec),
    Publications,
}

impl Table {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.name,
            Self::Index(index) => index.name,
            Self::Publications => PUBLICATIONS,
        }
    }

    /// All tables of a schema in the order of a stream.
    pub(super) fn all(schema: &Schema) -> Vec<Self> {
        let kinds = schema.kinds.iter().filter(|kind| kind.ttl.is_none()).map(|kind| Self::Kind(kind));
        let indexes =
            schema.indexes.iter().filter(|index| index.ttl.is_none()).map(|index| Self::Index(index));
        kinds.chain(indexes).chain([Self::Publications]).collect()
    }

    fn named(schema: &Schema, name: &str) -> Option<Self> {
        Self::all(schema).into_iter().find(|table| table.name() == name)
    }
}

/// One line of a stream that holds data.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    /// A partition with its rows, or the first of them.
    Partition { kind: Kind, id: String, stored: Stored, goes_on: bool },
    /// More rows of the partition before.
    Rows { kind: Kind, id: String, rows: Vec<(String, Bytes)>, goes_on: bool },
    /// An entry of an index.
    Entry { index: Index, entry: WholeEntry },
    /// A publication of a long history.
    Publication(WholePublication),
}

/// A kind, which is the same if its name is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind(pub(super) &'static KindSpec);

/// An index, which is the same if its name is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Index(pub(super) &'static IndexSpec);

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl PartialEq for Index {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

/// A line as it is written. Which fields there are tells what it is.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    table: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    marks: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    facts: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rows: Vec<(String, Box<RawValue>)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    goes_on: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    list: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    publication: Option<String>,
}

/// A body that is no JSON of one line, which no version of this program writes, but an operator may have.
#[derive(Serialize, Deserialize)]
struct NoJson {
    #[serde(rename = "$text")]
    text: String,
}

/// What [`NoJson`] begins with.
const NO_JSON: &str = "{\"$text\":";

/// Whether bytes are JSON as the program writes it.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

fn damaged(error: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(error.to_string())
}

/// A body in a line, byte by byte as it is kept.
fn raw(bytes: &Bytes) -> Result<Box<RawValue>, StoreError> {
    let text = std::str::from_utf8(bytes).map_err(damaged)?;
    let is_plain = !text.contains('\n')
        && !text.starts_with(NO_JSON)
        && serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get().len() == text.len());
    let line = if is_plain {
        text.to_owned()
    } else {
        serde_json::to_string(&NoJson { text: text.to_owned() }).map_err(damaged)?
    };
    RawValue::from_string(line).map_err(damaged)
}

fn bytes(raw: &RawValue) -> Result<Bytes, StoreError> {
    if raw.get().starts_with(NO_JSON) {
        let body: NoJson = serde_json::from_str(raw.get()).map_err(damaged)?;
        return Ok(body.text.into());
    }
    Ok(Bytes::copy_from_slice(raw.get().as_bytes()))
}

fn raw_rows<'a>(
    rows: impl Iterator<Item = (&'a String, &'a Bytes)>,
) -> Result<Vec<(String, Box<RawValue>)>, StoreError> {
    rows.map(|(key, row)| Ok((key.clone(), raw(row)?))).collect()
}

impl Record {
    pub(super) fn table(&self) -> &'static str {
        match self {
            Self::Partition { kind, .. } | Self::Rows { kind, .. } => kind.0.name,
            Self::Entry { index, .. } => index.0.name,
            Self::Publication(_) => PUBLICATIONS,
        }
    }

    /// The record's line with its line break.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let table = self.table().to_owned();
        let line = match self {
            Self::Partition { id, stored, goes_on, .. } => Line {
                table,
                id: Some(id.clone()),
                version: Some(stored.version),
                marks: stored.marks.clone(),
                deleted: stored.deleted,
                facts: stored.facts.as_ref().map(raw).transpose()?,
                head: stored.head.as_ref().map(raw).transpose()?,
                rows: raw_rows(stored.rows.iter())?,
                goes_on: *goes_on,
                ..Line::default()
            },
            Self::Rows { id, rows, goes_on, .. } => Line {
                table,
                id: Some(id.clone()),
                rows: raw_rows(rows.iter().map(|(key, row)| (key, row)))?,
                goes_on: *goes_on,
                ..Line::default()
            },
            Self::Entry { entry, .. } => Line {
                table,
                list: Some(entry.list.clone()),
                key: Some(entry.key.clone()),
                body: Some(raw(&entry.body)?),
                ..Line::default()
            },
            Self::Publication(one) => Line {
                table,
                channel: Some(one.channel.clone()),
                offset: Some(one.offset),
                epoch: Some(one.epoch.clone()),
                end: Some(one.end),
                publication: Some(BASE64_STANDARD.encode(&one.publication)),
                ..Line::default()
            },
        };
        serde_json::to_writer(&mut *out, &line).map_err(damaged)?;
        out.push(b'\n');
        Ok(())
    }

    /// The record of a line.
    pub(super) fn read(line: &[u8], schema: &Schema) -> Result<Self, StoreError> {
        let line: Line = serde_json::from_slice(line).map_err(damaged)?;
        let unknown = || damaged(format!("this version has no table {:?}", line.table));
        let missing = |field: &str| damaged(format!("a line of {} has no {field}", line.table));
        let rows = || line.rows.iter().map(|(key, body)| Ok((key.clone(), bytes(body)?)));
        match Table::named(schema, &line.table).ok_or_else(unknown)? {
            Table::Kind(kind) => {
                let id = line.id.clone().ok_or_else(|| missing("id"))?;
                let Some(version) = line.version else {
                    let rows = rows().collect::<Result<_, StoreError>>()?;
                    return Ok(Self::Rows { kind: Kind(kind), id, rows, goes_on: line.goes_on });
                };
                let stored = Stored {
                    facts: line.facts.as_deref().map(bytes).transpose()?,
                    head: line.head.as_deref().map(bytes).transpose()?,
                    version,
                    marks: line.marks.clone(),
                    deleted: line.deleted,
                    rows: rows().collect::<Result<_, StoreError>>()?,
                };
                Ok(Self::Partition { kind: Kind(kind), id, stored, goes_on: line.goes_on })
            }
            Table::Index(index) => {
                let list = line.list.clone().ok_or_else(|| missing("list"))?;
                let key = line.key.clone().ok_or_else(|| missing("key"))?;
                let body = bytes(line.body.as_deref().unwrap_or(RawValue::NULL))?;
                Ok(Self::Entry { index: Index(index), entry: WholeEntry { list, key, body } })
            }
            Table::Publications => {
                let publication = line.publication.as_ref().ok_or_else(|| missing("publication"))?;
                Ok(Self::Publication(WholePublication {
                    channel: line.channel.clone().ok_or_else(|| missing("channel"))?,
                    offset: line.offset.ok_or_else(|| missing("offset"))?,
                    epoch: line.epoch.clone().ok_or_else(|| missing("epoch"))?,
                    end: line.end.ok_or_else(|| missing("end"))?,
                    publication: BASE64_STANDARD.decode(publication).map_err(damaged)?.into(),
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bodies_come_back_byte_by_byte() {
        for body in [
            "null",
            "{\"a\": 1}",
            " 1",
            "1\n",
            "{\"a\":\n1}",
            "no json",
            "",
            "{\"$text\":\"x\"}",
            "\"\u{2028}é\"",
        ] {
            let body = Bytes::copy_from_slice(body.as_bytes());
            let line = raw(&body).unwrap();
            assert!(!line.get().contains('\n'), "{line}");
            // As in a stream, where it is read out of a line.
            let read: Box<RawValue> = serde_json::from_str(&serde_json::to_string(&line).unwrap()).unwrap();
            assert_eq!(bytes(&read).unwrap(), body);
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(body in "[ \\n\\{\\}\\[\\]\":,a0é]{0,12}") {
            let body = Bytes::from(body);
            prop_assert_eq!(bytes(&raw(&body).unwrap()).unwrap(), body);
        }
    }
}
