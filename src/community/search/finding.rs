//! From words to a page of things: what the index says, then what the caller may see of it.
//!
//! A page counts what was shown before it and nothing else, so neither a cursor nor the end of a list tells of a thing that is
//! hidden. That costs looking at the same hits again for each further page, which is why a search goes only so deep.

use std::collections::BTreeSet;

use mundotango_gateway::Identity;
use mundotango_gateway::problem::Problem;
use mundotango_storage::{Page, PageRequest, StoreError};

use super::shown::Thing;
use crate::community::Community;
use crate::search::SearchError;
use crate::search::filter::Filter;
use crate::search::query::Search;

/// Most hits that one request looks at, those of pages before its own among them.
const MOST_LOOKED_AT: usize = 300;
/// Most things that a search shows, over all its pages.
const MOST_SHOWN: usize = 200;
/// Hits that are read at a time.
const READ_AT_ONCE: usize = 50;
/// So few things that words which are spelled otherwise are looked for as well.
const FEW: usize = 3;

/// A page of things.
pub(super) struct FoundPage {
    /// The things; the cursor behind them.
    pub(super) things: Page<Thing>,
    /// Whether words count that are spelled otherwise.
    pub(super) misspelt: bool,
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Off | SearchError::TooMany => Self::unavailable(error.to_string()),
            SearchError::Index(error) => Self::internal(&error),
        }
    }
}

/// Where a page begins: behind how many things, and whether words that are spelled otherwise count.
fn place(cursor: &str) -> Option<(usize, bool)> {
    let (way, shown) = cursor.split_at_checked(1)?;
    let shown = shown.parse().ok().filter(|shown| *shown < MOST_SHOWN)?;
    match way {
        "e" => Some((shown, false)),
        "m" => Some((shown, true)),
        _ => None,
    }
}

fn cursor(shown: usize, misspelt: bool) -> String {
    format!("{}{shown}", if misspelt { "m" } else { "e" })
}

impl Community {
    /// A page of what is found and may be seen.
    pub(super) async fn found_page(
        &self,
        identity: &Identity,
        search: &Search,
        filter: &Filter,
        page: PageRequest,
    ) -> Result<FoundPage, Problem> {
        let mut known = None;
        let (_, skipped) = page.start.behind(|cursor| {
            known = place(&cursor);
            known.map(|_| cursor)
        })?;
        let (before, wants_misspelt) = known.unwrap_or((skipped, false));
        if before >= MOST_SHOWN {
            return Err(StoreError::BadCursor.into());
        }
        let most = (before + page.limit).min(MOST_SHOWN);
        let mut misspelt = wants_misspelt;
        let wanted = (most + 1).max(FEW);
        let mut found = self.first_of(identity, search, filter, misspelt, wanted).await?;
        if known.is_none() && found.len() < FEW {
            misspelt = true;
            found = self.first_of(identity, search, filter, misspelt, wanted).await?;
        }
        let next = (found.len() > most && most < MOST_SHOWN).then(|| cursor(most, misspelt));
        found.truncate(most);
        let items = found.into_iter().skip(before).collect();
        Ok(FoundPage { things: Page { items, next }, misspelt })
    }

    /// The first things that are found and may be seen.
    pub(super) async fn first_of(
        &self,
        identity: &Identity,
        search: &Search,
        filter: &Filter,
        misspelt: bool,
        wanted: usize,
    ) -> Result<Vec<Thing>, Problem> {
        let hits = self.searcher.find(search, filter, misspelt, MOST_LOOKED_AT).await?;
        let (mut found, mut series) = (Vec::new(), BTreeSet::new());
        for some in hits.chunks(READ_AT_ONCE) {
            // Of dates that fit alike the next one comes first, and stands for its series.
            let things = self.things_of(some, identity).await?.into_iter();
            found.extend(things.filter(|thing| thing.series().is_none_or(|id| series.insert(id.to_owned()))));
            if found.len() >= wanted {
                break;
            }
        }
        found.truncate(wanted);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_tells_how_many_were_shown_and_nothing_else_is_one() {
        for (shown, misspelt) in [(0, false), (20, true), (199, false)] {
            assert_eq!(place(&cursor(shown, misspelt)), Some((shown, misspelt)));
        }
        for wrong in ["", "e", "20", "x20", "e200", "e-1", "é1"] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }
}
