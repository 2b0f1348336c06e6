//! Values as the store keeps them: JSON, readable where it lies.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::StoreError;

/// A value's bytes.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Bytes, StoreError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// The value of bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// A value's bytes in the place of those that another version of this program may have written: fields that this version
/// does not know are kept, however deep they lie, so that nodes of two versions can write the same rows during a rollout.
/// Items of lists are the exception, as nothing tells which of them is the same one afterwards.
pub(crate) fn encode_over<T: Serialize + DeserializeOwned>(
    before: Option<&Bytes>,
    value: &T,
) -> Result<Bytes, StoreError> {
    let bytes = encode(value)?;
    let Some(before) = before else { return Ok(bytes) };
    let known = encode(&decode::<T>(before)?)?;
    if known == before {
        return Ok(bytes);
    }
    let mut after = decode(&bytes)?;
    if keep_unknown(decode(before)?, &decode(&known)?, &mut after) { encode(&after) } else { Ok(bytes) }
}

/// Adds what was there before and this version does not know; whether there was anything.
fn keep_unknown(before: Value, known: &Value, after: &mut Value) -> bool {
    let (Value::Object(before), Value::Object(known), Value::Object(after)) = (before, known, after) else {
        return false;
    };
    let mut keeps = false;
    for (name, value) in before {
        match (known.get(&name), after.get_mut(&name)) {
            (None, None) => {
                after.insert(name, value);
                keeps = true;
            }
            (Some(known), Some(after)) => keeps |= keep_unknown(value, known, after),
            _ => (),
        }
    }
    keeps
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Old {
        count: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    }

    #[test]
    fn fields_of_a_newer_version_are_kept_and_cleared_ones_are_not() {
        let over = |before: &'static str, value: &Old| {
            let bytes = encode_over(Some(&Bytes::from_static(before.as_bytes())), value).unwrap();
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        let value = Old { count: 2, note: None };
        assert_eq!(over(r#"{"count":1}"#, &value), r#"{"count":2}"#);
        assert_eq!(over(r#"{"count":1,"note":"x"}"#, &value), r#"{"count":2}"#);
        assert_eq!(over(r#"{"count":1,"later":[1],"note":"x"}"#, &value), r#"{"count":2,"later":[1]}"#);
    }

    #[derive(Default, Serialize, Deserialize)]
    struct Nested {
        limits: Option<Old>,
        by_user: BTreeMap<String, Old>,
        list: Vec<Old>,
    }

    #[test]
    fn what_lies_deeper_is_kept_as_well_unless_its_place_is_gone() {
        let before = r#"{"limits":{"count":1,"later":2},"by_user":{"a":{"count":1,"later":3},"b":{"count":1,"later":4}},"list":[{"count":1,"later":5}]}"#;
        let over = |value: &Nested| {
            let bytes = encode_over(Some(&Bytes::from_static(before.as_bytes())), value).unwrap();
            decode::<Value>(&bytes).unwrap()
        };
        let old = |count| Old { count, note: None };
        let by_user = BTreeMap::from([("a".to_owned(), old(2)), ("c".to_owned(), old(9))]);
        let changed = Nested { limits: Some(old(7)), by_user, list: vec![old(1)] };
        assert_eq!(
            over(&changed),
            serde_json::json!({
                "limits": { "count": 7, "later": 2 },
                "by_user": { "a": { "count": 2, "later": 3 }, "c": { "count": 9 } },
                "list": [{ "count": 1 }],
            })
        );
        assert_eq!(
            over(&Nested::default()),
            serde_json::json!({ "limits": null, "by_user": {}, "list": [] })
        );
    }
}
