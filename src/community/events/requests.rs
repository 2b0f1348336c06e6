//! What clients send about events.

use deserr::{Deserr, ValuePointerRef};
use mundotango_gateway::input::{BadFields, Choice, Given, Maybe, Time, Whole};
use mundotango_gateway::problem::{FieldCode, FieldError};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::places::{DanceRole, Limits, MOST_GUESTS, Party};
use super::rules::{AttendeeList, NewAnswer, RsvpChoice, Settings};
use super::schedule::{GivenTime, Schedule, Zone};
use super::store::EventType;
use crate::community::money::{Currency, Money};
use crate::community::place::{GivenLocation, Near};
use crate::texts::{City, Description, Title};

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = in_order -> BadFields)]
#[schema(rename_all = "camelCase", example = json!({
    "title": "Milonga at La Viruta", "description": "Live music from ten on.",
    "eventDate": "2030-12-04T21:00", "endDate": "2030-12-05T03:00", "timeZone": "America/Argentina/Buenos_Aires",
    "location": {"text": "La Viruta, Armenia 1366", "city": "Buenos Aires", "latitude": -34.59, "longitude": -58.42},
    "eventType": "milonga", "capacity": 120,
}))]
pub(super) struct NewEvent {
    pub(super) title: Title,
    #[deserr(default)]
    #[schema(value_type = Option<Description>)]
    pub(super) description: Maybe<Description>,
    /// When it starts.
    pub(super) event_date: GivenTime,
    /// When it ends, at most 31 days later. Without one the event is taken to be over 12 hours after its start.
    #[deserr(default)]
    #[schema(value_type = Option<GivenTime>)]
    pub(super) end_date: Maybe<GivenTime>,
    /// Where the clocks are that the times are read from. UTC if absent.
    #[deserr(default)]
    #[schema(value_type = Option<Zone>)]
    pub(super) time_zone: Maybe<Zone>,
    pub(super) location: GivenLocation,
    #[schema(value_type = EventType)]
    pub(super) event_type: Choice<EventType>,
    /// How many may come; absent for no limit.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub(super) capacity: Maybe<Whole<1, { u32::MAX }>>,
    /// How many may come who lead, and who follow; absent for no limits.
    #[deserr(default)]
    #[schema(value_type = Option<RoleLimits>)]
    pub(super) role_limits: Maybe<RoleLimits>,
    /// To whom it is told who comes. To everybody if absent.
    #[deserr(default)]
    #[schema(value_type = AttendeeList, required = false)]
    pub(super) attendees: Choice<AttendeeList>,
    /// What a place costs, for each of a party; absent for nothing. Who answers holds a place, and keeps it by paying.
    #[deserr(default)]
    #[schema(value_type = Option<TicketPrice>)]
    pub(super) ticket_price: Maybe<TicketPrice>,
    /// How many days before it those who are going are asked whether they still come; absent for not at all.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 2, maximum = 30)]
    pub(super) ask_again_days: Maybe<AskAgainDays>,
    /// Whether it is whole days of `timeZone`: of `eventDate` and `endDate` the days count, and `endDate` is on the last of them.
    #[deserr(default)]
    #[schema(required = false)]
    pub(super) all_day: bool,
    /// Whether it is for its hosts alone until it is published.
    #[deserr(default)]
    #[schema(required = false)]
    pub(super) draft: bool,
}

/// Days before an event. The day before it all who are going are reminded.
pub(super) type AskAgainDays = Whole<2, 30>;

/// What a place costs.
#[derive(Clone, Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[schema(example = json!({"minor": 1250, "currency": "EUR"}))]
pub(super) struct TicketPrice {
    /// In the smallest unit of the currency: 1250 is 12.50 EUR, and 1250 JPY.
    #[schema(value_type = u32, minimum = 1)]
    minor: Whole<1, { u32::MAX }>,
    currency: Currency,
}

impl TicketPrice {
    pub(super) fn money(self) -> Money {
        Money::new(self.minor.get().into(), self.currency)
    }
}

/// How many may come of each role. Who dances either is counted where there is room.
#[derive(Clone, Debug, Default, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct RoleLimits {
    /// Who lead; absent for no limit.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 0)]
    pub(super) lead: Maybe<Whole<0, { u32::MAX }>>,
    /// Who follow; absent for no limit.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 0)]
    pub(super) follow: Maybe<Whole<0, { u32::MAX }>>,
}

impl RoleLimits {
    pub(super) fn limits(self, total: Option<u32>) -> Limits {
        let of = |limit: Maybe<Whole<0, { u32::MAX }>>| limit.value().map(Whole::get);
        Limits { total, leads: of(self.lead), follows: of(self.follow) }
    }
}

/// What is changed about how events are given.
#[derive(Debug)]
pub(super) struct SettingsChange<'a> {
    pub(super) capacity: Maybe<Whole<1, { u32::MAX }>>,
    pub(super) role_limits: &'a Maybe<RoleLimits>,
    pub(super) attendees: &'a Given<Choice<AttendeeList>>,
    pub(super) ticket_price: &'a Maybe<TicketPrice>,
    pub(super) ask_again_days: Maybe<AskAgainDays>,
}

impl SettingsChange<'_> {
    pub(super) fn of(self, settings: Settings) -> Settings {
        let total = match self.capacity {
            Maybe::Absent => settings.limits.total,
            Maybe::Null => None,
            Maybe::Value(capacity) => Some(capacity.get()),
        };
        let limits = match self.role_limits {
            Maybe::Absent => Limits { total, ..settings.limits },
            Maybe::Null => Limits::total(total),
            Maybe::Value(limits) => limits.clone().limits(total),
        };
        let attendees = self.attendees.0.as_ref().map_or(settings.attendees, |choice| choice.0);
        let ticket = match self.ticket_price {
            Maybe::Absent => settings.ticket,
            Maybe::Null => None,
            Maybe::Value(price) => Some(price.clone().money()),
        };
        let ask_again = match self.ask_again_days {
            Maybe::Absent => settings.ask_again,
            Maybe::Null => None,
            Maybe::Value(days) => Some(days.get()),
        };
        Settings { limits, attendees, ticket, ask_again }
    }
}

impl NewEvent {
    pub(super) fn schedule(&self) -> Result<Schedule, FieldError> {
        let end = match self.end_date {
            Maybe::Value(end) => Some(end),
            Maybe::Absent | Maybe::Null => None,
        };
        let zone = if let Maybe::Value(zone) = &self.time_zone { Some(zone) } else { None };
        Schedule::given(self.event_date, end, zone, self.all_day)
    }
}

/// Times that contradict each other are told together with what else is wrong.
fn in_order(event: NewEvent, _at: ValuePointerRef<'_>) -> Result<NewEvent, BadFields> {
    event.schedule()?;
    Ok(event)
}

#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields, validate = whole_party -> BadFields)]
pub(super) struct RsvpBody {
    /// Going if absent.
    #[deserr(default)]
    #[schema(value_type = RsvpChoice, required = false)]
    pub(super) status: Choice<RsvpChoice>,
    /// What the caller dances. Without `role` and `guests` those of the answer before come, or the caller alone.
    #[deserr(default)]
    #[schema(value_type = DanceRole, required = false)]
    pub(super) role: Given<Choice<DanceRole>>,
    /// What each of the guests dances whom the caller brings; a couple is one who leads with a guest who follows. They have
    /// places together or wait together.
    #[deserr(default)]
    #[schema(value_type = Vec<DanceRole>, max_items = 9, required = false)]
    pub(super) guests: Given<Vec<Choice<DanceRole>>>,
}

type GivenGuests = Given<Vec<Choice<DanceRole>>>;

fn whole_party(body: RsvpBody, at: ValuePointerRef<'_>) -> Result<RsvpBody, BadFields> {
    few_guests(&body.guests, at)?;
    Ok(body)
}

/// Fails for more guests than a party may have.
pub(super) fn few_guests(guests: &GivenGuests, at: ValuePointerRef<'_>) -> Result<(), BadFields> {
    if guests.0.as_ref().map_or(0, Vec::len) > MOST_GUESTS {
        let message = format!("must have at most {MOST_GUESTS} items");
        return Err(BadFields::one(at.push_key("guests"), FieldCode::TooLong, message));
    }
    Ok(())
}

/// The party that is said; `None` where nothing is.
pub(super) fn party(role: Given<Choice<DanceRole>>, guests: GivenGuests) -> Option<Party> {
    (role.0.is_some() || guests.0.is_some()).then(|| Party {
        role: role.0.map(|role| role.0).unwrap_or_default(),
        guests: guests.0.unwrap_or_default().into_iter().map(|role| role.0).collect(),
    })
}

impl From<RsvpBody> for NewAnswer {
    fn from(body: RsvpBody) -> Self {
        Self { choice: body.status.0, party: party(body.role, body.guests) }
    }
}

/// What the list of events is narrowed to.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct EventsQuery {
    /// Only in this city.
    #[deserr(default)]
    #[param(value_type = Option<City>)]
    pub(super) city: Option<City>,
    /// Only of this kind.
    #[deserr(default)]
    #[param(value_type = Option<EventType>)]
    pub(super) event_type: Option<Choice<EventType>>,
    /// Not before this time; if absent, nothing that is over.
    #[deserr(default)]
    pub(super) from: Option<Time>,
    /// Before this time.
    #[deserr(default)]
    pub(super) to: Option<Time>,
    /// Only near a point: `latitude,longitude,kilometres`.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 100, example = "-34.6,-58.4,10")]
    pub(super) near: Option<Near>,
}

/// As what the caller has to do with events.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum As {
    /// The caller answered, and did not decline.
    #[default]
    Guest,
    /// The caller owns them.
    Host,
}

/// What the list of the caller's events is narrowed to.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct MineQuery {
    /// As a guest if absent.
    #[deserr(default, rename = "as")]
    #[param(value_type = Option<As>, inline, rename = "as")]
    pub(super) role: Option<Choice<As>>,
    /// That start at this time or later; from now on if absent.
    #[deserr(default)]
    pub(super) from: Option<Time>,
}
