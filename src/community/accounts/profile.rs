//! What users tell of themselves beside their names, and to whom each field is told.

use mundotango_gateway::input::Maybe;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Cities of a profile.
pub const MOST_CITIES: usize = 5;
/// Languages of a profile.
pub const MOST_LANGUAGES: usize = 10;

/// To whom a field of a profile is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldAudience {
    /// Everybody, and the search finds the user by it.
    Public,
    /// Whoever is logged in.
    Members,
    /// The user's friends.
    Friends,
    /// Nobody else.
    Me,
}

/// What somebody dances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DancesAs {
    /// Leads.
    Leader,
    /// Follows.
    Follower,
    /// Leads and follows.
    Both,
}

/// What a user tells beside name, picture, city and a few lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// How the user is spoken of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pronouns: Option<String>,
    /// What the user dances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dances_as: Option<DancesAs>,
    /// Where the user dances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cities: Vec<String>,
    /// What the user speaks (BCP 47).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// Since which year the user dances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dancing_since: Option<u32>,
    /// To whom each field is told.
    #[serde(default, skip_serializing_if = "Audiences::is_default")]
    pub audiences: Audiences,
}

/// To whom each field is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Audiences {
    /// The few lines.
    pub bio: FieldAudience,
    /// The city.
    pub city: FieldAudience,
    /// The picture.
    pub avatar_url: FieldAudience,
    /// How the user is spoken of.
    pub pronouns: FieldAudience,
    /// What the user dances.
    pub dances_as: FieldAudience,
    /// Where.
    pub cities: FieldAudience,
    /// What the user speaks.
    pub languages: FieldAudience,
    /// Since when.
    pub dancing_since: FieldAudience,
    /// To which events the user goes, where friends are shown which of theirs do.
    pub attendance: FieldAudience,
}

impl Default for Audiences {
    /// What was there before audiences is for everybody, as it was; what came with them is for members.
    fn default() -> Self {
        let (before, since) = (FieldAudience::Public, FieldAudience::Members);
        Self {
            bio: before,
            city: before,
            avatar_url: before,
            pronouns: since,
            dances_as: since,
            cities: since,
            languages: since,
            dancing_since: since,
            attendance: since,
        }
    }
}

impl Audiences {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Profile {
    /// Whether nothing is told.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A change of audiences; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AudienceChange {
    /// Of the few lines.
    pub bio: Option<FieldAudience>,
    /// Of the city.
    pub city: Option<FieldAudience>,
    /// Of the picture.
    pub avatar_url: Option<FieldAudience>,
    /// Of how the user is spoken of.
    pub pronouns: Option<FieldAudience>,
    /// Of what the user dances.
    pub dances_as: Option<FieldAudience>,
    /// Of where.
    pub cities: Option<FieldAudience>,
    /// Of what the user speaks.
    pub languages: Option<FieldAudience>,
    /// Of since when.
    pub dancing_since: Option<FieldAudience>,
    /// Of to which events the user goes.
    pub attendance: Option<FieldAudience>,
}

/// A change of a [`Profile`]; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoreChange {
    /// New pronouns.
    pub pronouns: Maybe<String>,
    /// What the user dances from now on.
    pub dances_as: Maybe<DancesAs>,
    /// All cities.
    pub cities: Option<Vec<String>>,
    /// All languages.
    pub languages: Option<Vec<String>>,
    /// Another year.
    pub dancing_since: Maybe<u32>,
    /// Other audiences.
    pub audiences: AudienceChange,
}

impl MoreChange {
    /// Changes a profile.
    pub fn apply(&self, profile: &mut Profile) {
        self.pronouns.set(&mut profile.pronouns);
        self.dances_as.set(&mut profile.dances_as);
        self.dancing_since.set(&mut profile.dancing_since);
        if let Some(cities) = &self.cities {
            profile.cities.clone_from(cities);
        }
        if let Some(languages) = &self.languages {
            profile.languages.clone_from(languages);
        }
        let (told, change) = (&mut profile.audiences, self.audiences);
        told.bio = change.bio.unwrap_or(told.bio);
        told.city = change.city.unwrap_or(told.city);
        told.avatar_url = change.avatar_url.unwrap_or(told.avatar_url);
        told.pronouns = change.pronouns.unwrap_or(told.pronouns);
        told.dances_as = change.dances_as.unwrap_or(told.dances_as);
        told.cities = change.cities.unwrap_or(told.cities);
        told.languages = change.languages.unwrap_or(told.languages);
        told.dancing_since = change.dancing_since.unwrap_or(told.dancing_since);
        told.attendance = change.attendance.unwrap_or(told.attendance);
    }
}

/// A language as BCP 47 writes it: `pt-BR`, `zh-Hant`.
pub(super) fn written_language(tag: &str) -> String {
    let part = |(place, part): (usize, &str)| match (place, part.len()) {
        (0, _) => part.to_ascii_lowercase(),
        (_, 4) => {
            let (first, rest) = part.split_at(1);
            first.to_ascii_uppercase() + &rest.to_ascii_lowercase()
        }
        _ => part.to_ascii_uppercase(),
    };
    tag.split('-').enumerate().map(part).collect::<Vec<_>>().join("-")
}

/// Each text once, whatever its case, in the order in which they first came.
pub(super) fn each_once(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut once: Vec<String> = Vec::new();
    for text in texts {
        if !once.iter().any(|known| known.to_lowercase() == text.to_lowercase()) {
            once.push(text);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_profile_without_anything_takes_no_room_and_what_is_absent_is_the_default() {
        assert_eq!(serde_json::to_value(Profile::default()).unwrap(), json!({}));
        let read: Profile = serde_json::from_value(json!({"audiences": {"bio": "me"}})).unwrap();
        assert_eq!(read.audiences, Audiences { bio: FieldAudience::Me, ..Audiences::default() });
        assert!(!read.is_empty() && Profile::default().is_empty());
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let mut profile = Profile::default();
        let change = MoreChange {
            pronouns: Maybe::Value("she/her".to_owned()),
            cities: Some(vec!["Rosario".to_owned()]),
            audiences: AudienceChange { cities: Some(FieldAudience::Friends), ..AudienceChange::default() },
            ..MoreChange::default()
        };
        change.apply(&mut profile);
        let before = profile.clone();
        MoreChange::default().apply(&mut profile);
        assert_eq!(profile, before);
        MoreChange { pronouns: Maybe::Null, cities: Some(Vec::new()), ..MoreChange::default() }
            .apply(&mut profile);
        let audiences = Audiences { cities: FieldAudience::Friends, ..Audiences::default() };
        assert_eq!(profile, Profile { audiences, ..Profile::default() });
    }

    #[test]
    fn languages_and_cities_are_kept_in_one_form_and_once() {
        assert_eq!(
            ["ES", "pt-br", "zh-hANT-tw", "es-419"].map(written_language),
            ["es", "pt-BR", "zh-Hant-TW", "es-419"]
        );
        let cities = ["Rosario", "ROSARIO", "Berlin"].map(str::to_owned);
        assert_eq!(each_once(cities), ["Rosario", "Berlin"]);
    }
}
