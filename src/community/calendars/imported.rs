//! Which event is that of a name in somebody's file: a claim a user and a name, so that a file that is imported again changes
//! events and makes none twice.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Erasure, Export, Fields, Kind, Wants, Whose};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The events that were imported.
pub static IMPORTED_EVENTS: Kind<(), Claim, ()> =
    Kind::new("imported_events", "a name in the files of a user: an event's id, 100 B", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[Fields::of(
    Whose::User,
    Export::NotGiven("the events are"),
    Erasure::Removed,
    &["id", "head.event_id"],
)];

/// To which event a name leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The event's id. There may be no such event yet: it is made after the claim, by whoever imports the file next if need be.
    #[serde(default)]
    event_id: Option<String>,
}

/// The claims of a store.
#[derive(Clone)]
pub struct ImportedStore(Db);

impl ImportedStore {
    /// The claims of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// The event of a name in a user's files, if it was imported.
    pub async fn event_of(&self, user_id: &str, uid: &str) -> Result<Option<String>, StoreError> {
        let found = self.0.read(&IMPORTED_EVENTS, &place(user_id, uid)).await?;
        Ok(found.and_then(|found| found.head.event_id))
    }

    /// The same; the event gets this id if it was never imported. However many import at the same time, all get the same.
    pub async fn claim(&self, user_id: &str, uid: &str, new_id: String) -> Result<String, StoreError> {
        let place = place(user_id, uid);
        let claimed = self.0.change(&IMPORTED_EVENTS, &place, Wants::head(), move |part| {
            if let Some(id) = &part.head.event_id {
                return Ok::<_, StoreError>(Decision::Stands(id.clone()));
            }
            part.head.event_id = Some(new_id.clone());
            Ok(Decision::Write(new_id.clone()))
        });
        claimed.await?.ok_or_else(|| StoreError::Damaged("an implicit partition is not there".to_owned()))
    }
}

/// The partition of a name. A name may hold anything and be of any length.
fn place(user_id: &str, uid: &str) -> String {
    let digest = Sha256::new().chain_update(user_id).chain_update([0]).chain_update(uid).finalize();
    URL_SAFE_NO_PAD.encode(digest)
}
