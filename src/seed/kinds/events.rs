//! Events.

use anyhow::Context as _;
use async_trait::async_trait;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mundotango_storage::db::Db;
use mundotango_storage::zone_named;

use super::{Generator, as_sent};
use crate::community::events::places::Heads;
use crate::community::events::rules::{RsvpCounts, Settings};
use crate::community::events::schedule::Schedule;
use crate::community::events::store::{Event, EventStore, EventType};
use crate::community::location::{Coordinates, Location};
use crate::seed::plan::Plan;
use crate::seed::words;
use crate::texts::{City, Description, Place, Title};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// How long before now the youngest event was announced, so that there was time to answer.
const ANNOUNCED: SignedDuration = SignedDuration::from_hours(3 * 24);
/// How much earlier the oldest was.
const ANNOUNCED_OVER: SignedDuration = SignedDuration::from_hours(60 * 24);
/// How many days after now the first event is and the last one.
const DAYS_AHEAD: (i64, i64) = (1, 90);
/// Of a hundred events, how many have no room for everybody.
const WITH_CAPACITY: u64 = 50;
const CAPACITIES: [&u32; 5] = [&10, &20, &40, &80, &200];
const TYPES: [(&EventType, &str); 6] = [
    (&EventType::Milonga, "Milonga"),
    (&EventType::Practica, "Práctica"),
    (&EventType::Class, "Class"),
    (&EventType::Workshop, "Workshop"),
    (&EventType::Concert, "Concert"),
    (&EventType::Festival, "Festival"),
];
/// Most sentences of a description.
const SENTENCES: u64 = 8;

/// When an event was announced, and its id.
pub(super) fn announced(plan: &Plan, event: u64) -> (Timestamp, String) {
    let mut draw = plan.draw("event times", event);
    let latest = plan.at.checked_sub(ANNOUNCED).unwrap_or(Timestamp::UNIX_EPOCH);
    let created_at = Plan::before(&mut draw, latest, ANNOUNCED_OVER);
    let id = draw.id(created_at);
    (created_at, id)
}

/// Makes events that are still to come.
pub(super) struct Events(EventStore);

impl Events {
    pub(super) fn new(db: &Db) -> Self {
        Self(EventStore::new(db.clone()))
    }
}

#[async_trait]
impl Generator for Events {
    fn name(&self) -> &'static str {
        "events"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        plan.events()
    }

    async fn step(&self, plan: &Plan, number: u64) -> anyhow::Result<u64> {
        let mut draw = plan.draw("events", number);
        let host = draw.popular(plan.users);
        let (event_type, called) = draw.popular_one(&TYPES);
        let town = words::place(&mut draw);
        let title: Title = as_sent(format!("{called} {}", words::occasion(&mut draw)))?;
        let description: Description = as_sent(words::sentences(&mut draw, SENTENCES))?;
        let text: Place = as_sent(format!("{}, {}", words::venue(&mut draw), town.name))?;
        let city: City = as_sent(town.name)?;
        let zone = zone_named(town.zone).unwrap_or(TimeZone::UTC);
        let coordinates = Coordinates { latitude: town.latitude, longitude: town.longitude };
        let starts_in = HOUR * i32::try_from(24 * draw.between(DAYS_AHEAD.0, DAYS_AHEAD.1))?;
        let start = plan.at.checked_add(starts_in).context("--at is too late")?.to_zoned_datetime(zone);
        let end = start.checked_add(HOUR * i32::try_from(draw.between(2, 8))?)?;
        let capacity = draw.percent(WITH_CAPACITY).then(|| *draw.one_of(&CAPACITIES));
        let (created_at, id) = announced(plan, number);
        let event = Event {
            id,
            host_id: plan.user_id(host),
            title: title.into_string(),
            description: description.into_string(),
            when: Schedule::times(start, Some(end)),
            location: Location {
                text: text.into_string(),
                city: Some(city.into_string()),
                coordinates: Some(coordinates),
            },
            event_type: **event_type,
            settings: Settings::capacity(capacity),
            is_draft: false,
            created_at,
            changed_at: created_at,
            counts: RsvpCounts::default(),
            going: Heads::default(),
            held: 0,
            sequence: 0,
            version: 0,
            cancelled: None,
            series: None,
            is_given_away: false,
            is_suspended: false,
        };
        self.0.create(&event, &[]).await?;
        Ok(1)
    }
}
