//! What earns points, how many, and what takes them back.
//!
//! Each thing that earns points is a *cause*, and is counted once however often it is told. Points have two caps: what a member
//! can earn on a day, and how often in a month by events of the same host, so that neither posting for the rank nor two friends
//! who host each other get far.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most points of a member's day.
pub const MOST_A_DAY: u32 = 20;
/// How often a month events of one host earn a member points.
pub const MOST_OF_A_HOST: u32 = 3;
/// How many others have to be going to an event for its host to earn points.
pub const FEWEST_GUESTS: u32 = 3;
/// Cities whose points are counted apart in a month; further ones count in the whole alone.
pub const MOST_CITIES: usize = 20;
/// Months that are kept apart; what was earned before is in the whole alone.
pub const MONTHS_KEPT: usize = 24;

/// What earns points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// A public post.
    Post,
    /// An event that took place, for who hosted it.
    Hosted,
    /// An event that took place, for who was there.
    Attended,
}

impl Cause {
    /// How many points it earns, as long as no cap is reached.
    pub fn points(self) -> u32 {
        match self {
            Self::Post => 2,
            Self::Hosted => 10,
            Self::Attended => 5,
        }
    }
}

/// What is told of a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// It was done.
    Done,
    /// It does not count any longer.
    TakenBack,
}

/// Something that may earn points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// What it is.
    pub cause: Cause,
    /// The post or event.
    pub thing: String,
    /// The day, in UTC: `2026-11-30`.
    pub day: String,
    /// The city where it happened, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// The other member who made it possible, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl Deed {
    /// The month of its day: `2026-11`.
    pub fn month(&self) -> &str {
        self.day.get(..7).unwrap_or(&self.day)
    }
}

/// What is noted of a deed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What was done.
    #[serde(flatten)]
    pub deed: Deed,
    /// What it earned: less than its cause does where a cap was reached.
    pub points: u32,
    /// Whether they were taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_taken_back: bool,
    /// The version of what was told of the deed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_zero(version: &u32) -> bool {
    *version == 0
}

/// The points of a month.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Month {
    /// All of them.
    pub points: u32,
    /// Those of each city.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cities: BTreeMap<String, u32>,
}

/// A member's points.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// All that was earned.
    #[serde(default)]
    pub points: u32,
    /// By month: `2026-11`.
    #[serde(default)]
    pub months: BTreeMap<String, Month>,
    /// Whether the member is left out of the boards.
    #[serde(default)]
    pub is_hidden: bool,
    /// Rises with each change, so that boards can tell which of two is younger.
    #[serde(default)]
    pub version: u64,
}

impl Score {
    fn add(&mut self, entry: &Entry) {
        self.points += entry.points;
        let month = self.months.entry(entry.deed.month().to_owned()).or_default();
        month.points += entry.points;
        if let Some(city) = &entry.deed.city
            && (month.cities.contains_key(city) || month.cities.len() < MOST_CITIES)
        {
            *month.cities.entry(city.clone()).or_default() += entry.points;
        }
        while self.months.len() > MONTHS_KEPT {
            self.months.pop_first();
        }
        self.version += 1;
    }

    fn take(&mut self, entry: &Entry) {
        self.points = self.points.saturating_sub(entry.points);
        if let Some(month) = self.months.get_mut(entry.deed.month()) {
            month.points = month.points.saturating_sub(entry.points);
            if let Some(city) = entry.deed.city.as_ref().and_then(|city| month.cities.get_mut(city)) {
                *city = city.saturating_sub(entry.points);
            }
        }
        self.version += 1;
    }
}

/// What a member has earned already, as far as caps ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earned {
    /// Points of the deed's day.
    pub on_day: u32,
    /// Deeds with the deed's host in its month.
    pub with_host: u32,
}

/// Notes a deed that counts, and did not before: the entry, with what it earns.
pub fn award(score: &mut Score, earned: &mut Earned, deed: Deed) -> Entry {
    let is_with_host = deed.host.is_some();
    let is_capped = is_with_host && earned.with_host >= MOST_OF_A_HOST;
    let room = MOST_A_DAY.saturating_sub(earned.on_day);
    let points = if is_capped { 0 } else { deed.cause.points().min(room) };
    let entry = Entry { deed, points, is_taken_back: false, version: 0 };
    if points > 0 {
        earned.on_day += points;
        earned.with_host += u32::from(is_with_host);
        score.add(&entry);
    }
    entry
}

/// Takes back what a deed earned; whether there was anything to be taken back.
pub fn take_back(score: &mut Score, earned: &mut Earned, entry: &mut Entry) -> bool {
    if entry.is_taken_back {
        return false;
    }
    entry.is_taken_back = true;
    if entry.points > 0 {
        earned.on_day = earned.on_day.saturating_sub(entry.points);
        earned.with_host = earned.with_host.saturating_sub(u32::from(entry.deed.host.is_some()));
        score.take(entry);
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn deed(cause: Cause, thing: u8, day: u8, host: Option<u8>, city: Option<u8>) -> Deed {
        Deed {
            cause,
            thing: format!("{thing}"),
            day: format!("2026-{:02}-{:02}", 1 + day / 28, 1 + day % 28),
            city: city.map(|city| format!("City {city}")),
            host: host.map(|host| format!("host {host}")),
        }
    }

    fn deeds() -> impl Strategy<Value = Deed> {
        let cause = prop_oneof![Just(Cause::Post), Just(Cause::Hosted), Just(Cause::Attended)];
        (cause, 0..40_u8, 0..60_u8, proptest::option::of(0..3_u8), proptest::option::of(0..30_u8))
            .prop_map(|(cause, thing, day, host, city)| deed(cause, thing, day, host, city))
    }

    proptest! {
        /// Whatever is told, twice or in any order: totals are the sums of what stands, and no cap is passed.
        #[test]
        fn sums_are_those_of_the_entries_and_no_cap_is_passed(steps in proptest::collection::vec((deeds(), any::<bool>()), 1..200)) {
            let mut score = Score::default();
            let mut days: BTreeMap<String, u32> = BTreeMap::new();
            let mut hosts: BTreeMap<(String, String), u32> = BTreeMap::new();
            let mut entries: BTreeMap<(Cause, String), Entry> = BTreeMap::new();
            for (deed, is_told) in steps {
                let name = (deed.cause, deed.thing.clone());
                let known = entries.get(&name).cloned();
                let about = known.as_ref().map_or(&deed, |entry| &entry.deed).clone();
                let host = about.host.clone().map(|host| (about.month().to_owned(), host));
                let mut earned = Earned {
                    on_day: days.get(&about.day).copied().unwrap_or_default(),
                    with_host: host.as_ref().and_then(|host| hosts.get(host)).copied().unwrap_or_default(),
                };
                match known {
                    None if is_told => {
                        entries.insert(name, award(&mut score, &mut earned, about.clone()));
                    }
                    Some(mut entry) if !is_told => {
                        take_back(&mut score, &mut earned, &mut entry);
                        prop_assert!(!take_back(&mut score, &mut earned, &mut entry));
                        entries.insert(name, entry);
                    }
                    _ => continue,
                }
                days.insert(about.day, earned.on_day);
                if let Some(host) = host {
                    hosts.insert(host, earned.with_host);
                }
            }
            let standing = || entries.values().filter(|entry| !entry.is_taken_back);
            prop_assert_eq!(score.points, standing().map(|entry| entry.points).sum::<u32>());
            for (month, of_month) in &score.months {
                let points = standing().filter(|entry| entry.deed.month() == month).map(|entry| entry.points);
                prop_assert_eq!(of_month.points, points.sum::<u32>());
                prop_assert!(of_month.cities.len() <= MOST_CITIES);
            }
            prop_assert!(days.values().all(|points| *points <= MOST_A_DAY));
            prop_assert!(hosts.values().all(|count| *count <= MOST_OF_A_HOST));
        }
    }

    #[test]
    fn old_months_go_and_their_points_stay_in_the_whole() {
        let mut score = Score::default();
        for month in 0..30_u8 {
            let day = format!("{}-{:02}-01", 2024 + u16::from(month / 12), 1 + month % 12);
            let deed = Deed { day, ..deed(Cause::Hosted, month, 0, None, None) };
            award(&mut score, &mut Earned::default(), deed);
        }
        assert_eq!(score.points, 300);
        assert_eq!(score.months.len(), MONTHS_KEPT);
        assert!(score.months.contains_key("2026-06"));
    }
}
