//! Emptying fields of a JSON value, so that the types that read it still can.
//!
//! What may be left out is left out, what may be null is null, and else a text, a list or a number is the empty one: whichever of
//! these the types read first. The largest structure of which nothing is to stay goes as a whole.

use serde_json::{Map, Value};

/// Whether a field is to be emptied, by its steps and what is in it.
pub(super) type Emptied<'a> = &'a dyn Fn(&[String], &Value) -> bool;
/// Whether a value can be read by its types.
pub(super) type Readable<'a> = &'a dyn Fn(&Value) -> bool;

/// Empties fields of a value whose own steps are `steps`; those that no way of emptying leaves readable.
pub(super) fn empty(
    root: &mut Value,
    steps: &[String],
    emptied: Emptied<'_>,
    readable: Readable<'_>,
) -> Vec<String> {
    let mut failed = Vec::new();
    below(root, &mut String::new(), &mut steps.to_vec(), emptied, readable, &mut failed);
    failed
}

/// Whether there is nothing in a value.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// How many leaves are below a value, and how many of them are to be emptied.
fn count(value: &Value, steps: &mut Vec<String>, emptied: Emptied<'_>) -> (usize, usize) {
    let mut sum = (0, 0);
    let mut add = |step: &str, value: &Value, steps: &mut Vec<String>| {
        steps.push(step.to_owned());
        let (all, some) = count(value, steps, emptied);
        steps.pop();
        sum = (sum.0 + all, sum.1 + some);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| add(name, value, steps)),
        Value::Array(items) => items.iter().for_each(|item| add("*", item, steps)),
        _ => sum = (1, usize::from(emptied(steps, value))),
    }
    sum
}

fn below(
    root: &mut Value,
    at: &mut String,
    steps: &mut Vec<String>,
    emptied: Emptied<'_>,
    readable: Readable<'_>,
    failed: &mut Vec<String>,
) {
    let Some(value) = root.pointer(at) else { return };
    let (all, some) = count(value, steps, emptied);
    if some == 0 || (all == some && is_empty(value)) {
        return;
    }
    if all == some && !at.is_empty() && replace(root, at, readable) {
        return;
    }
    // From the end on, as what is taken out of a list moves what stands behind it.
    let children: Vec<(String, String)> = match root.pointer(at) {
        Some(Value::Object(map)) => map.keys().map(|name| (name.clone(), name.clone())).collect(),
        Some(Value::Array(items)) => {
            (0..items.len()).rev().map(|index| (index.to_string(), "*".to_owned())).collect()
        }
        _ => {
            failed.push(steps.join("."));
            return;
        }
    };
    for (name, step) in children {
        let before = at.len();
        at.push('/');
        at.push_str(&name.replace('~', "~0").replace('/', "~1"));
        steps.push(step);
        below(root, at, steps, emptied, readable, failed);
        steps.pop();
        at.truncate(before);
    }
}

/// Puts the emptiest value that can be read in the place of one; whether there is such a value.
fn replace(root: &mut Value, at: &str, readable: Readable<'_>) -> bool {
    let Some(value) = root.pointer(at) else { return false };
    let blank = match value {
        Value::Null | Value::Object(_) => Value::Object(Map::new()),
        Value::Bool(_) => Value::Bool(false),
        Value::Number(_) => 0.into(),
        Value::String(_) => "".into(),
        Value::Array(_) => Value::Array(Vec::new()),
    };
    for with in [None, Some(Value::Null), Some(blank)] {
        let mut tried = root.clone();
        match with {
            None => take_out(&mut tried, at),
            Some(with) => {
                if let Some(place) = tried.pointer_mut(at) {
                    *place = with;
                }
            }
        }
        if readable(&tried) {
            *root = tried;
            return true;
        }
    }
    false
}

fn take_out(root: &mut Value, at: &str) {
    let Some((parent, name)) = at.rsplit_once('/') else { return };
    let name = name.replace("~1", "/").replace("~0", "~");
    match root.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.remove(&name)),
        Some(Value::Array(items)) => {
            if let Some(index) = name.parse::<usize>().ok().filter(|index| *index < items.len()) {
                items.remove(index);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only reading it is tried")]
    struct Event {
        title: String,
        note: Option<String>,
        place: Place,
        at: Option<Point>,
        kind: Kind,
        tags: Vec<String>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only reading it is tried")]
    struct Place {
        text: String,
        city: Option<String>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only reading it is tried")]
    struct Point {
        latitude: f64,
        longitude: f64,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Milonga,
    }

    fn event() -> Value {
        json!({
            "title": "Gala", "note": "x", "place": {"text": "La Viruta", "city": "Rosario"},
            "at": {"latitude": 1.5, "longitude": 2.5}, "kind": "milonga", "tags": ["a", "b"],
        })
    }

    fn emptied(paths: &'static [&'static str]) -> (Value, Vec<String>) {
        let mut value = event();
        let is_meant = |steps: &[String], _: &Value| {
            let path = steps.join(".");
            paths.iter().any(|meant| path == *meant || path.starts_with(&format!("{meant}.")))
        };
        let readable = |value: &Value| serde_json::from_value::<Event>(value.clone()).is_ok();
        let failed = empty(&mut value, &["facts".to_owned()], &is_meant, &readable);
        let mut again = value.clone();
        assert_eq!(empty(&mut again, &["facts".to_owned()], &is_meant, &readable), failed);
        assert_eq!(again, value, "doing it again changes nothing");
        (value, failed)
    }

    #[test]
    fn what_is_emptied_can_still_be_read_and_the_rest_stays() {
        let (value, failed) =
            emptied(&["facts.title", "facts.note", "facts.place.text", "facts.at", "facts.tags"]);
        assert!(failed.is_empty(), "{failed:?}");
        let wanted =
            json!({"title": "", "place": {"text": "", "city": "Rosario"}, "kind": "milonga", "tags": []});
        assert_eq!(value, wanted);
    }

    #[test]
    fn what_cannot_be_emptied_is_told() {
        let (value, failed) = emptied(&["facts.kind", "facts.at.latitude"]);
        assert_eq!(failed, ["facts.kind"]);
        // A number is the empty one.
        assert_eq!(value["at"], json!({"latitude": 0, "longitude": 2.5}));
    }
}
