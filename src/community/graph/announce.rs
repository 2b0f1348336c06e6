//! What users are told of each other.

use mundotango_storage::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::rules::News;
use crate::community::effects::Effect;
use crate::community::notifications::kinds::NotificationKind;
use crate::community::notifications::tell::Tell;
use crate::community::{Person, personal_channel};

/// What the personal channel publishes of friends.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum FriendMessage {
    /// Somebody asks to be a friend.
    #[serde(rename = "friend.requested")]
    Requested { user: Person },
    /// Somebody whom the user asked is a friend now.
    #[serde(rename = "friend.accepted")]
    Accepted { user: Person },
}

fn tell(kind: NotificationKind, thing: &str, from: &Person) -> Tell {
    Tell {
        kind,
        thing: thing.to_owned(),
        title: from.full_name.clone(),
        actor_id: Some(from.id.clone()),
        count: 1,
        stale_at: None,
    }
}

/// A user hears of what another wants.
pub(super) fn heard(user_id: &str, from: &Person, news: News) -> Result<[Effect; 2], StoreError> {
    let (message, kind) = match news {
        News::Requested => {
            (FriendMessage::Requested { user: from.clone() }, NotificationKind::FriendRequested)
        }
        News::Accepted => (FriendMessage::Accepted { user: from.clone() }, NotificationKind::FriendAccepted),
    };
    let told = tell(kind, &from.id, from).effect(user_id)?;
    Ok([Effect::publish(personal_channel(user_id), &message)?, told])
}

/// A user has a new follower. Those who come before the user reads of it are told of together.
pub(super) fn followed(user_id: &str, from: &Person) -> Result<Effect, StoreError> {
    tell(NotificationKind::FollowNew, user_id, from).effect(user_id)
}
