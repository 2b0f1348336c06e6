//! How clients write and read where an event is, and what is near.

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use mundotango_gateway::input::{BadFields, Decimal, Maybe};
use mundotango_gateway::problem::FieldCode;
use serde::Serialize;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::location::{Coordinates, Location};
use crate::texts::{City, Place};

/// Half the way around the earth.
const MAX_KM: i32 = 20_100;

/// Where an event is: a text, or its parts. It is read by hand, as errors of a choice of types name no field.
#[derive(Debug)]
pub(super) struct GivenLocation(pub(super) Location);

impl Deserr<BadFields> for GivenLocation {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        match value {
            Value::Map(_) => {
                let parts = GivenParts::deserialize_from_value(value, at)?;
                let coordinates = parts.latitude.value().zip(parts.longitude.value());
                let coordinates = coordinates.map(|(latitude, longitude)| Coordinates {
                    latitude: latitude.get(),
                    longitude: longitude.get(),
                });
                let city = parts.city.value().map(City::into_string);
                let Some(text) = parts.text.or(parts.name).or(parts.venue).or(parts.address) else {
                    return Err(BadFields::one(at.push_key("text"), FieldCode::Missing, "is required"));
                };
                Ok(Self(Location { text: text.into_string(), city, coordinates }))
            }
            Value::String(_) => {
                let text = Place::deserialize_from_value(value, at)?.into_string();
                Ok(Self(Location { text, ..Location::default() }))
            }
            other => {
                let wanted = "a text, or an object with text, city, latitude and longitude";
                Err(BadFields::wrong_type(&other, wanted, at))
            }
        }
    }
}

impl PartialSchema for GivenLocation {
    fn schema() -> RefOr<Schema> {
        let parts = || {
            let city = OneOfBuilder::new().item(Ref::from_schema_name(City::name())).item(null());
            ObjectBuilder::new()
                .property("text", Ref::from_schema_name(Place::name()))
                .property("city", city)
                .required("text")
                .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        };
        // Half a point is none: both are there, or neither.
        let point =
            parts().property("latitude", degrees(90, -34.59)).property("longitude", degrees(180, -58.42));
        let point = point.required("latitude").required("longitude");
        let about = "Where an event is: a text, or its parts; with a point, if it is known.";
        let form = OneOfBuilder::new().description(Some(about)).item(Ref::from_schema_name(Place::name()));
        form.item(parts()).item(point).into()
    }
}

impl ToSchema for GivenLocation {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((City::name().into_owned(), City::schema()));
        schemas.push((Place::name().into_owned(), Place::schema()));
    }
}

fn null() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Null)
}

fn degrees(most: i32, example: f64) -> ObjectBuilder {
    let number = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(-most)).maximum(Some(most));
    number.examples([example])
}

type Latitude = Decimal<-90, 90>;
type Longitude = Decimal<-180, 180>;

#[derive(Debug, Deserr)]
#[deserr(error = BadFields, deny_unknown_fields, validate = whole_point -> BadFields)]
struct GivenParts {
    #[deserr(default)]
    text: Option<Place>,
    /// Other names of the text, by which older clients call it.
    #[deserr(default)]
    name: Option<Place>,
    #[deserr(default)]
    venue: Option<Place>,
    #[deserr(default)]
    address: Option<Place>,
    #[deserr(default)]
    city: Maybe<City>,
    #[deserr(default)]
    latitude: Maybe<Latitude>,
    #[deserr(default)]
    longitude: Maybe<Longitude>,
}

/// Half a point is none, and one text is enough.
fn whole_point(parts: GivenParts, at: ValuePointerRef<'_>) -> Result<GivenParts, BadFields> {
    let texts = [&parts.text, &parts.name, &parts.venue, &parts.address];
    if texts.into_iter().flatten().count() > 1 {
        let message = "does not go together with name, venue or address";
        return Err(BadFields::one(at.push_key("text"), FieldCode::Contradiction, message));
    }
    let latitude = matches!(parts.latitude, Maybe::Value(_));
    let longitude = matches!(parts.longitude, Maybe::Value(_));
    if latitude == longitude {
        return Ok(parts);
    }
    let message = "latitude and longitude are needed together";
    let missing = if latitude { "longitude" } else { "latitude" };
    Err(BadFields::one(at.push_key(missing), FieldCode::Missing, message))
}

/// Where an event is: a text, or its parts.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum LocationBody {
    #[schema(value_type = Place)]
    Text(String),
    Parts(LocationParts),
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LocationParts {
    /// The venue or the whole address.
    #[schema(value_type = Place)]
    text: String,
    #[schema(required = true, value_type = Option<City>)]
    city: Option<String>,
    /// Degrees north.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = -90, maximum = 90, example = -34.59)]
    latitude: Option<f64>,
    /// Degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = -180, maximum = 180, example = -58.42)]
    longitude: Option<f64>,
}

impl From<Location> for LocationBody {
    /// Clients get back the form that they gave.
    fn from(location: Location) -> Self {
        if location.city.is_none() && location.coordinates.is_none() {
            return Self::Text(location.text);
        }
        Self::Parts(LocationParts {
            text: location.text,
            city: location.city,
            latitude: location.coordinates.map(|point| point.latitude),
            longitude: location.coordinates.map(|point| point.longitude),
        })
    }
}

/// A point and the kilometres around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Near(pub(super) Coordinates, pub(super) f64);

impl Near {
    fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<f64> =
            text.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
        let [latitude, longitude, km] = numbers[..] else { return None };
        let (latitude, longitude) = (Latitude::new(latitude)?.get(), Longitude::new(longitude)?.get());
        Some(Self(Coordinates { latitude, longitude }, Decimal::<0, MAX_KM>::new(km)?.get()))
    }
}

impl Deserr<BadFields> for Near {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let near = if let Value::String(text) = value { Self::parse(&text) } else { None };
        let message = "must be latitude,longitude,kilometres, such as -34.6,-58.4,20";
        near.ok_or_else(|| BadFields::one(at, FieldCode::BadForm, message))
    }
}
