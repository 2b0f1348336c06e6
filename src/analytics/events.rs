//! Events as they wait in their queue and as they are kept.

use mundotango_storage::db::time_of_id;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::counts::{Class, Dimension, Kind};
use super::slots::Slot;
use super::visitors::Visitor;

/// Something that happened at a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// A UUID of version 7 that the client made. It says when the event happened, so that the event belongs
    /// to the same slot whenever it comes, and names it there.
    #[serde(rename = "i")]
    pub id: String,
    /// What happened.
    #[serde(rename = "k")]
    pub kind: Kind,
    /// What exactly.
    #[serde(rename = "n")]
    pub name: String,
    /// The form of the path of the page where it happened.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What else the client tells of it.
    #[serde(rename = "x", default, skip_serializing_if = "Map::is_empty")]
    pub properties: Map<String, Value>,
}

impl Event {
    /// The slot in which it happened; `None` for an id that tells no time.
    pub fn slot(&self) -> Option<Slot> {
        time_of_id(&self.id).map(Slot::of)
    }

    /// What it is counted by.
    pub fn dimensions(&self) -> impl Iterator<Item = String> {
        let path = self.path.clone().map(|path| Dimension::Path(self.kind, path));
        let name = Dimension::Name(self.kind, self.name.clone());
        let all = [Dimension::All, Dimension::Kind(self.kind), name];
        all.into_iter().chain(path).map(|dimension| dimension.text())
    }
}

/// Who sent events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    /// Who it is.
    #[serde(rename = "v")]
    pub visitor: Visitor,
    /// What it is.
    #[serde(rename = "c")]
    pub class: Class,
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Who sent it.
    #[serde(flatten)]
    pub sender: Sender,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}
