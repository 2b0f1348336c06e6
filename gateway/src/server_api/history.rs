//! A channel's history as the server API shows it: payloads that JSON cannot carry are in base 64.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mundotango_protocol::{ClientInfo, Publication};
use mundotango_storage::hot::HistoryPage;
use serde::Serialize;
use serde_json::value::RawValue;

/// A part of a history, and where it ends.
#[derive(Serialize)]
pub(super) struct History<'a> {
    publications: Vec<Kept<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    epoch: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
}

/// A publication: `data` where the payload is JSON, else `b64data`.
#[derive(Serialize)]
struct Kept<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b64data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<ClientInfo>,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_zero")]
    time: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<'a> From<&'a HistoryPage> for History<'a> {
    fn from(page: &'a HistoryPage) -> Self {
        Self {
            publications: page.publications.iter().map(Kept::from).collect(),
            epoch: &page.position.epoch,
            offset: page.position.offset,
        }
    }
}

impl<'a> From<&'a Publication> for Kept<'a> {
    fn from(publication: &'a Publication) -> Self {
        let data = serde_json::from_slice(&publication.data).ok();
        let mut info = publication.info.clone();
        info.iter_mut().for_each(ClientInfo::keep_json);
        Self {
            b64data: data.is_none().then(|| BASE64_STANDARD.encode(&publication.data)),
            data,
            info,
            offset: publication.offset,
            tags: &publication.tags,
            time: u64::try_from(publication.time).unwrap_or_default(),
        }
    }
}
