//! The texts of all letters in every language, read from TOML.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

use super::Language;

/// Texts by their names.
pub(super) type Section = BTreeMap<String, String>;

/// The texts of a language.
#[derive(Debug, Deserialize)]
pub(super) struct Texts {
    /// How times are written.
    pub(super) dates: DateTexts,
    /// What all letters share.
    pub(super) common: Section,
    /// The texts of each letter, by its name.
    #[serde(flatten)]
    pub(super) letters: BTreeMap<String, Section>,
}

/// How times are written in a language. `{date}` and the like are filled in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DateTexts {
    /// From January.
    pub(super) months: [String; 12],
    /// From Monday.
    pub(super) weekdays: [String; 7],
    /// A day: `{weekday}`, `{day}`, `{month}`, `{year}`.
    pub(super) date: String,
    /// A day and a time: `{date}`, `{time}`.
    pub(super) moment: String,
    /// From a time to another of one day: `{date}`, `{time}`, `{end_time}`.
    pub(super) same_day: String,
    /// From a time of a day to a time of another: `{date}`, `{time}`, `{end_date}`, `{end_time}`.
    pub(super) other_day: String,
    /// A time zone: `{city}`.
    pub(super) zone: String,
    /// The same in the reader's zone: `{there}`, `{here}`.
    pub(super) reader: String,
    /// Days of one month: `{day}`, `{end_day}`, `{month}`, `{year}`.
    pub(super) days_of_month: String,
    /// Days of two months: `{day}`, `{month}`, `{end_day}`, `{end_month}`, `{year}`.
    pub(super) days_of_year: String,
    /// Days of two years: `{first}` and `{last}`, each as `one_day`.
    pub(super) days: String,
    /// A day without its weekday: `{day}`, `{month}`, `{year}`.
    pub(super) one_day: String,
    /// Names of cities that this language has, by the name of the time zone.
    pub(super) cities: BTreeMap<String, String>,
}

impl Texts {
    /// The texts of a language. An error is a defect in its file.
    pub(super) fn of(language: Language) -> anyhow::Result<Self> {
        toml::from_str(source(language)).with_context(|| format!("the texts in {:?}", language.tag()))
    }
}

const fn source(language: Language) -> &'static str {
    match language {
        Language::En => include_str!("templates/texts/en.toml"),
        Language::Es => include_str!("templates/texts/es.toml"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_languages_have_the_same_texts_and_none_is_blank() {
        let names = |language| -> Vec<String> {
            let texts = Texts::of(language).unwrap();
            let mut sections: Vec<_> = texts.letters.iter().collect();
            let common = "common".to_owned();
            sections.push((&common, &texts.common));
            assert!(sections.iter().flat_map(|(_, own)| own.values()).all(|text| !text.trim().is_empty()));
            sections
                .into_iter()
                .flat_map(|(section, own)| own.keys().map(move |name| format!("{section}.{name}")))
                .collect()
        };
        assert_eq!(names(Language::En), names(Language::Es));
    }
}
