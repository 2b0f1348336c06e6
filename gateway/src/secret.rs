//! Texts that no log and no printed configuration shows.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one who needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// The environment gives digits as a number; an error must not show the value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Scalar {
            Text(String),
            Number(u64),
        }
        match Scalar::deserialize(deserializer) {
            Ok(Scalar::Text(text)) => Ok(Self(text)),
            Ok(Scalar::Number(number)) => Ok(Self(number.to_string())),
            Err(_) => Err(de::Error::custom("must be a text")),
        }
    }
}
