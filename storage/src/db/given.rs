//! What of a partition a person is given who asks for all that is personal.

use serde_json::{Map, Value};

use super::erasure::{Look, RowOf, split, steps};
use super::personal::{Export, declaration};
use super::plain::{Plain, PlainEntry};

impl Look<'_> {
    /// What of the partition the person is given: parts by name, and rows by key. `None` if nothing is.
    pub fn given(&self, plain: &Plain) -> Option<Map<String, Value>> {
        let mut given = Map::new();
        let id = Value::String(plain.id.clone());
        for (part, value) in
            [("id", Some(&id)), ("facts", plain.facts.as_ref()), ("head", plain.head.as_ref())]
        {
            let kept = value.and_then(|value| self.given_of(value, &mut steps(&[part]), None));
            given.extend(kept.map(|kept| (part.to_owned(), kept)));
        }
        let rows = plain.rows.iter().filter_map(|(key, row)| {
            let kept = self.given_of(row, &mut steps(&["rows", split(key).0]), Some((key, row)));
            let is_key_given = || {
                let (first, rest) = split(key);
                let steps = steps(&["keys", first]);
                let value = Value::String(rest?.to_owned());
                self.is_given(&steps, &value, Some((key, row))).then_some(Value::Object(Map::new()))
            };
            Some((key.clone(), kept.or_else(is_key_given)?))
        });
        let rows: Map<String, Value> = rows.collect();
        if !rows.is_empty() {
            given.insert("rows".to_owned(), rows.into());
        }
        (!given.is_empty()).then_some(given)
    }

    fn is_given(&self, steps: &[String], value: &Value, row: Option<RowOf<'_>>) -> bool {
        declaration(self.fields, steps).and_then(|(_, some)| some.personal).is_some_and(|personal| {
            personal.export == Export::Given && self.is_theirs(&personal, steps, value, row)
        })
    }

    fn given_of(&self, value: &Value, steps: &mut Vec<String>, row: Option<RowOf<'_>>) -> Option<Value> {
        match value {
            Value::Object(map) => {
                let mut kept = Map::new();
                for (name, value) in map {
                    steps.push(name.clone());
                    kept.extend(self.given_of(value, steps, row).map(|value| (name.clone(), value)));
                    steps.pop();
                }
                (!kept.is_empty()).then_some(kept.into())
            }
            Value::Array(items) => {
                steps.push("*".to_owned());
                let kept: Vec<_> = items.iter().filter_map(|item| self.given_of(item, steps, row)).collect();
                steps.pop();
                (!kept.is_empty()).then_some(kept.into())
            }
            _ => self.is_given(steps, value, row).then(|| value.clone()),
        }
    }

    /// What of an entry the person is given.
    pub fn given_of_entry(&self, entry: &PlainEntry) -> Option<Value> {
        let whole = serde_json::json!({"key": entry.key, "entry": entry.entry});
        self.given_of(&whole, &mut Vec::new(), None)
    }
}
