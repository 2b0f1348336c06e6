//! JSON forms that serde does not give by itself: payload bytes are embedded JSON, defaults are left out.

use serde_json::value::RawValue;

/// True if the bytes are one JSON text, so that a JSON connection can carry them.
pub fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

/// True if a field has its type's default value and so is not written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `#[serde(with = "raw")]`: bytes that are JSON themselves and are forwarded as they came.
pub(crate) mod raw {
    use bytes::Bytes;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, ser};
    use serde_json::value::RawValue;

    /// The one place where payload bytes become part of a JSON message, whichever door they came by. Bytes that are no
    /// JSON are an error. Line breaks between tokens become blanks: a line break would end the message for a client
    /// that splits a frame into lines. Inside of JSON strings a line break is always escaped.
    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        let json: &RawValue = serde_json::from_slice(bytes).map_err(ser::Error::custom)?;
        if memchr::memchr2(b'\n', b'\r', json.get().as_bytes()).is_none() {
            return json.serialize(serializer);
        }
        let line = json.get().replace(['\n', '\r'], " ");
        RawValue::from_string(line).map_err(ser::Error::custom)?.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text: Box<str> = Box::<RawValue>::deserialize(deserializer)?.into();
        Ok(Bytes::from(text.into_string()))
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
