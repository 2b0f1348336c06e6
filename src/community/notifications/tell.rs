//! The jobs that tell users something: what a feature has to know of notifications.

use jiff::Timestamp;
use mundotango_jobs::{JobKind, NewJob, Queue};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use super::kinds::NotificationKind;
use crate::community::effects::Effect;

/// What users are told.
pub static NOTIFICATION: Queue = Queue::new("notification", 10);
/// The pushes of it. They wait for other companies' servers, which may hang, and must not hold up what is told at once.
pub static PUSHES: Queue = Queue::new("push", 20);

/// Tells a user something.
pub(super) static NOTIFY: JobKind<Notify> = JobKind::new("notify", &NOTIFICATION, 1);
/// What a user is told of, on its way into the list.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Notify {
    pub(super) user_id: String,
    pub(super) kind: NotificationKind,
    pub(super) thing: String,
    pub(super) title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) actor_id: Option<String>,
    pub(super) count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stale_at: Option<Timestamp>,
}

/// Something to tell a user.
#[derive(Clone, Debug)]
pub struct Tell {
    /// Of what kind it is.
    pub kind: NotificationKind,
    /// The id of what it is about.
    pub thing: String,
    /// What that is called.
    pub title: String,
    /// Who caused it last, if somebody did.
    pub actor_id: Option<String>,
    /// How often it happened.
    pub count: u32,
    /// From when on nobody needs to know.
    pub stale_at: Option<Timestamp>,
}

impl Tell {
    /// The job that tells a user. Those of one thing share turns with all others.
    pub fn job(self, user_id: &str) -> Result<NewJob, StoreError> {
        let group = self.thing.clone();
        let payload = Notify {
            user_id: user_id.to_owned(),
            kind: self.kind,
            thing: self.thing,
            title: self.title,
            actor_id: self.actor_id,
            count: self.count,
            stale_at: self.stale_at,
        };
        Ok(NOTIFY.job(&payload)?.group(group))
    }

    /// The same as the effect of a change.
    pub fn effect(self, user_id: &str) -> Result<Effect, StoreError> {
        Ok(Effect::job(self.job(user_id)?))
    }
}
