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

    /// What is wrong with a secret of less than `min` bytes, with the option's name.
    pub fn too_short(&self, option: &str, min: usize) -> Option<String> {
        (self.0.len() < min).then(|| format!("{option}: needs at least {min} bytes"))
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
    /// A blank text is refused: an empty secret would open what it should close. A number is refused as well: its
    /// digits may have been others (`007`). Errors never show the value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer) {
            Ok(text) if text.trim().is_empty() => {
                Err(de::Error::custom("is blank; leave it out, or give it a value"))
            }
            Ok(text) => Ok(Self(text)),
            Err(_) => Err(de::Error::custom("must be a text, in quotes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_numbers_are_no_secrets_and_no_error_shows_one() {
        let read = |json: &str| serde_json::from_str::<Secret>(json);
        assert_eq!(read(r#""007""#).unwrap().expose(), "007");
        for bad in [r#""""#, r#""  ""#, "1234567", "[]", "1.5"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(!error.contains("1234567"), "{error}");
        }
        let secret = Secret::new("hidden".to_owned());
        assert_eq!((format!("{secret:?}"), secret.too_short("x", 6)), ("***".to_owned(), None));
        assert_eq!(secret.too_short("x", 7).unwrap(), "x: needs at least 7 bytes");
    }
}
