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

const COMMENTS: [&str; 14] = [
    "See you there!",
    "I was there too, what a night.",
    "Which orchestra was it?",
    "Count me in.",
    "Thank you for the tandas!",
    "Is there still room in a car?",
    "The floor is better since they waxed it.",
    "¡Qué lindo!",
    "I would rather go on Saturday.",
    "Can I bring a friend who is new to it?",
    "They play until four, I asked.",
    "Somebody left a black shawl at the bar.",
    "Agreed, one tanda of vals is not enough.",
    "Next time I say hello.",
];
const DIALOGUES: [&[&str]; 6] = [
    &[
        "Hi! Are you going on Friday?",
        "I think so. Is it the usual hall?",
        "Yes, but it begins at nine this time.",
        "Good, then I come after the class.",
        "I keep a seat for you.",
    ],
    &[
        "Thank you for the tanda last night.",
        "It was lovely! Shall we practise some day?",
        "Gladly. Thursday, before the práctica?",
        "Thursday is fine, at seven.",
    ],
    &[
        "Do you still have room for two at the end of the month?",
        "For two nights, yes. When do you arrive?",
        "On Friday evening, around eight.",
        "Then I am at home. The key is with the neighbour otherwise.",
        "Perfect, we bring dinner.",
        "Even better!",
    ],
    &["Did you find your shoes?", "Yes, they were under the table the whole time."],
    &[
        "Who plays on Saturday?",
        "A quartet from Montevideo, with a singer.",
        "Then I have to come.",
        "Come early, it will be full.",
        "Shall we share a taxi?",
        "Yes, I call one at half past nine.",
        "Until then!",
    ],
    &[
        "I look for somebody for the workshop on Sunday. I lead.",
        "I have no partner either, so yes!",
        "Great, I register the two of us.",
    ],
];
const ROOMS: [&str; 6] = [
    "A quiet room to the courtyard, ten minutes on foot from two milongas.",
    "Bright and simple. There is a big kitchen, and a floor that can be danced on.",
    "On the third floor, without an elevator. The bus of the night stops at the corner.",
    "With a view over the roofs. I come home late myself, so nobody minds when you do.",
    "A sofa bed in the living room, for dancers who sleep little anyway.",
    "Two beds, a desk, and a coffee machine that works.",
];
const REQUESTS: [&str; 4] = [
    "I come for the marathon, and sleep until noon.",
    "Hello! I would stay for a workshop and one milonga.",
    "I travel alone and light.",
    "We met at the festival last year; may I stay with you?",
];
const OF_PLACES: [&str; 5] = [
    "Exactly as it was described, and so close to the milonga.",
    "A warm host, a good bed, and the best coffee.",
    "A little loud in the morning, but who is awake then?",
    "I come again next year.",
    "Small and clean, and easy to find.",
];
const OF_GUESTS: [&str; 4] = [
    "A pleasant guest, welcome at any time.",
    "Came late, left early, and everything was tidy.",
    "We danced in the kitchen. Come back!",
    "Easy to talk to, and on time with the key.",
];

/// What somebody says to a post.
pub(super) fn comment(draw: &mut Draw) -> &'static str {
    draw.one_of(&COMMENTS)
}

/// What people say to each other, in turn.
pub(super) fn dialogue(draw: &mut Draw) -> &'static [&'static str] {
    let one: &&'static [&'static str] = draw.popular_one(&DIALOGUES);
    one
}

/// What a place to stay is like.
pub(super) fn room(draw: &mut Draw) -> &'static str {
    draw.one_of(&ROOMS)
}

/// What a guest writes to a host.
pub(super) fn request(draw: &mut Draw) -> &'static str {
    draw.one_of(&REQUESTS)
}

/// What a guest says of a place, or a host of a guest.
pub(super) fn review(draw: &mut Draw, of_place: bool) -> &'static str {
    if of_place { draw.one_of(&OF_PLACES) } else { draw.one_of(&OF_GUESTS) }
}

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
