//! Letters about places at events that one user offers to another: to whom one is offered, and to who gave it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools};
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};

use super::events::letter;
use super::{Letters, Own};
use crate::community::effects::Effect;
use crate::community::notifications::kinds::NotificationKind;
use crate::email::Letter;

/// To one of the two about the place.
static HANDOVER: JobKind<OfHandover> = letter("handover_letter").useless_after(Duration::from_hours(48));

/// What one of the two is told.
#[derive(Debug, Serialize, Deserialize)]
struct OfHandover {
    user_id: String,
    event_id: String,
    /// Who did it.
    other_id: String,
    kind: NotificationKind,
}

/// Tells a user by a letter what another one did about a place.
pub(in crate::community) fn told(
    user_id: &str,
    event_id: &str,
    other_id: &str,
    kind: NotificationKind,
) -> Result<Effect, StoreError> {
    let payload = OfHandover {
        user_id: user_id.to_owned(),
        event_id: event_id.to_owned(),
        other_id: other_id.to_owned(),
        kind,
    };
    Ok(Effect::job(HANDOVER.job(&payload)?.group(event_id)))
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    pools.handle(&HANDOVER, Own(Arc::clone(letters)))
}

#[async_trait]
impl Handler<OfHandover> for Own {
    async fn run(&self, attempted: &Attempted, job: OfHandover) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(event) = letters.events.event(&job.event_id).await? else { return Ok(()) };
        let now = now();
        if !event.takes_place() || event.when.over_at() <= now {
            return Ok(());
        }
        if job.kind == NotificationKind::PlaceOffered {
            // What was taken back meanwhile, or is over, is not told.
            let giver = letters.events.rsvp_of(&job.event_id, &job.other_id).await?;
            let is_open = giver.is_some_and(|giver| {
                giver.open_offer(&event, now).is_some_and(|offer| offer.to == job.user_id)
            });
            if !is_open {
                return Ok(());
            }
        }
        let Some(reader) = letters.guest(&job.user_id, &job.event_id, job.kind).await? else { return Ok(()) };
        let text = job.kind.words(reader.language, &event.title, 1);
        let url = letters.lines_of(&event, &reader).url;
        let letter = Letter::Notification { name: reader.name(), text, url };
        letters.send(attempted, &reader, &letter).await
    }
}
