//! Words that are searched for, and names of places: compared without case and accents.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use crate::community::location::Location;

/// Words of a search that are looked for; more of them are left out.
const MOST_WORDS: usize = 8;
/// Parts of an address that are taken for places at most.
const MOST_AREAS: usize = 3;

/// A text without case and accents, as it is compared.
pub fn folded(text: &str) -> String {
    text.nfkd().filter(|character| !is_combining_mark(*character)).flat_map(char::to_lowercase).collect()
}

/// The words of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Vec<String>);

impl Words {
    /// The words of a text.
    pub fn of(text: &str) -> Self {
        Self(folded(text).split_whitespace().take(MOST_WORDS).map(str::to_owned).collect())
    }

    /// Whether each word is in one of the texts.
    pub fn are_in(&self, texts: &[&str]) -> bool {
        let texts: Vec<_> = texts.iter().map(|text| folded(text)).collect();
        self.0.iter().all(|word| texts.iter().any(|text| text.contains(word.as_str())))
    }
}

/// The places that everybody may know of a location, the last one the largest: its city, or of an address as one text those
/// parts that name no house.
pub fn areas(location: &Location) -> Vec<String> {
    if let Some(city) = &location.city {
        return vec![city.clone()];
    }
    let parts = location.text.split([',', '\n']).map(str::trim);
    let is_area = |part: &&str| !part.is_empty() && !part.contains(|letter: char| letter.is_numeric());
    let areas: Vec<_> = parts.filter(is_area).map(str::to_owned).collect();
    areas[areas.len().saturating_sub(MOST_AREAS)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_without_case_and_accents() {
        let texts = ["Habitación en São Telmo", "Near the MILONGA"];
        for (search, is_found) in [
            ("milonga", true),
            ("milónga habitacion", true),
            ("SAO telmo", true),
            ("palermo", false),
            ("milonga palermo", false),
            ("", true),
        ] {
            assert_eq!(Words::of(search).are_in(&texts), is_found, "{search}");
        }
        assert_eq!(Words::of(&"a ".repeat(100)).0.len(), MOST_WORDS);
    }

    #[test]
    fn an_address_shows_its_places_and_no_house() {
        let areas = |text: &str, city: Option<&str>| {
            super::areas(&Location {
                text: text.to_owned(),
                city: city.map(str::to_owned),
                ..Location::default()
            })
        };
        assert_eq!(areas("Defensa 755, San Telmo", Some("Buenos Aires")), ["Buenos Aires"]);
        assert_eq!(areas("Defensa 755, San Telmo, Buenos Aires", None), ["San Telmo", "Buenos Aires"]);
        assert_eq!(areas("Berlin", None), ["Berlin"]);
        assert_eq!(areas("Weserstr. 5", None), [""; 0]);
    }
}
