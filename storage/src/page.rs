//! Pages of lists.

use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Which part of a list to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageRequest {
    /// Where the page starts.
    pub start: PageStart,
    /// Most items on it.
    pub limit: usize,
}

/// Where a page starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum PageStart {
    /// At the list's beginning.
    First,
    /// Behind the item that a page before ended with.
    After(String),
    /// Behind this many items, for clients that count pages; costs the reading of all of them.
    Skip(usize),
}

impl PageStart {
    /// Behind which key of the list the page starts, if behind any, and how many items are left out from there on. `key` makes
    /// the key of a cursor; `None` of a text that no page gave.
    pub fn behind(
        self,
        key: impl FnOnce(String) -> Option<String>,
    ) -> Result<(Option<String>, usize), StoreError> {
        match self {
            Self::First => Ok((None, 0)),
            Self::Skip(items) => Ok((None, items)),
            Self::After(cursor) => Ok((Some(key(cursor).ok_or(StoreError::BadCursor)?), 0)),
        }
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// The cursor of the page behind this one, if there is more.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The page with every item changed.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next: self.next }
    }
}
