//! The languages that letters and pages are written in.

use serde::{Deserialize, Serialize};

/// Parts of an `Accept-Language` that are read; browsers send fewer than ten.
const MAX_ACCEPTED: usize = 32;

/// A language that letters are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Spanish.
    Es,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 2] = [Self::En, Self::Es];

    /// The language's tag (BCP 47), which is also its name in the configuration.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Es => "es",
        }
    }

    /// The direction of its script, for the HTML attribute `dir`.
    pub const fn direction(self) -> &'static str {
        match self {
            Self::En | Self::Es => "ltr",
        }
    }

    /// The language that a reader likes best, from the header `Accept-Language` (RFC 9110, 12.5.4). `None` if
    /// the header names none of ours.
    pub fn accepted(header: &str) -> Option<Self> {
        let mut best: Option<(Self, f32)> = None;
        for range in header.split(',').take(MAX_ACCEPTED) {
            let mut parts = range.split(';').map(str::trim);
            let primary = parts.next().and_then(|tag| tag.split('-').next()).unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let weight = weight.map_or(1.0, |text| text.parse().unwrap_or(0.0));
            let known = Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary));
            // Of two with the same weight, the first counts.
            if let Some(language) = known
                && weight > best.map_or(0.0, |(_, weight)| weight)
            {
                best = Some((language, weight));
            }
        }
        best.map(|(language, _)| language)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_one_name_everywhere() {
        for language in Language::ALL {
            assert_eq!(serde_json::to_value(language).unwrap(), language.tag());
        }
    }

    #[test]
    fn the_language_with_the_highest_weight_is_taken() {
        for (header, language) in [
            ("es", Some(Language::Es)),
            ("ES-ar", Some(Language::Es)),
            ("es-AR,es;q=0.9,en;q=0.8", Some(Language::Es)),
            ("en;q=0.5, es;q=0.7", Some(Language::Es)),
            ("en, es", Some(Language::En)),
            ("de, fr;q=0.9, es ; q=0.1", Some(Language::Es)),
            ("es;q=0, en;q=0.1", Some(Language::En)),
            ("es;q=nan, en;q=inf;q=1", Some(Language::En)),
            ("est", None),
            ("de-DE", None),
            ("*", None),
            (";;,,q=1", None),
            ("", None),
        ] {
            assert_eq!(Language::accepted(header), language, "{header}");
        }
        let late = format!("{}es", "de,".repeat(10_000));
        assert_eq!(Language::accepted(&late), None);
    }
}
