//! What people and places are called, and what people say.

use super::draw::Draw;

/// A city with dances: its name, the zone of its clocks, degrees north and east.
pub(super) struct Town {
    pub(super) name: &'static str,
    pub(super) zone: &'static str,
    pub(super) latitude: f64,
    pub(super) longitude: f64,
}

const fn town(name: &'static str, zone: &'static str, latitude: f64, longitude: f64) -> Town {
    Town { name, zone, latitude, longitude }
}

const TOWNS: [Town; 12] = [
    town("Buenos Aires", "America/Argentina/Buenos_Aires", -34.61, -58.38),
    town("Montevideo", "America/Montevideo", -34.91, -56.19),
    town("Berlin", "Europe/Berlin", 52.52, 13.41),
    town("Paris", "Europe/Paris", 48.86, 2.35),
    town("Istanbul", "Europe/Istanbul", 41.01, 28.98),
    town("Roma", "Europe/Rome", 41.90, 12.50),
    town("Barcelona", "Europe/Madrid", 41.39, 2.17),
    town("London", "Europe/London", 51.51, -0.13),
    town("New York", "America/New_York", 40.71, -74.01),
    town("Tokyo", "Asia/Tokyo", 35.68, 139.69),
    town("Seoul", "Asia/Seoul", 37.57, 126.98),
    town("Melbourne", "Australia/Melbourne", -37.81, 144.96),
];

const FIRST: [&str; 20] = [
    "Ana", "Beto", "Carla", "Diego", "Elena", "Facundo", "Gabriela", "Hugo", "Inés", "Jorge", "Kemal",
    "Lucía", "Mia", "Nico", "Olga", "Pablo", "Rosa", "Sofía", "Tomás", "Yuki",
];
const LAST: [&str; 20] = [
    "Acosta",
    "Benítez",
    "Costa",
    "Díaz",
    "Echeverría",
    "Ferrari",
    "Gómez",
    "Herrera",
    "Ibáñez",
    "Jansen",
    "Kaya",
    "López",
    "Müller",
    "Navarro",
    "Okada",
    "Pérez",
    "Quiroga",
    "Rossi",
    "Suárez",
    "Tanaka",
];
const SENTENCES: [&str; 16] = [
    "Last night's tandas were wonderful.",
    "Who goes to the práctica on Thursday?",
    "I look for a partner for the workshop.",
    "The floor is fast, bring leather soles.",
    "Gracias por la noche, everybody!",
    "Pugliese at three in the morning, what else could one ask for?",
    "My shoes are still under the table by the door.",
    "Can somebody recommend a teacher for followers?",
    "The new DJ plays a lot of D'Arienzo, and the floor was full.",
    "Mirada and cabeceo only, please.",
    "I arrive on Friday, and stay with friends near the station.",
    "First milonga after a year, and it felt like home.",
    "Live music from ten o'clock on.",
    "Beginners are welcome, no partner is needed.",
    "The orchestra plays two sets, then vals until the end.",
    "Does anybody drive back to the city after the last tanda?",
];
const VENUES: [&str; 10] = [
    "Salón Canning",
    "La Viruta",
    "Ballhaus",
    "Club Sunderland",
    "Casa del Tango",
    "Bailongo",
    "Teatro",
    "La Catedral",
    "El Beso",
    "Milonga Parakultural",
];
const OCCASIONS: [&str; 8] = [
    "of the full moon",
    "del Sur",
    "at the river",
    "in white",
    "of the year",
    "del barrio",
    "by candlelight",
    "after work",
];

/// A city; few have most dances.
pub(super) fn place(draw: &mut Draw) -> &'static Town {
    draw.popular_one(&TOWNS)
}

/// A person's full name.
pub(super) fn person(draw: &mut Draw) -> String {
    format!("{} {}", draw.one_of(&FIRST), draw.one_of(&LAST))
}

/// A venue's name.
pub(super) fn venue(draw: &mut Draw) -> &'static str {
    draw.one_of(&VENUES)
}

/// What an event is called behind the name of its kind.
pub(super) fn occasion(draw: &mut Draw) -> &'static str {
    draw.one_of(&OCCASIONS)
}

/// Up to so many sentences, at least one.
pub(super) fn sentences(draw: &mut Draw, most: u64) -> String {
    let count = 1 + draw.below(most);
    let said: Vec<_> = (0..count).map(|_| draw.one_of(&SENTENCES)).collect();
    said.join(" ")
}

#[cfg(test)]
mod tests {
    use mundotango_storage::zone_named;

    use super::*;

    #[test]
    fn all_towns_have_clocks_and_a_place_on_earth() {
        for town in &TOWNS {
            assert!(zone_named(town.zone).is_some(), "{}", town.name);
            assert!(town.latitude.abs() <= 90.0 && town.longitude.abs() <= 180.0, "{}", town.name);
        }
    }
}
