//! Where an event is, and which places are near to each other.

use serde::{Deserialize, Serialize};

/// Most cells that are looked into around a point.
const MAX_CELLS: usize = 16;
/// Kilometres of a degree of latitude on a sphere of the earth's mean radius.
const KM_A_DEGREE: f64 = MEAN_EARTH_RADIUS_KM * std::f64::consts::PI / 180.0;
/// The mean radius of the earth (IUGG), in kilometres.
const MEAN_EARTH_RADIUS_KM: f64 = 6371.0088;

/// Where an event is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// The whole of it, as a person would write it.
    pub text: String,
    /// The city, where it is told apart.
    #[serde(default)]
    pub city: Option<String>,
    /// Degrees north and degrees east, where they are known.
    #[serde(default)]
    pub coordinates: Option<Coordinates>,
}

/// A point on the earth, in degrees (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coordinates {
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
}

impl Location {
    /// Whether it is in a city, compared without case; a location that tells no city apart is searched for the name.
    pub fn is_in(&self, city: &str) -> bool {
        let wanted = city.to_lowercase();
        match &self.city {
            Some(city) => city.to_lowercase() == wanted,
            None => self.text.to_lowercase().contains(&wanted),
        }
    }
}

impl Coordinates {
    /// Kilometres to another point over the ground: the haversine formula on a sphere of the earth's mean radius.
    pub fn distance_km(self, other: Self) -> f64 {
        let (from, to) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_lat = ((to - from) / 2.0).sin();
        let half_lon = ((other.longitude - self.longitude).to_radians() / 2.0).sin();
        let chord = half_lat * half_lat + from.cos() * to.cos() * half_lon * half_lon;
        2.0 * MEAN_EARTH_RADIUS_KM * chord.sqrt().min(1.0).asin()
    }

    /// The point so many kilometres away over the ground, in a direction: radians from north, clockwise. It is the direct
    /// problem on a sphere of the earth's mean radius.
    #[must_use]
    pub fn moved(self, direction: f64, km: f64) -> Self {
        let (latitude, angle) = (self.latitude.to_radians(), km / MEAN_EARTH_RADIUS_KM);
        let sine = latitude.sin() * angle.cos() + latitude.cos() * angle.sin() * direction.cos();
        let to = sine.clamp(-1.0, 1.0).asin();
        let east = direction.sin() * angle.sin() * latitude.cos();
        let turned = east.atan2(angle.cos() - latitude.sin() * to.sin());
        let longitude = self.longitude + turned.to_degrees();
        Self { latitude: to.to_degrees(), longitude: (longitude + 180.0).rem_euclid(360.0) - 180.0 }
    }

    /// The name of the cell of one degree by one degree in which the point lies.
    pub fn cell(self) -> String {
        cell(self.latitude.floor(), self.longitude.floor())
    }

    /// The cells in which every point lies that is within so many kilometres; `None` where they are too many to look into.
    pub fn cells_within(self, km: f64) -> Option<Vec<String>> {
        let reach = km / KM_A_DEGREE;
        let (south, north) = (self.latitude - reach, self.latitude + reach);
        // Meridians run together towards the poles: the widest circle of the strip has the most of them.
        let widest = south.abs().max(north.abs());
        if widest >= 89.0 {
            return None;
        }
        let wide = reach / widest.to_radians().cos();
        let (west, east) = (self.longitude - wide, self.longitude + wide);
        let (rows, columns) = (degrees(south, north), degrees(west, east));
        if rows.len().saturating_mul(columns.len()) > MAX_CELLS {
            return None;
        }
        let around =
            rows.iter().flat_map(|latitude| columns.iter().map(|longitude| cell(*latitude, *longitude)));
        Some(around.collect())
    }
}

/// The whole degrees in which a stretch lies; at most one more than cells that are looked into.
fn degrees(from: f64, to: f64) -> Vec<f64> {
    let mut degrees = Vec::new();
    let mut degree = from.floor();
    while degree <= to && degrees.len() <= MAX_CELLS {
        degrees.push(degree);
        degree += 1.0;
    }
    degrees
}

/// The name of the cell whose south-west corner is given; the date line is crossed as if it were not there.
fn cell(latitude: f64, longitude: f64) -> String {
    let longitude = (longitude + 180.0).rem_euclid(360.0) - 180.0;
    format!("{latitude},{longitude}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn distance_matches_a_known_one() {
        // Obelisco, Buenos Aires to Plaza Independencia, Montevideo: 204 km by geodesic calculators.
        let buenos_aires = Coordinates { latitude: -34.6037, longitude: -58.3816 };
        let montevideo = Coordinates { latitude: -34.9065, longitude: -56.1997 };
        let km = buenos_aires.distance_km(montevideo);
        assert!((200.0..206.0).contains(&km), "{km}");
        assert!(buenos_aires.distance_km(buenos_aires) < 1e-9);
    }

    #[test]
    fn a_city_lies_in_few_cells_and_a_continent_in_too_many() {
        let berlin = Coordinates { latitude: 52.52, longitude: 13.405 };
        assert!(berlin.cells_within(30.0).is_some_and(|cells| cells.contains(&berlin.cell())));
        assert_eq!(berlin.cells_within(3000.0), None);
        let pole = Coordinates { latitude: 89.9, longitude: 0.0 };
        assert_eq!(pole.cells_within(30.0), None);
    }

    proptest! {
        #[test]
        fn all_that_is_near_lies_in_the_cells(
            latitude in -85.0..85.0_f64,
            longitude in -180.0..180.0_f64,
            north in -1.5..1.5_f64,
            east in -1.5..1.5_f64,
            km in 1.0..100.0_f64,
        ) {
            let point = Coordinates { latitude, longitude };
            let other = Coordinates {
                latitude: latitude + north,
                longitude: (longitude + east + 180.0).rem_euclid(360.0) - 180.0,
            };
            if let Some(cells) = point.cells_within(km)
                && point.distance_km(other) <= km
            {
                prop_assert!(cells.contains(&other.cell()), "{other:?} is near and not in {cells:?}");
            }
        }
    }
}
