//! Places to stay that decisions of the moderators take away: they are found by nobody but their hosts, take no requests and do not
//! change. Stays that are confirmed stay, and their guests see the place. It is given back as it was.

use mundotango_storage::StoreError;
use mundotango_storage::db::{Decision, Wants};

use super::kind::{LISTINGS, Open};
use super::store::ListingStore;
use crate::community::audit::rules::Act;
use crate::community::effects::Effect;
use crate::community::search::kinds::HOUSING;
use crate::community::taken_away::Change;

impl ListingStore {
    /// Hides a place; whether this decision is a new one that does.
    pub async fn hide(&self, id: &str, decision: &str, act: Act) -> Result<bool, StoreError> {
        let (listing_id, decision) = (id.to_owned(), decision.to_owned());
        let hidden = self.0.change(&LISTINGS, id, Wants::head(), move |part: &mut Open<'_>| {
            if part.head.hidden_by.take(&decision)? == Change::None {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            part.emit(&Effect::audit(act.clone()))?;
            part.emit(&Effect::changed(HOUSING, &listing_id))?;
            Ok(Decision::Write(true))
        });
        Ok(hidden.await?.unwrap_or_default())
    }

    /// Has this decision hide a place no longer; whether it is found again by that. While another one hides it, it is not.
    pub async fn show(&self, id: &str, decision: &str, act: Act) -> Result<bool, StoreError> {
        let (listing_id, decision) = (id.to_owned(), decision.to_owned());
        let shown = self.0.change(&LISTINGS, id, Wants::head(), move |part: &mut Open<'_>| {
            match part.head.hidden_by.give_back(&decision) {
                Change::None => return Ok::<_, StoreError>(Decision::Stands(false)),
                Change::Noted => return Ok(Decision::Write(false)),
                Change::Turned => {}
            }
            part.emit(&Effect::audit(act.clone()))?;
            part.emit(&Effect::changed(HOUSING, &listing_id))?;
            Ok(Decision::Write(true))
        });
        Ok(shown.await?.unwrap_or_default())
    }
}
