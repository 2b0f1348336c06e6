//! What clients write and read of listings.

use std::collections::{BTreeMap, BTreeSet};

use deserr::{Deserr, ValuePointerRef};
use mundotango_gateway::input::{BadFields, Choice, Given, Maybe, Time, UpTo, Whole};
use mundotango_gateway::problem::{FieldCode, FieldError};
use serde::Serialize;
use utoipa::ToSchema;

use super::fuzz::{Chance, Fuzzed};
use super::kind::Listing;
use super::rules::{
    AccommodationType, Amenity, Details, LONGEST_STAY, ListingStatus, MOST_GUESTS, MOST_PHOTOS,
};
use super::words::areas;
use crate::community::Person;
use crate::community::amount::{Price, Total, too_fine};
use crate::community::events::schedule::Zone;
use crate::community::housing::bodies::CancellationBody;
use crate::community::housing::error::HousingError;
use crate::community::housing::terms::{CancellationPolicy, FrozenPolicy};
use crate::community::money::{Currency, Money};
use crate::community::place::GivenLocation;
use crate::texts::{CheckInText, Description, HouseRules, PhotoAddress, Title};

/// For how many there is room where a host does not say.
const USUAL_GUESTS: u32 = 2;

type Nights = Whole<1, LONGEST_STAY>;
type Guests = Whole<1, MOST_GUESTS>;

/// What a place is that a host offers.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields, validate = sound -> BadFields)]
#[schema(rename_all = "camelCase", example = json!({
    "title": "Room in San Telmo", "description": "Quiet, five minutes from three milongas.", "price": 45.5, "currency": "EUR",
    "location": {"text": "Defensa 755, 4B", "city": "Buenos Aires", "latitude": -34.617, "longitude": -58.371},
    "accommodationType": "room", "timeZone": "America/Argentina/Buenos_Aires", "maxGuests": 2, "minNights": 2,
    "amenities": ["wifi", "danceFloor"], "cancellationPolicy": "moderate",
}))]
pub(super) struct NewListing {
    title: Title,
    #[deserr(default)]
    #[schema(value_type = Option<Description>)]
    description: Maybe<Description>,
    /// Of a night that has no price of its own, in the listing's currency.
    price: Price,
    /// Of all prices. EUR if absent.
    #[deserr(default)]
    #[schema(value_type = Currency, required = false)]
    currency: Currency,
    /// Where it is. Everybody sees the city and a point nearby; the rest is for the host and for guests of confirmed bookings. Of
    /// a text alone, everybody sees the parts between commas that hold no number.
    location: GivenLocation,
    #[schema(value_type = AccommodationType)]
    accommodation_type: Choice<AccommodationType>,
    /// On whose calendar the nights are. UTC if absent.
    #[deserr(default)]
    #[schema(value_type = Option<Zone>)]
    time_zone: Maybe<Zone>,
    /// For how many there is room; 2 if absent.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 1, maximum = 50, required = false)]
    max_guests: Given<Guests>,
    /// The fewest nights of a stay; 1 if absent.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 1, maximum = 365, required = false)]
    min_nights: Given<Nights>,
    /// The most nights of a stay; 365 if absent.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 1, maximum = 365, required = false)]
    max_nights: Given<Nights>,
    /// What the place has.
    #[deserr(default)]
    #[schema(value_type = Vec<Amenity>, max_items = 24, required = false)]
    amenities: Given<UpTo<Choice<Amenity>, { Amenity::COUNT }>>,
    #[deserr(default)]
    #[schema(value_type = Option<HouseRules>)]
    house_rules: Maybe<HouseRules>,
    /// Pictures.
    #[deserr(default)]
    #[schema(value_type = Vec<PhotoAddress>, max_items = 20, required = false)]
    photos: Given<UpTo<PhotoAddress, MOST_PHOTOS>>,
    /// How a guest gets in. Shown as the address is.
    #[deserr(default)]
    #[schema(value_type = Option<CheckInText>)]
    check_in: Maybe<CheckInText>,
    /// What is paid back to a guest who cancels; flexible if absent.
    #[deserr(default)]
    #[schema(value_type = CancellationPolicy, required = false)]
    cancellation_policy: Choice<CancellationPolicy>,
}

/// Amounts and lengths that contradict each other are told together with what else is wrong.
fn sound(listing: NewListing, _at: ValuePointerRef<'_>) -> Result<NewListing, BadFields> {
    listing.money()?;
    lengths(listing.min_nights.0, listing.max_nights.0)?;
    Ok(listing)
}

fn lengths(min: Option<Nights>, max: Option<Nights>) -> Result<(), FieldError> {
    match (min, max) {
        (Some(min), Some(max)) if min > max => Err(contradiction()),
        _ => Ok(()),
    }
}

fn contradiction() -> FieldError {
    FieldError::new("maxNights", FieldCode::Contradiction, "must not be lower than minNights")
}

/// A price in a currency.
pub(super) fn money(price: Price, currency: Currency) -> Result<Money, FieldError> {
    price.of(currency).ok_or_else(|| FieldError::new("price", FieldCode::BadForm, too_fine(currency)))
}

fn amenities(list: &UpTo<Choice<Amenity>, { Amenity::COUNT }>) -> Vec<Amenity> {
    let all: BTreeSet<_> = list.0.iter().map(|choice| choice.0).collect();
    all.into_iter().collect()
}

fn photos(list: UpTo<PhotoAddress, MOST_PHOTOS>) -> Vec<String> {
    list.0.into_iter().map(PhotoAddress::into_string).collect()
}

impl NewListing {
    fn money(&self) -> Result<Money, FieldError> {
        money(self.price, self.currency)
    }

    /// As it is kept. Where it is shown is drawn by chance.
    pub(super) fn details(self, chance: Chance) -> Result<Details, FieldError> {
        let Money { minor, currency } = self.money()?;
        let location = self.location.0;
        Ok(Details {
            title: self.title.into_string(),
            description: self.description.value().map(Description::into_string).unwrap_or_default(),
            accommodation_type: self.accommodation_type.0,
            fuzzed: Fuzzed::again(None, location.coordinates, chance),
            location,
            price: minor,
            currency,
            time_zone: self.time_zone.value().map_or_else(|| "UTC".to_owned(), |zone| zone.name().to_owned()),
            max_guests: self.max_guests.0.map_or(USUAL_GUESTS, Whole::get),
            min_nights: self.min_nights.0.map_or(1, Whole::get),
            max_nights: self.max_nights.0.map_or(LONGEST_STAY, Whole::get),
            amenities: self.amenities.0.as_ref().map(amenities).unwrap_or_default(),
            house_rules: self.house_rules.value().map(HouseRules::into_string),
            photos: self.photos.0.map(photos).unwrap_or_default(),
            check_in: self.check_in.value().map(CheckInText::into_string),
            cancellation_policy: self.cancellation_policy.0,
            status: ListingStatus::Active,
        })
    }
}

/// A change of a listing; what is absent stays. Bookings keep what was agreed on.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase", example = json!({"price": 50, "status": "paused"}))]
pub(super) struct ListingChange {
    #[deserr(default)]
    #[schema(value_type = Title, required = false)]
    title: Given<Title>,
    #[deserr(default)]
    #[schema(value_type = Option<Description>)]
    description: Maybe<Description>,
    /// Of a night that has no price of its own.
    #[deserr(default)]
    #[schema(value_type = Price, required = false)]
    price: Given<Price>,
    /// Of all prices; only together with `price`. Prices of nights in another currency no longer count.
    #[deserr(default)]
    #[schema(value_type = Currency, required = false)]
    currency: Given<Currency>,
    #[deserr(default)]
    #[schema(value_type = GivenLocation, required = false)]
    location: Given<GivenLocation>,
    #[deserr(default)]
    #[schema(value_type = AccommodationType, required = false)]
    accommodation_type: Given<Choice<AccommodationType>>,
    /// On whose calendar the nights are.
    #[deserr(default)]
    #[schema(value_type = Zone, required = false)]
    time_zone: Given<Zone>,
    /// For how many there is room.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 1, maximum = 50, required = false)]
    max_guests: Given<Guests>,
    /// The fewest nights of a stay.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 1, maximum = 365, required = false)]
    min_nights: Given<Nights>,
    /// The most nights of a stay.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 1, maximum = 365, required = false)]
    max_nights: Given<Nights>,
    /// What the place has: all of it.
    #[deserr(default)]
    #[schema(value_type = Vec<Amenity>, max_items = 24, required = false)]
    amenities: Given<UpTo<Choice<Amenity>, { Amenity::COUNT }>>,
    #[deserr(default)]
    #[schema(value_type = Option<HouseRules>)]
    house_rules: Maybe<HouseRules>,
    /// Pictures: all of them.
    #[deserr(default)]
    #[schema(value_type = Vec<PhotoAddress>, max_items = 20, required = false)]
    photos: Given<UpTo<PhotoAddress, MOST_PHOTOS>>,
    /// How a guest gets in.
    #[deserr(default)]
    #[schema(value_type = Option<CheckInText>)]
    check_in: Maybe<CheckInText>,
    /// What is paid back to a guest who cancels.
    #[deserr(default)]
    #[schema(value_type = CancellationPolicy, required = false)]
    cancellation_policy: Given<Choice<CancellationPolicy>>,
    /// Whether it takes requests.
    #[deserr(default)]
    #[schema(value_type = ListingStatus, required = false)]
    status: Given<Choice<ListingStatus>>,
}

impl ListingChange {
    /// Whether a place is offered again by this that is paused.
    pub(super) fn offers_again(&self, before: &Details) -> bool {
        let is_active = self.status.0.is_some_and(|choice| choice.0 == ListingStatus::Active);
        before.status == ListingStatus::Paused && is_active
    }

    /// The details after the change.
    pub(super) fn apply(&self, before: &Details, chance: Chance) -> Result<Details, HousingError> {
        let mut after = before.clone();
        if let Some(title) = &self.title.0 {
            after.title = title.clone().into_string();
        }
        match &self.description {
            Maybe::Absent => {}
            Maybe::Null => after.description.clear(),
            Maybe::Value(text) => after.description = text.clone().into_string(),
        }
        match (self.price.0, self.currency.0) {
            (Some(price), currency) => {
                after.currency = currency.unwrap_or(before.currency);
                after.price = money(price, after.currency).map_err(HousingError::Unsuitable)?.minor;
            }
            (None, Some(currency)) if currency != before.currency => {
                let message = "can be changed only with price";
                let wrong = FieldError::new("currency", FieldCode::Contradiction, message);
                return Err(HousingError::Unsuitable(wrong));
            }
            (None, _) => {}
        }
        if let Some(GivenLocation(location)) = &self.location.0 {
            after.location = location.clone();
            after.fuzzed = Fuzzed::again(before.fuzzed, location.coordinates, chance);
        }
        set(&mut after.accommodation_type, self.accommodation_type.0.map(|choice| choice.0));
        set(&mut after.time_zone, self.time_zone.0.as_ref().map(|zone| zone.name().to_owned()));
        set(&mut after.max_guests, self.max_guests.0.map(Whole::get));
        set(&mut after.min_nights, self.min_nights.0.map(Whole::get));
        set(&mut after.max_nights, self.max_nights.0.map(Whole::get));
        if after.min_nights > after.max_nights {
            return Err(HousingError::Unsuitable(contradiction()));
        }
        set(&mut after.amenities, self.amenities.0.as_ref().map(amenities));
        set(&mut after.photos, self.photos.0.clone().map(photos));
        self.house_rules.clone().map(HouseRules::into_string).set(&mut after.house_rules);
        self.check_in.clone().map(CheckInText::into_string).set(&mut after.check_in);
        set(&mut after.cancellation_policy, self.cancellation_policy.0.map(|choice| choice.0));
        set(&mut after.status, self.status.0.map(|choice| choice.0));
        Ok(after)
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Where a listing is, as the caller may see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ListingPlace {
    /// The address for who may know it; else the places that everybody may know.
    text: String,
    #[schema(required = true)]
    city: Option<String>,
    /// Degrees north.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = -90, maximum = 90, example = -34.62)]
    latitude: Option<f64>,
    /// Degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = -180, maximum = 180, example = -58.38)]
    longitude: Option<f64>,
    /// Whether this is the place itself. Else the point is half a kilometre to one and a half away, in a direction that never
    /// changes.
    is_exact: bool,
}

/// What guests have said of a place.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct RatingsBody {
    /// From 1 to 5; null where nobody has.
    #[schema(required = true)]
    mean: Option<f64>,
    count: u32,
}

/// A place to stay.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::community) struct ListingBody {
    pub(in crate::community) id: String,
    host_id: String,
    /// Null when the account is gone or cannot be read now.
    #[schema(required = true)]
    host: Option<Person>,
    pub(in crate::community) title: String,
    pub(in crate::community) description: String,
    accommodation_type: AccommodationType,
    /// Of a night that has no price of its own.
    #[schema(value_type = f64)]
    price: Total,
    currency: Currency,
    location: ListingPlace,
    /// The IANA name of the place's time zone.
    time_zone: String,
    max_guests: u32,
    min_nights: u32,
    max_nights: u32,
    amenities: Vec<Amenity>,
    #[schema(required = true)]
    house_rules: Option<String>,
    photos: Vec<String>,
    /// How a guest gets in; null for who may not know the address.
    #[schema(required = true)]
    check_in: Option<String>,
    cancellation_policy: CancellationBody,
    status: ListingStatus,
    rating: RatingsBody,
    /// Rises with each change.
    version: u64,
    created_at: Time,
}

impl ListingBody {
    /// A listing for somebody who may know where it is, or may not.
    pub(super) fn new(listing: Listing, people: &BTreeMap<String, Person>, is_exact: bool) -> Self {
        let Listing { id, host_id, created_at, details, version, ratings, .. } = listing;
        let areas = areas(&details.location);
        let shown = details.fuzzed.map(|fuzzed| fuzzed.shown);
        let point = if is_exact { details.location.coordinates } else { shown };
        let location = ListingPlace {
            city: details.location.city.clone().or_else(|| areas.last().cloned()),
            text: if is_exact { details.location.text.clone() } else { areas.join(", ") },
            latitude: point.map(|point| point.latitude),
            longitude: point.map(|point| point.longitude),
            is_exact,
        };
        Self {
            id,
            host: people.get(&host_id).cloned(),
            host_id,
            price: details.money(details.price).amount(),
            title: details.title,
            description: details.description,
            accommodation_type: details.accommodation_type,
            currency: details.currency,
            location,
            time_zone: details.time_zone,
            max_guests: details.max_guests,
            min_nights: details.min_nights,
            max_nights: details.max_nights,
            amenities: details.amenities,
            house_rules: details.house_rules,
            photos: details.photos,
            check_in: details.check_in.filter(|_| is_exact),
            cancellation_policy: (&FrozenPolicy::from(details.cancellation_policy)).into(),
            status: details.status,
            rating: RatingsBody { mean: ratings.mean(), count: ratings.count },
            version,
            created_at: created_at.into(),
        }
    }
}
