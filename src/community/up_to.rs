//! Lists that clients send.

use deserr::{Deserr, IntoValue, Sequence as _, Value, ValuePointerRef};
use mundotango_gateway::input::BadFields;
use mundotango_gateway::problem::FieldCode;

/// A list of so many items at most.
#[derive(Clone, Debug)]
pub(super) struct UpTo<T, const MOST: usize>(pub(super) Vec<T>);

impl<T: Deserr<BadFields>, const MOST: usize> Deserr<BadFields> for UpTo<T, MOST> {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        match value {
            Value::Sequence(items) if items.len() <= MOST => {
                Vec::deserialize_from_value(Value::<V>::Sequence(items), at).map(Self)
            }
            Value::Sequence(_) => {
                Err(BadFields::one(at, FieldCode::OutOfRange, format!("must have {MOST} items at most")))
            }
            other => Err(BadFields::wrong_type(&other, "a list", at)),
        }
    }
}
