//! What users say about the kinds of notifications: by which ways they want to be told of each.

use std::collections::BTreeMap;

use deserr::{Deserr, IntoValue, Map as _, Value, ValuePointerRef};
use mundotango_gateway::input::{BadFields, Given};
use mundotango_gateway::problem::FieldCode;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::kinds::{NotificationKind, Ways};

/// By which ways the user is told of a kind; what is absent stays.
#[derive(Debug, Default, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
pub(super) struct WaysBody {
    /// In the list, and on the user's own channel.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    in_app: Given<bool>,
    /// On the devices.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    push: Given<bool>,
    /// By letters: of its own where the kind has one, else in the digest.
    #[deserr(default)]
    #[schema(value_type = bool, required = false)]
    email: Given<bool>,
}

impl WaysBody {
    pub(super) fn set(&self, ways: Ways) -> Ways {
        Ways {
            in_app: self.in_app.0.unwrap_or(ways.in_app),
            push: self.push.0.unwrap_or(ways.push),
            email: self.email.0.unwrap_or(ways.email),
        }
    }
}

/// What is changed about kinds, by their names.
#[derive(Debug, Default)]
pub(super) struct KindsBody(BTreeMap<NotificationKind, WaysBody>);

impl KindsBody {
    pub(super) fn of(&self, kind: NotificationKind) -> Option<&WaysBody> {
        self.0.get(&kind)
    }
}

impl Deserr<BadFields> for KindsBody {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let Value::Map(kinds) = value else { return Err(BadFields::wrong_type(&value, "an object", at)) };
        let (mut read, mut wrong) = (BTreeMap::new(), None::<BadFields>);
        let mut note = |fields: BadFields| {
            let before = wrong.take().unwrap_or_default();
            wrong = Some(before.and(fields));
        };
        for (name, value) in kinds.into_iter() {
            let at = at.push_key(&name);
            let Some(kind) = NotificationKind::ALL.into_iter().find(|kind| kind.as_str() == name) else {
                note(BadFields::one(at, FieldCode::Unknown, format!("unknown kind `{name}`")));
                continue;
            };
            match WaysBody::deserialize_from_value(value.into_value(), at) {
                Ok(ways) => drop(read.insert(kind, ways)),
                Err(fields) => note(fields),
            }
        }
        wrong.map_or(Ok(Self(read)), Err)
    }
}

impl PartialSchema for KindsBody {
    fn schema() -> RefOr<Schema> {
        let object = ObjectBuilder::new().description(Some("What is changed about kinds, by their names."));
        let properties = NotificationKind::ALL.into_iter().fold(object, |object, kind| {
            object.property(kind.as_str(), Ref::from_schema_name(WaysBody::name()))
        });
        properties.additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false))).into()
    }
}

impl ToSchema for KindsBody {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((WaysBody::name().into_owned(), WaysBody::schema()));
    }
}
