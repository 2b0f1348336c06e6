//! The parameters of a query.

use deserr::Deserr;
use serde_json::{Map, Value};

use super::{BadFields, shown};
use crate::code::FieldCode;
use crate::problem::FieldError;

/// Parameters by name, and those that are there more than once.
pub(crate) struct Parameters {
    pub(crate) fields: Map<String, Value>,
    pub(crate) repeated: Vec<FieldError>,
}

impl Parameters {
    pub(crate) fn parse(query: &str) -> Self {
        let (mut fields, mut repeated) = (Map::new(), Vec::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if fields.insert(name.clone().into_owned(), Value::String(value.into_owned())).is_some() {
                let message = "is there more than once";
                repeated.push(FieldError::new(shown(&name), FieldCode::Repeated, message));
            }
        }
        Self { fields, repeated }
    }
}

/// Reads all parameters of a query as one type.
pub(crate) fn read_query<T: Deserr<BadFields>>(query: &str) -> Result<T, BadFields> {
    let Parameters { fields, repeated } = Parameters::parse(query);
    match deserr::deserialize::<T, _, BadFields>(Value::Object(fields)) {
        Ok(value) if repeated.is_empty() => Ok(value),
        read => {
            let mut bad = read.err().unwrap_or_default();
            bad.extend(repeated);
            Err(bad)
        }
    }
}
