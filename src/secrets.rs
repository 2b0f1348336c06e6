//! Keys that an installation makes for itself at its first start, and that all of its nodes share.

use anyhow::Context as _;
use mundotango_push::VapidKeys;
use mundotango_storage::db::{Db, Fields, Kind};
use serde::{Deserialize, Serialize};

/// The keys, by what they are for.
pub(crate) static SECRETS: Kind<SecretText, (), ()> = Kind::new("secrets", "a key: 500 B", PERSONAL);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[Fields::of_nobody(&["id", "facts.text"])];

/// The keys of web push.
const VAPID: &str = "vapid";

/// A key as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SecretText {
    text: String,
}

/// The keys by which browsers know that a push is from here. Those who subscribed hold the public one, so it stays the same.
pub(crate) async fn vapid_keys(db: &Db) -> anyhow::Result<VapidKeys> {
    if db.read(&SECRETS, VAPID).await?.is_none() {
        let made = SecretText { text: VapidKeys::generate()?.to_text().expose().to_owned() };
        // Of several nodes that start at the same time, the keys of one are kept.
        if db.create_once(&SECRETS, VAPID, &made, &(), &[], &[]).await? {
            tracing::info!("keys for web push made");
        }
    }
    let kept = db.read(&SECRETS, VAPID).await?.context("the keys of web push are not there")?;
    Ok(VapidKeys::from_text(&kept.facts.text)?)
}
