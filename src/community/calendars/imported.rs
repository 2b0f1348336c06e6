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
    Export::NotGiven("the events and the series are"),
    Erasure::Removed,
    &["id", "head.event_id", "head.series_id", "head.rule"],
)];

/// To which event a name leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The event's id. There may be no such event yet: it is made after the claim, by whoever imports the file next if need be.
    #[serde(default)]
    event_id: Option<String>,
    /// The series' id, of what repeats: likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    series_id: Option<String>,
    /// The rule that the series took last, as a digest of what the file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// An event, by its id.
    Event(String),
    /// A series.
    Series {
        /// Its id.
        id: String,
        /// The rule that it took last, as a digest.
        rule: Option<String>,
    },
}

impl Claim {
    fn known(&self) -> Option<Known> {
        let series = self.series_id.clone().map(|id| Known::Series { id, rule: self.rule.clone() });
        series.or_else(|| self.event_id.clone().map(Known::Event))
    }
}

/// The claims of a store.
#[derive(Clone)]
pub struct ImportedStore(Db);

impl ImportedStore {
    /// The claims of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// What a name in a user's files leads to, if it was imported.
    pub async fn known(&self, user_id: &str, uid: &str) -> Result<Option<Known>, StoreError> {
        let found = self.0.read(&IMPORTED_EVENTS, &place(user_id, uid)).await?;
        Ok(found.and_then(|found| found.head.known()))
    }

    /// The same; the name leads to this if it was never imported. However many import at the same time, all get the same.
    pub async fn claim(&self, user_id: &str, uid: &str, new: Known) -> Result<Known, StoreError> {
        let place = place(user_id, uid);
        let claimed = self.0.change(&IMPORTED_EVENTS, &place, Wants::head(), move |part| {
            if let Some(known) = part.head.known() {
                return Ok::<_, StoreError>(Decision::Stands(known));
            }
            match &new {
                Known::Event(id) => part.head.event_id = Some(id.clone()),
                Known::Series { id, rule } => {
                    part.head.series_id = Some(id.clone());
                    part.head.rule.clone_from(rule);
                }
            }
            Ok(Decision::Write(new.clone()))
        });
        claimed.await?.ok_or_else(|| StoreError::Damaged("an implicit partition is not there".to_owned()))
    }

    /// Notes the rule that the series of a name has taken.
    pub async fn note_rule(&self, user_id: &str, uid: &str, rule: String) -> Result<(), StoreError> {
        let place = place(user_id, uid);
        let noted = self.0.change(&IMPORTED_EVENTS, &place, Wants::head(), move |part| {
            part.head.rule = Some(rule.clone());
            Ok::<_, StoreError>(Decision::Write(()))
        });
        noted.await.map(drop)
    }
}

/// The partition of a name. A name may hold anything and be of any length.
fn place(user_id: &str, uid: &str) -> String {
    let digest = Sha256::new().chain_update(user_id).chain_update([0]).chain_update(uid).finalize();
    URL_SAFE_NO_PAD.encode(digest)
}
