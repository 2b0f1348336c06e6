//! The jobs that fill timelines, as those cause them who post and follow. Who does them is in `work.rs`.

use std::time::Duration;

use mundotango_jobs::{JobKind, Priority};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use crate::community::effects::Effect;
use crate::community::notifications::tell::NOTIFICATION;

/// Puts a post into the timelines of some of its author's followers.
pub(super) static FAN_OUT: JobKind<FanOut> = JobKind::new("timeline_post", &NOTIFICATION, 1)
    .priority(Priority::Low)
    .timeout(Duration::from_mins(5))
    .light();
/// Puts the last posts of an author into the timeline of who follows the author from now on.
pub(super) static FOLLOWED: JobKind<Followed> =
    JobKind::new("timeline_follow", &NOTIFICATION, 1).priority(Priority::Low);

/// One turn: a post and a page of followers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FanOut {
    /// The post.
    pub post_id: String,
    /// How many turns were before this one.
    #[serde(default)]
    pub turns: u32,
    /// Behind which entry of the list of followers it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl FanOut {
    /// The first turn.
    pub fn of(post_id: &str) -> Self {
        Self { post_id: post_id.to_owned(), turns: 0, after: None }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Followed {
    pub(super) user_id: String,
    pub(super) author_id: String,
}

/// Has a post put into the timelines of its author's followers.
pub(in crate::community) fn fan_out(post_id: &str) -> Result<Effect, StoreError> {
    Ok(Effect::job(FAN_OUT.job(&FanOut::of(post_id))?.group(post_id)))
}

/// Has the last posts of an author put into the timeline of who follows the author from now on.
pub(in crate::community) fn followed(user_id: &str, author_id: &str) -> Result<Effect, StoreError> {
    let job = FOLLOWED.job(&Followed { user_id: user_id.to_owned(), author_id: author_id.to_owned() })?;
    Ok(Effect::job(job.group(user_id)))
}
