//! What the API's document says of bodies: that they hold no fields but those that it lists.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{OpenApi, RefOr, Schema};

/// Says of each body so far in a document that it takes no other fields.
pub(crate) fn describe(document: &mut OpenApi) {
    let names: Vec<_> = document.paths.paths.values().flat_map(operations).filter_map(body_of).collect();
    let Some(components) = &mut document.components else { return };
    for name in names {
        if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(&name) {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

fn operations(item: &PathItem) -> impl Iterator<Item = &Operation> {
    [&item.post, &item.put, &item.patch].into_iter().flatten()
}

/// The name of the schema of an operation's body.
fn body_of(operation: &Operation) -> Option<String> {
    let Some(RefOr::T(body)) = &operation.request_body else { return None };
    let Some(RefOr::T(content)) = body.content.values().next() else { return None };
    let Some(RefOr::Ref(reference)) = &content.schema else { return None };
    reference.ref_location.rsplit('/').next().map(str::to_owned)
}
