//! Whom a text mentions: looked up once, when it is written. A name that changes hands later leads to nobody else.

use std::collections::{BTreeMap, BTreeSet};

use mundotango_gateway::problem::{FieldCode, Problem};

use super::entities::names_of;
use crate::community::Community;

/// Most people whom a text mentions.
const MOST: usize = 10;

/// Those whom a text mentions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::community) struct Mentioned {
    /// Their ids, by the names that the text has, in lower case.
    pub(in crate::community) ids: BTreeMap<String, String>,
    /// Those of them who were not mentioned before, without the author.
    pub(in crate::community) new: BTreeSet<String>,
}

impl Community {
    /// Those whom a text of a user mentions, where it mentioned others before. Those who are new count against the user's day.
    pub(in crate::community) async fn mentioned(
        &self,
        text: &str,
        author_id: &str,
        before: &BTreeMap<String, String>,
    ) -> Result<Mentioned, Problem> {
        let names = names_of(text);
        if names.len() > MOST {
            let message = format!("must mention {MOST} people at most");
            return Err(Problem::invalid_field("content", FieldCode::OutOfRange, message));
        }
        let (known, unknown): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| before.contains_key(name));
        let mut ids = self.accounts.ids_of(&unknown).await?;
        ids.extend(known.into_iter().filter_map(|name| Some((name.clone(), before.get(&name)?.clone()))));
        let was_mentioned = |id: &String| before.values().any(|before| before == id);
        let new = ids.values().filter(|id| *id != author_id && !was_mentioned(id)).cloned();
        let new: BTreeSet<_> = new.collect();
        self.limits.mentions(author_id, new.len()).await?;
        Ok(Mentioned { ids, new })
    }
}
