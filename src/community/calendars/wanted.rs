//! What an event of a file is to be here, by the rules that all events are held to.

use jiff::Timestamp;
use mundotango_gateway::input::read_value;
use mundotango_gateway::problem::Problem;

use super::report::Refused;
use crate::community::events::rules::Plan;
use crate::community::events::schedule::{LONGEST, Schedule};
use crate::community::events::store::EventType;
use crate::community::location::{Coordinates, Location};
use crate::icalendar::{Found, Item};
use crate::texts::{Description, Place, Title};

/// The kinds of events by the names that a file has for them.
const KINDS: [(&str, EventType); 6] = [
    ("milonga", EventType::Milonga),
    ("class", EventType::Class),
    ("festival", EventType::Festival),
    ("workshop", EventType::Workshop),
    ("practica", EventType::Practica),
    ("concert", EventType::Concert),
];

/// What an event of a file is to be here.
pub(super) struct Wanted {
    pub(super) plan: Plan,
    pub(super) event_type: EventType,
}

impl Wanted {
    pub(super) fn read(item: &Item, otherwise: EventType, now: Timestamp) -> Result<Self, Refused> {
        let wanted = Self::whenever(item, otherwise)?;
        if wanted.plan.when.over_at() <= now {
            return Err("DTSTART: is so long ago that the event is over".into());
        }
        Ok(wanted)
    }

    /// The same, also of what is over.
    pub(super) fn whenever(item: &Item, otherwise: EventType) -> Result<Self, Refused> {
        let when = item.when.clone().map_err(|flaw| Refused(flaw.to_string()))?;
        let when = schedule(when)?;
        let text = |property: &str, problem: &Problem| {
            let why = problem.errors().first().map(|error| error.message.as_str());
            Refused(format!("{property}: {}", why.unwrap_or("cannot be read")))
        };
        // A name is one line.
        let title = item.summary.split_whitespace().collect::<Vec<_>>().join(" ");
        let title: Title = read_value(title.into()).map_err(|problem| text("SUMMARY", &problem))?;
        let description = match item.description.trim() {
            "" => String::new(),
            some => read_value::<Description>(some.into())
                .map_err(|problem| text("DESCRIPTION", &problem))?
                .into_string(),
        };
        let place: Place =
            read_value(item.location.as_str().into()).map_err(|problem| text("LOCATION", &problem))?;
        let coordinates = item.point.map(|(latitude, longitude)| Coordinates { latitude, longitude });
        let location = Location { text: place.into_string(), city: None, coordinates };
        let named = |(name, _): &&(&str, EventType)| {
            item.categories.iter().any(|category| category.eq_ignore_ascii_case(name))
        };
        let event_type = KINDS.iter().find(named).map_or(otherwise, |(_, event_type)| *event_type);
        let plan = Plan { title: title.into_string(), description, when, location };
        Ok(Self { plan, event_type })
    }

    /// The plan of the event that was made of it before, with what a file does not tell.
    pub(super) fn over(&self, before: Plan) -> Plan {
        let mut location = self.plan.location.clone();
        location.city = before.location.city;
        location.coordinates = location.coordinates.or(before.location.coordinates);
        Plan { location, ..self.plan.clone() }
    }
}

/// When an event of a file is. Whole days are from one midnight to another.
fn schedule(Found { start, end, all_day }: Found) -> Result<Schedule, Refused> {
    let is_too_long = end.as_ref().is_some_and(|end| end.duration_since(&start) > LONGEST);
    if is_too_long {
        return Err(Refused(format!("DTEND: is more than {} days behind DTSTART", LONGEST.as_hours() / 24)));
    }
    Ok(Schedule { start, end, all_day })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(summary: &str, location: &str) -> Item {
        let start: jiff::ZonedDateTime = "2030-12-04T21:00+01:00[Europe/Berlin]".parse().unwrap();
        Item {
            uid: "1".to_owned(),
            summary: summary.to_owned(),
            description: " \n".to_owned(),
            location: location.to_owned(),
            point: None,
            categories: vec!["Tango".to_owned(), "PRACTICA".to_owned()],
            is_cancelled: false,
            when: Ok(Found { end: None, start, all_day: false }),
            is_one_date: false,
            occurs: Ok(crate::icalendar::Occurs::Once),
        }
    }

    fn read(item: &Item) -> Result<Wanted, String> {
        Wanted::read(item, EventType::Class, Timestamp::UNIX_EPOCH).map_err(|Refused(why)| why)
    }

    #[test]
    fn texts_of_a_file_are_held_to_the_rules_of_all_texts() {
        let wanted = read(&item("Pra\n ctica ", " Ballhaus ")).ok().unwrap();
        assert_eq!((wanted.plan.title.as_str(), wanted.plan.description.as_str()), ("Pra ctica", ""));
        assert_eq!(
            (wanted.plan.location.text.as_str(), wanted.event_type),
            ("Ballhaus", EventType::Practica)
        );
        for (title, place, property) in [
            ("", "Ballhaus", "SUMMARY: "),
            (&"x".repeat(201), "Ballhaus", "SUMMARY: "),
            ("\u{202e}agnoliM", "Ballhaus", "SUMMARY: "),
            ("Milonga", "", "LOCATION: "),
            ("Milonga", &"x".repeat(301), "LOCATION: "),
        ] {
            let why = read(&item(title, place)).err().unwrap();
            assert!(why.starts_with(property), "{why}");
        }
    }

    #[test]
    fn what_is_over_or_lasts_too_long_is_refused() {
        let milonga = item("Milonga", "Ballhaus");
        let Err(Refused(why)) =
            Wanted::read(&milonga, EventType::Class, "2031-01-01T00:00:00Z".parse().unwrap())
        else {
            panic!("it is over")
        };
        assert!(why.starts_with("DTSTART: "), "{why}");
        let found = milonga.when.clone().unwrap();
        let end = found.start.checked_add(LONGEST + jiff::SignedDuration::from_secs(1)).unwrap();
        let long = Item { when: Ok(Found { end: Some(end), ..found }), ..milonga };
        assert!(read(&long).err().unwrap().starts_with("DTEND: "));
    }
}
