//! Values as the store keeps them: JSON, readable where it lies.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

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
/// does not know are kept, so that nodes of two versions can write the same rows during a rollout.
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
    let object = |bytes: &[u8]| decode::<Map<String, Value>>(bytes).ok();
    let (Some(before), Some(known), Some(mut after)) = (object(before), object(&known), object(&bytes))
    else {
        return Ok(bytes);
    };
    let unknown: Vec<_> = before
        .into_iter()
        .filter(|(name, _)| !known.contains_key(name) && !after.contains_key(name))
        .collect();
    if unknown.is_empty() {
        return Ok(bytes);
    }
    after.extend(unknown);
    encode(&after)
}

#[cfg(test)]
mod tests {
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
}
