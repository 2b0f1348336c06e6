//! What clients send, read strictly.

use deserr::{Deserr, IntoValue, Map as _, Sequence as _, Value, ValuePointerRef};
use mundotango_gateway::input::{BadFields, Choice, Maybe};
use mundotango_gateway::problem::FieldCode;
use mundotango_storage::db::time_of_id;
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::counts::Kind;

/// Most events of a batch.
pub(super) const MAX_EVENTS: usize = 100;
/// Most properties of an event.
const MAX_PROPERTIES: usize = 20;
/// Characters of a name, of an event or a property.
const MAX_NAME: usize = 60;
/// Characters of a property that is a text.
const MAX_TEXT: usize = 100;
/// The largest number that every reader of JSON holds exactly.
const LARGEST: i64 = (1 << 53) - 1;
/// The same, as a float.
const LARGEST_FLOAT: f64 = 9_007_199_254_740_991.0;
/// Bytes of a path.
const MAX_PATH: usize = 500;

/// A batch of events.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
pub(super) struct Report {
    /// The events, in any order.
    pub(super) events: Events,
}

/// From 1 to [`MAX_EVENTS`] events.
#[derive(Debug)]
pub(super) struct Events(pub(super) Vec<ReportedEvent>);

/// Something that happened at the client.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(example = json!({"kind": "page_view", "name": "home", "path": "/", "properties": {"from": "menu"}}))]
pub(super) struct ReportedEvent {
    /// A UUID of version 7, in small letters, that the client makes when the event happens, and sends again
    /// with it: its time is the event's, and an event is counted once by it. Without one the event happens
    /// when it arrives, each time it does.
    #[deserr(default)]
    #[schema(value_type = Option<EventId>)]
    pub(super) id: Maybe<EventId>,
    /// What happened.
    #[schema(value_type = ReportedKind)]
    pub(super) kind: Choice<ReportedKind>,
    /// What exactly, such as `home` or `rsvp.going`: ASCII letters, digits, `_`, `.`, `:` and `-`.
    pub(super) name: EventName,
    /// The path of the page where it happened. Ids in it, its query and its fragment are cut out before it is
    /// kept.
    #[deserr(default)]
    #[schema(value_type = Option<PagePath>)]
    pub(super) path: Maybe<PagePath>,
    /// Up to 20 numbers, yes or no, and short texts, by names like that of the event.
    #[deserr(default)]
    #[schema(schema_with = properties, required = false)]
    pub(super) properties: Properties,
}

/// What clients report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReportedKind {
    /// A page was shown.
    PageView,
    /// The user did something.
    UserAction,
    /// The user used a feature.
    FeatureUsage,
}

impl From<ReportedKind> for Kind {
    fn from(kind: ReportedKind) -> Self {
        match kind {
            ReportedKind::PageView => Self::PageView,
            ReportedKind::UserAction => Self::UserAction,
            ReportedKind::FeatureUsage => Self::FeatureUsage,
        }
    }
}

impl Deserr<BadFields> for Events {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let wanted = format!("a list of 1 to {MAX_EVENTS} events");
        match value {
            Value::Sequence(events) if (1..=MAX_EVENTS).contains(&events.len()) => {
                Vec::deserialize_from_value(Value::<V>::Sequence(events), at).map(Self)
            }
            Value::Sequence(_) => Err(BadFields::one(at, FieldCode::OutOfRange, format!("must be {wanted}"))),
            other => Err(BadFields::wrong_type(&other, &wanted, at)),
        }
    }
}

impl PartialSchema for Events {
    fn schema() -> RefOr<Schema> {
        let items = Ref::from_schema_name(ReportedEvent::name());
        ArrayBuilder::new().items(items).min_items(Some(1)).max_items(Some(MAX_EVENTS)).into()
    }
}

impl ToSchema for Events {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((ReportedEvent::name().into_owned(), ReportedEvent::schema()));
        ReportedEvent::schemas(schemas);
    }
}

/// Declares a kind of text by what is wrong with one.
macro_rules! text {
    ($(#[doc = $about:literal] $name:ident = $max:expr, $pattern:literal, $example:literal, $wrong:expr;)+) => {$(
        #[doc = $about]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(super) struct $name(pub(super) String);

        impl Deserr<BadFields> for $name {
            fn deserialize_from_value<V: IntoValue>(
                value: Value<V>,
                at: ValuePointerRef<'_>,
            ) -> Result<Self, BadFields> {
                let Value::String(text) = value else { return Err(BadFields::wrong_type(&value, "a text", at)) };
                let wrong: fn(&str) -> Option<(FieldCode, String)> = $wrong;
                match wrong(&text) {
                    Some((code, message)) => Err(BadFields::one(at, code, message)),
                    None => Ok(Self(text)),
                }
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let schema = ObjectBuilder::new().schema_type(Type::String).description(Some($about.trim()));
                schema.min_length(Some(1)).max_length(Some($max)).pattern(Some($pattern)).examples([$example]).into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

text! {
    /// A UUID of version 7.
    EventId = 36, "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$", "01a22267-5695-774a-9335-497936266a2f", |text| {
        let message = || "must be a UUID of version 7, in small letters".to_owned();
        time_of_id(text).is_none().then(|| (FieldCode::BadForm, message()))
    };
    /// The name of an event.
    EventName = MAX_NAME, "^[A-Za-z0-9_.:-]+$", "home", wrong_name;
    /// The path of a page.
    PagePath = MAX_PATH, "^/[^\\u0000-\\u001f\\u007f-\\u009f]*$", "/events", |text| {
        if text.len() > MAX_PATH {
            return Some((FieldCode::TooLong, format!("must have at most {MAX_PATH} bytes")));
        }
        let message = || "must be a path that begins with /".to_owned();
        (!text.starts_with('/') || text.chars().any(char::is_control)).then(|| (FieldCode::BadForm, message()))
    };
}

/// What is wrong with a name.
pub(super) fn wrong_name(name: &str) -> Option<(FieldCode, String)> {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | ':' | '-');
    let code = if name.is_empty() {
        FieldCode::Blank
    } else if name.len() > MAX_NAME {
        FieldCode::TooLong
    } else if !name.chars().all(is_allowed) {
        FieldCode::BadCharacters
    } else {
        return None;
    };
    Some((code, format!("must have 1 to {MAX_NAME} ASCII letters, digits, _, ., : and -")))
}

/// The form of properties.
fn properties() -> Schema {
    let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(MAX_TEXT));
    let flag = ObjectBuilder::new().schema_type(Type::Boolean);
    let number =
        ObjectBuilder::new().schema_type(Type::Number).minimum(Some(-LARGEST)).maximum(Some(LARGEST));
    let value = Schema::OneOf(OneOfBuilder::new().item(text).item(flag).item(number).build());
    let value = AdditionalProperties::RefOr(RefOr::T(value));
    let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9_.:-]+$"));
    let name = name.max_length(Some(MAX_NAME));
    let object = ObjectBuilder::new().schema_type(Type::Object).property_names(Some(name.build()));
    object.additional_properties(Some(value)).max_properties(Some(MAX_PROPERTIES)).into()
}

/// What else is told of an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Properties(pub(super) Map<String, Json>);

impl Deserr<BadFields> for Properties {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let wanted = format!("an object of at most {MAX_PROPERTIES} properties");
        let properties = match value {
            Value::Map(properties) if properties.len() <= MAX_PROPERTIES => properties,
            Value::Map(_) => {
                return Err(BadFields::one(at, FieldCode::OutOfRange, format!("must be {wanted}")));
            }
            other => return Err(BadFields::wrong_type(&other, &wanted, at)),
        };
        let mut read = Map::new();
        for (name, value) in properties.into_iter() {
            let at = at.push_key(&name);
            if let Some((code, message)) = wrong_name(&name) {
                return Err(BadFields::one(at, code, message));
            }
            let value = match value.into_value() {
                Value::Boolean(value) => Json::from(value),
                Value::Integer(value) if value <= LARGEST.unsigned_abs() => Json::from(value),
                Value::NegativeInteger(value) if value >= -LARGEST => Json::from(value),
                Value::Float(value) if value.abs() <= LARGEST_FLOAT => Json::from(value),
                Value::Integer(_) | Value::NegativeInteger(_) | Value::Float(_) => {
                    let message = format!("must be a number from -{LARGEST} to {LARGEST}");
                    return Err(BadFields::one(at, FieldCode::OutOfRange, message));
                }
                Value::String(text) if text.chars().count() <= MAX_TEXT => Json::from(text),
                Value::String(_) => {
                    let message = format!("must have at most {MAX_TEXT} characters");
                    return Err(BadFields::one(at, FieldCode::TooLong, message));
                }
                other => return Err(BadFields::wrong_type(&other, "a number, yes or no, or a text", at)),
            };
            read.insert(name, value);
        }
        Ok(Self(read))
    }
}

#[cfg(test)]
mod tests {
    use mundotango_gateway::input::read_value;
    use serde_json::json;

    use super::*;

    /// The fields that are wrong.
    fn wrong(event: &Json) -> Vec<String> {
        match read_value::<Report>(json!({"events": [{"kind": "page_view", "name": "home"}, event]})) {
            Ok(_) => Vec::new(),
            Err(problem) => problem.errors().iter().map(|error| error.field.clone()).collect(),
        }
    }

    #[test]
    fn each_wrong_field_is_named_by_its_event() {
        let good = json!({"kind": "feature_usage", "name": "map.open", "path": "/events?x=1",
            "id": "019ab2d4-6c00-7000-8000-000000000000",
            "properties": {"n": 1, "m": -1, "f": 1.5, "b": true, "t": "x"}});
        assert_eq!(wrong(&good), [""; 0]);
        for (field, value) in [
            ("id", json!("019ab2d4-6c00-4000-8000-000000000000")),
            ("kind", json!("server_read")),
            ("name", json!("two words")),
            ("name", json!("(other)")),
            ("name", json!("")),
            ("name", json!("x".repeat(61))),
            ("path", json!("https://example.com/")),
            ("path", json!("/\u{7}")),
            ("path", json!(format!("/{}", "x".repeat(500)))),
            ("properties", json!([])),
            ("properties", json!((0..21).map(|n| (format!("p{n}"), json!(n))).collect::<Map<_, _>>())),
            ("properties.deep", json!({"deep": {}})),
            ("properties.long", json!({"long": "x".repeat(101)})),
            ("properties.most", json!({"most": 9_007_199_254_740_992_u64})),
            ("properties.least", json!({"least": -9_007_199_254_740_992_i64})),
            ("properties.huge", json!({"huge": 1e300})),
            ("visitor", json!("somebody else")),
        ] {
            let mut bad = good.clone();
            bad[field.split('.').next().unwrap()] = value;
            assert_eq!(wrong(&bad), [format!("events.1.{field}")], "{bad}");
        }
    }

    #[test]
    fn a_batch_has_events_and_not_too_many() {
        let event = json!({"kind": "page_view", "name": "home"});
        for (number, is_good) in [(0, false), (1, true), (100, true), (101, false)] {
            let batch = json!({"events": vec![event.clone(); number]});
            assert_eq!(read_value::<Report>(batch).is_ok(), is_good, "{number}");
        }
        for bad in [json!({}), json!({"events": null}), json!({"events": 7}), json!({"events": [7]})] {
            assert!(read_value::<Report>(bad.clone()).is_err(), "{bad}");
        }
    }
}
