//! Where a listing is, as everybody may see it: a point near the place, drawn once and kept. Everything that strangers can
//! ask for (lists, distances, search) knows that point alone, so asking often tells no more than asking once.

use serde::{Deserialize, Serialize};

use crate::community::location::Coordinates;

/// How far the shown point is from the place, in kilometres.
const LEAST_KM: f64 = 0.5;
const MOST_KM: f64 = 1.5;
/// A place that moves by less keeps its shown point: two draws around one place would tell more than one.
const SAME_PLACE_KM: f64 = 0.2;
/// Digits of the shown point, some ten metres: more of them would look exact.
const SHOWN: f64 = 10_000.0;

/// Chance, given in: numbers from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    /// For the direction.
    pub direction: f64,
    /// For the distance.
    pub distance: f64,
}

impl Chance {
    /// What the operating system's generator gives.
    pub fn draw() -> Self {
        Self { direction: rand::random(), distance: rand::random() }
    }
}

/// A shown point, and the place around which it was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fuzzed {
    /// The place.
    around: Coordinates,
    /// The point that is shown.
    pub shown: Coordinates,
}

impl Fuzzed {
    /// Draws a point around a place. Each square metre of the ring is as likely as any other.
    pub fn draw(around: Coordinates, chance: Chance) -> Self {
        let (least, most) = (LEAST_KM * LEAST_KM, MOST_KM * MOST_KM);
        let km = (least + chance.distance * (most - least)).sqrt();
        let shown = around.moved(chance.direction * std::f64::consts::TAU, km);
        let round = |degrees: f64| (degrees * SHOWN).round() / SHOWN;
        Self {
            around,
            shown: Coordinates { latitude: round(shown.latitude), longitude: round(shown.longitude) },
        }
    }

    /// The point to show for a place, where one may have been drawn before.
    pub fn again(before: Option<Self>, place: Option<Coordinates>, chance: Chance) -> Option<Self> {
        let place = place?;
        let is_same = |fuzzed: &Self| fuzzed.around.distance_km(place) < SAME_PLACE_KM;
        Some(before.filter(is_same).unwrap_or_else(|| Self::draw(place, chance)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_shown_point_is_near_and_never_too_near(
            latitude in -89.0..89.0_f64,
            longitude in -180.0..180.0_f64,
            direction in 0.0..1.0_f64,
            distance in 0.0..1.0_f64,
        ) {
            let place = Coordinates { latitude, longitude };
            let shown = Fuzzed::draw(place, Chance { direction, distance }).shown;
            let km = place.distance_km(shown);
            // Rounding moves it by some ten metres.
            prop_assert!((LEAST_KM - 0.02..MOST_KM + 0.02).contains(&km), "{km} km");
            prop_assert!((-90.0..=90.0).contains(&shown.latitude) && (-180.0..=180.0).contains(&shown.longitude));
        }
    }

    /// Trap 35.
    #[test]
    fn it_is_drawn_once_for_a_place() {
        let place = Coordinates { latitude: -34.6037, longitude: -58.3816 };
        let chance = |direction| Chance { direction, distance: 0.5 };
        let first = Fuzzed::again(None, Some(place), chance(0.1));
        let next_door = place.moved(1.0, 0.1);
        assert_eq!(Fuzzed::again(first, Some(next_door), chance(0.6)), first);
        let elsewhere = place.moved(1.0, 3.0);
        assert_ne!(Fuzzed::again(first, Some(elsewhere), chance(0.6)), first);
        assert_eq!(Fuzzed::again(first, None, chance(0.6)), None);
    }
}
