//! JSON forms that serde does not give by itself: payload bytes are embedded JSON, defaults are left out.

use serde_json::value::RawValue;

/// Whether the bytes are one JSON text, so that a JSON connection can carry them.
pub fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

/// Whether a field has its type's default value and so is not written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `#[serde(with = "raw")]`: bytes that are JSON themselves and are forwarded as they came.
pub(crate) mod raw {
    use bytes::Bytes;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de, ser};
    use serde_json::value::RawValue;

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_slice(bytes).map_err(ser::Error::custom)?;
        raw.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer).map_err(de::Error::custom)?;
        let text: Box<str> = raw.into();
        let mut bytes = text.into_string().into_bytes();
        // A line break between tokens would end the message for a client that splits frames at line breaks.
        for byte in &mut bytes {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        Ok(Bytes::from(bytes))
    }
}

/// Declares wire messages: Protobuf and JSON at once, whose default fields are not written.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$attr])* #[serde(skip_serializing_if = "crate::json::is_default")] pub $field: $type,)*
        }
    )*};
}
pub(crate) use messages;
