//! The ladder: what a user is told goes to the user's sockets at once. What no device has shown within seconds is pushed, and
//! what is unread when a digest is due is in the digest. Each rung looks again whether it is still worth telling.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use mundotango_jobs::{
    Attempted, Breakers, Failure, Handler, JobKind, Jobs, NewJob, NewPools, Priority, Seen,
};
use mundotango_push::{Destination, Push, PushError, Pusher, Topic, Urgency};
use mundotango_storage::{StoreError, now};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::to_raw_value;

use super::devices::{Device, DeviceStore};
use super::kinds::NotificationKind;
use super::preferences::{PreferenceStore, Preferences};
use super::rules::MOST_NAMED;
use super::store::{Arrangement, Notification, NotificationStore, Numbered};
use super::tell::{NOTIFICATION, NOTIFY, Notify, PUSHES};
use super::views::{announce_new, link_of};
use super::words::several;
use crate::community::graph::store::Circles;
use crate::community::letters;
use crate::email::Language;

/// Pushes to a user's devices what none of them has shown.
static PUSH: JobKind<OfUser> = JobKind::new("push", &PUSHES, 1)
    .timeout(Duration::from_mins(5))
    .backoff(Duration::from_secs(10), Duration::from_mins(30))
    .useless_after(Duration::from_hours(24));
/// Tells a user's devices what is still unread, as another one has read the rest.
static CLEAR: JobKind<OfUser> = JobKind::new("push_clear", &PUSHES, 1)
    .timeout(Duration::from_mins(5))
    .attempts(3)
    .priority(Priority::Low)
    .useless_after(Duration::from_hours(1));
/// Has a digest written of what a user has not read.
static DIGEST: JobKind<OfUser> =
    JobKind::new("digest", &NOTIFICATION, 1).priority(Priority::Low).useless_after(Duration::from_hours(12));

/// How long a connected device has to show a notification before others are pushed to.
const SHOWN_WITHIN: SignedDuration = SignedDuration::from_secs(10);
/// How long devices wait for the word that something was read elsewhere: more may be read in a moment.
const CLEAR_AFTER: SignedDuration = SignedDuration::from_secs(1);
/// How long a push service keeps the word of what is still unread.
const CLEAR_TTL: Duration = Duration::from_hours(1);
/// A digest that comes so much later than it was arranged was not meant for now: the user changed the hour or the zone.
const DIGEST_TOLERANCE: SignedDuration = SignedDuration::from_hours(13);

#[derive(Debug, Serialize, Deserialize)]
struct OfUser {
    user_id: String,
}

/// The job that tells devices what is still unread, and when.
pub(super) fn clear(user_id: &str, now: Timestamp) -> Result<(Timestamp, NewJob), StoreError> {
    Ok((now + CLEAR_AFTER, CLEAR.job(&OfUser { user_id: user_id.to_owned() })?.group(user_id)))
}

/// A push that is to be made now.
pub(super) struct DuePush {
    /// The devices that were not told yet.
    devices: Vec<Device>,
    /// What they are told.
    pub(super) push: Push,
}

/// Who tells users.
pub struct Teller {
    jobs: Jobs,
    notifications: NotificationStore,
    preferences: PreferenceStore,
    devices: DeviceStore,
    circles: Circles,
    pusher: Arc<Pusher>,
    breakers: Breakers,
    public_url: String,
    language: Language,
}

/// The jobs of this file.
pub fn handled(pools: NewPools, teller: &Arc<Teller>) -> NewPools {
    let own = || Own(Arc::clone(teller));
    pools
        .handle(&NOTIFY, own())
        .handle(&PUSH, Pushing(own()))
        .handle(&CLEAR, Clearing(own()))
        .handle(&DIGEST, Digesting(own()))
}

struct Own(Arc<Teller>);
struct Pushing(Own);
struct Clearing(Own);
struct Digesting(Own);

impl Teller {
    /// Tells users of a store, by a pusher. Links begin with the site's address.
    pub fn new(
        db: &mundotango_storage::db::Db,
        jobs: Jobs,
        pusher: Arc<Pusher>,
        public_url: &str,
        language: Language,
    ) -> Self {
        Self {
            jobs,
            notifications: NotificationStore::new(db.clone()),
            preferences: PreferenceStore::new(db.clone()),
            devices: DeviceStore::new(db.clone()),
            circles: Circles::new(db.clone()),
            pusher,
            breakers: Breakers::default(),
            public_url: public_url.trim_end_matches('/').to_owned(),
            language,
        }
    }

    fn arrangement(
        user_id: &str,
        kind: NotificationKind,
        preferences: &Preferences,
        now: Timestamp,
    ) -> Result<Arrangement, StoreError> {
        let ways = preferences.ways(kind);
        let of_user = OfUser { user_id: user_id.to_owned() };
        let push_at = ways.push.then(|| preferences.undisturbed_until(now + SHOWN_WITHIN));
        let digest_at = (ways.email && !kind.has_letter()).then(|| preferences.next_digest(now)).flatten();
        let with = |at: Option<Timestamp>, kind: &'static JobKind<OfUser>| {
            at.map(|at| Ok::<_, StoreError>((at, kind.job(&of_user)?.group(user_id)))).transpose()
        };
        Ok(Arrangement { push: with(push_at, &PUSH)?, digest: with(digest_at, &DIGEST)? })
    }

    /// What is worth a push of what is still unread.
    fn worth_a_push(told: Vec<Numbered>, preferences: &Preferences, now: Timestamp) -> Vec<Numbered> {
        let is_worth = |told: &Notification| {
            let age = Duration::try_from(now.duration_since(told.at)).unwrap_or_default();
            preferences.ways(told.kind).push
                && age < told.kind.push_within()
                && told.stale_at.is_none_or(|stale| stale > now)
                && !preferences.is_muted(&told.thing, now)
        };
        told.into_iter().filter(|one| is_worth(&one.told)).collect()
    }

    /// The push of some notifications, of which one is there at least.
    fn push_of(
        &self,
        told: &[Numbered],
        unread: usize,
        preferences: &Preferences,
        now: Timestamp,
    ) -> Result<Push, StoreError> {
        let language = preferences.language().unwrap_or(self.language);
        let (words, url, topic) = match told {
            [one] => (
                one.told.kind.words(language, &one.told.title, one.told.count),
                format!("{}{}", self.public_url, link_of(&one.told)),
                Topic::of_name(&one.told.thing),
            ),
            _ => (
                several(language, told.len()),
                format!("{}/notifications", self.public_url),
                Topic::of_name("notifications"),
            ),
        };
        let ids: Vec<_> = told.iter().rev().take(MOST_NAMED).map(|one| one.number.to_string()).collect();
        let is_silent = preferences.is_push_silent();
        let payload = if is_silent {
            json!({"type": "notifications", "ids": ids, "unread": unread})
        } else {
            json!({"type": "notifications", "ids": ids, "unread": unread, "text": words, "url": url})
        };
        let left = |one: &Numbered| {
            let age = Duration::try_from(now.duration_since(one.told.at)).unwrap_or_default();
            one.told.kind.push_within().saturating_sub(age)
        };
        Ok(Push {
            payload: to_raw_value(&payload).map_err(|error| StoreError::Damaged(error.to_string()))?,
            title: Some("MundoTango".to_owned()),
            // Push services see no words where the user does not want that.
            body: Some(if is_silent { several(language, told.len()) } else { words }),
            ttl: told.iter().map(left).max().unwrap_or_default(),
            urgency: Urgency::Normal,
            topic: Some(topic),
            badge: Some(unread as u64),
        })
    }

    /// Tells a user something at a time, once for a job, and arranges the other rungs.
    pub(super) async fn tell(&self, job_id: &str, job: Notify, now: Timestamp) -> Result<(), StoreError> {
        let Notify { user_id, kind, thing, title, actor_id, count, stale_at } = job;
        let preferences = self.preferences.of(&user_id).await?;
        let ways = preferences.ways(kind);
        let is_wanted = ways.in_app || ways.push || ways.email && !kind.has_letter();
        if !is_wanted || preferences.is_muted(&thing, now) || stale_at.is_some_and(|stale| stale <= now) {
            return Ok(());
        }
        // Of all that is told: nobody hears of what somebody does who is muted or kept out.
        if let Some(actor) = &actor_id
            && self.circles.tie(&user_id, actor).await?.silences()
        {
            return Ok(());
        }
        let told = Notification { kind, thing, title, actor_id, count, at: now, stale_at };
        let arrangement = Self::arrangement(&user_id, kind, &preferences, now)?;
        let channel = crate::community::personal_channel(&user_id);
        let announce = move |told: &Numbered, unread| announce_new(&channel, told, unread);
        self.notifications.add(&user_id, job_id, told, arrangement, announce).await?;
        Ok(())
    }

    /// What a job is to push at a time. In quiet hours another job at their end takes its place.
    pub(super) async fn due_push(
        &self,
        job_id: &str,
        user_id: &str,
        now: Timestamp,
    ) -> Result<Option<DuePush>, Failure> {
        let preferences = self.preferences.of(user_id).await?;
        let until = preferences.undisturbed_until(now);
        if until > now {
            // The quiet hours were changed meanwhile, or the job comes late.
            let job = PUSH.job(&OfUser { user_id: user_id.to_owned() })?.group(user_id).due(until);
            self.jobs.enqueue_as(format!("{job_id}.q"), job).await.map_err(Failure::retry)?;
            return Ok(None);
        }
        let rung = self.notifications.take_push(user_id, job_id, now).await?;
        if rung.numbers.is_empty() {
            return Ok(None);
        }
        let told = self.notifications.unread_of(user_id, &rung.numbers).await?;
        let told = Self::worth_a_push(told, &preferences, now);
        let mut devices = self.devices.of(user_id).await?;
        devices.retain(|device| !rung.told.contains(&device.id));
        if told.is_empty() || devices.is_empty() {
            self.notifications.finish_push(user_id, job_id).await?;
            return Ok(None);
        }
        let unread = self.notifications.unread(user_id).await?;
        let push = self.push_of(&told, unread, &preferences, now)?;
        Ok(Some(DuePush { devices, push }))
    }

    /// Has the digest of a user written that was due before a time.
    pub(super) async fn digest(&self, user_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let preferences = self.preferences.of(user_id).await?;
        // The hour before this one, for who changed nothing.
        let meant = now.checked_sub(DIGEST_TOLERANCE).ok().and_then(|before| preferences.next_digest(before));
        let again = DIGEST.job(&OfUser { user_id: user_id.to_owned() })?.group(user_id);
        let next = preferences.next_digest(now);
        let Some(meant) = meant.filter(|meant| *meant <= now) else {
            return self.notifications.put_off_digest(user_id, next, again).await;
        };
        // One that comes after midnight only because it is late is not the next day's.
        let day = meant.to_zoned_datetime(preferences.zone()).date();
        let own = user_id.to_owned();
        let letter = move |numbers: &[u64]| letters::digests::digest(&own, numbers);
        self.notifications.take_digest(user_id, day, (next, again), letter).await
    }

    /// Pushes to one device. A device that is gone is removed, and one whose service does not work is told later.
    /// What was seen of its service goes into `seen_of`: devices are named by users, so those of one user count once.
    async fn push_to(
        &self,
        user_id: &str,
        device: &Device,
        push: &Push,
        seen_of: &Mutex<BTreeMap<String, Seen>>,
    ) -> Result<(), Failure> {
        let destination = Pusher::provider(&device.destination);
        let breaker = destination.to_string();
        self.breakers.admit(&breaker)?;
        if !self.devices.is_of(user_id, &device.destination).await? {
            self.devices.remove_gone(user_id, device).await?;
            return Ok(());
        }
        let outcome = self.pusher.push(&device.destination, push).await;
        let status = match &outcome {
            Ok(()) => "sent",
            Err(PushError::Gone { .. }) => "gone",
            Err(PushError::TooLarge | PushError::Refused { .. }) => "refused",
            Err(PushError::Temporary { .. }) => "failed",
            Err(PushError::Provider { .. }) => "misconfigured",
        };
        mundotango_ops::metrics().pushes_total.with_label_values(&[destination.kind(), status]).inc();
        let (seen, failure) = match outcome {
            Ok(()) => (Seen::Works, None),
            Err(error @ PushError::Gone { .. }) => {
                if error.deletes(device.registered_at) {
                    self.devices.remove_gone(user_id, device).await?;
                }
                (Seen::Works, None)
            }
            Err(error @ (PushError::TooLarge | PushError::Refused { .. })) => {
                tracing::warn!(%error, provider = destination.kind(), "a push was refused");
                (Seen::Works, None)
            }
            Err(PushError::Temporary { why, retry_after }) => {
                (Seen::Fails, Some(Failure::Retry { why, after: retry_after }))
            }
            Err(PushError::Provider { why }) => {
                tracing::error!(why, provider = destination.kind(), "the push service refuses this node");
                (Seen::Fails, Some(Failure::retry(why)))
            }
        };
        let known = seen_of.lock().insert(breaker, seen);
        if known == Some(Seen::Works) {
            // One device that is reached says more than one that is not.
            seen_of.lock().insert(destination.to_string(), Seen::Works);
        }
        failure.map_or(Ok(()), Err)
    }

    /// Pushes to all devices that were not told before; who has been told, and what failed.
    async fn push_to_all(
        &self,
        user_id: &str,
        devices: Vec<Device>,
        push: &Push,
    ) -> (Vec<String>, Option<Failure>) {
        let seen_of = Mutex::default();
        let pushed = devices.into_iter().map(async |device| {
            let outcome = self.push_to(user_id, &device, push, &seen_of).await;
            (device.id, outcome)
        });
        let (mut told, mut failed) = (Vec::new(), None);
        // A user has few devices, and a service that hangs holds up no other.
        for (id, outcome) in futures_util::future::join_all(pushed).await {
            match outcome {
                Ok(()) => told.push(id),
                // One that was tried tells more than one that was put off.
                Err(failure @ Failure::Later { .. }) => failed = failed.or(Some(failure)),
                // All of them are tried again together, so not before the last one wants it.
                Err(failure) => failed = Some(longer(failed, failure)),
            }
        }
        for (destination, seen) in seen_of.into_inner() {
            self.breakers.note(&destination, seen);
        }
        (told, failed)
    }
}

/// Of two failures the newer one, with the longer pause of both.
fn longer(before: Option<Failure>, failure: Failure) -> Failure {
    match (before, failure) {
        (Some(Failure::Retry { after: before, .. }), Failure::Retry { why, after }) => {
            Failure::Retry { why, after: after.max(before) }
        }
        (_, failure) => failure,
    }
}

#[async_trait]
impl Handler<Notify> for Own {
    async fn run(&self, attempted: &Attempted, job: Notify) -> Result<(), Failure> {
        Ok(self.0.tell(&attempted.id, job, now()).await?)
    }
}

#[async_trait]
impl Handler<OfUser> for Pushing {
    async fn run(&self, attempted: &Attempted, OfUser { user_id }: OfUser) -> Result<(), Failure> {
        let Own(teller) = &self.0;
        let due = teller.due_push(&attempted.id, &user_id, now()).await?;
        let Some(DuePush { devices, push }) = due else { return Ok(()) };
        let (told, failed) = teller.push_to_all(&user_id, devices, &push).await;
        match failed {
            None => Ok(teller.notifications.finish_push(&user_id, &attempted.id).await?),
            Some(failure) => {
                if !told.is_empty() {
                    teller.notifications.note_told(&user_id, &attempted.id, told).await?;
                }
                Err(failure)
            }
        }
    }
}

#[async_trait]
impl Handler<OfUser> for Clearing {
    async fn run(&self, _: &Attempted, OfUser { user_id }: OfUser) -> Result<(), Failure> {
        let Own(teller) = &self.0;
        let unread = teller.notifications.take_clear(&user_id).await?;
        // Browsers show something at each push that they get, so they are told nothing: their page hears it from its socket.
        let mut devices = teller.devices.of(&user_id).await?;
        devices.retain(|device| !matches!(device.destination, Destination::Web(_)));
        if devices.is_empty() {
            return Ok(());
        }
        let payload = json!({"type": "notifications.read", "unread": unread});
        let push = Push {
            payload: to_raw_value(&payload).map_err(Failure::retry)?,
            title: None,
            body: None,
            ttl: CLEAR_TTL,
            urgency: Urgency::Normal,
            topic: Some(Topic::of_name("notifications.read")),
            badge: Some(unread as u64),
        };
        let (_, failed) = teller.push_to_all(&user_id, devices, &push).await;
        failed.map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Handler<OfUser> for Digesting {
    async fn run(&self, _: &Attempted, OfUser { user_id }: OfUser) -> Result<(), Failure> {
        let Own(teller) = &self.0;
        Ok(teller.digest(&user_id, now()).await?)
    }
}
