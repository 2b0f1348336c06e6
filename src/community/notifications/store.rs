//! Notifications: a partition a user, with a row for each, and one for each thing that still has an unread one.

use jiff::Timestamp;
use jiff::civil::Date;
use mundotango_jobs::NewJob;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, Part, RowRange, Wants, Whose, key, last_part, number, prefix,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::{Deserialize, Serialize};

use super::kinds::NotificationKind;
use super::rules::{Inbox, MOST, Rung};
use crate::community::effects::Effect;

/// The notifications of each user.
pub static NOTIFICATIONS: Kind<(), Inbox, Row> =
    Kind::new("notifications", "a user: 500 notifications of 400 B, 250 KB", PERSONAL).implicit();
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::User,
        Export::Given,
        Erasure::Removed,
        &[
            "id",
            "keys.n",
            "rows.n.notification.kind",
            "rows.n.notification.thing",
            "rows.n.notification.title",
            "rows.n.notification.count",
            "rows.n.notification.at",
            "rows.n.notification.stale_at",
            "head.there.*",
            "head.unread.*",
        ],
    ),
    Fields::of(Whose::Named, Export::Given, Erasure::Emptied, &["rows.n.notification.actor_id"]),
    Fields::of(
        Whose::User,
        Export::NotGiven("it says only how far the ladder is"),
        Erasure::Removed,
        &[
            "keys.g",
            "rows.g.newest",
            "head.last",
            "head.shown",
            "head.pushed",
            "head.digested",
            "head.push_at",
            "head.digest_at",
            "head.clear_at",
            "head.pushing.**",
            "head.pushes.*",
            "head.digest_on",
            "head.sources.*",
        ],
    ),
];

/// A row of a user's notifications.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// Below `n`, by number.
    Notification(Box<Notification>),
    /// Below `g`, by thing: the number of its newest one.
    Newest(u64),
}

/// What a user is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Of what kind it is.
    pub kind: NotificationKind,
    /// The id of what it is about.
    pub thing: String,
    /// What that is called.
    pub title: String,
    /// Who caused it last, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// How often it happened since the user read of it.
    pub count: u32,
    /// When it happened last.
    pub at: Timestamp,
    /// From when on nobody needs to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_at: Option<Timestamp>,
}

/// A notification with its number, and whether it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Rises with each notification of a user.
    pub number: u64,
    /// Whether the user read it.
    pub is_read: bool,
    /// What it tells.
    pub told: Notification,
}

/// What is to be arranged for a new notification, where it is not arranged yet.
#[derive(Clone, Debug, Default)]
pub struct Arrangement {
    /// When a push is due, and its job.
    pub push: Option<(Timestamp, NewJob)>,
    /// When a digest is due, and its job.
    pub digest: Option<(Timestamp, NewJob)>,
}

/// Marks notifications as read.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// One.
    One(u64),
    /// All up to this one.
    UpTo(u64),
}

type Inboxed<'a> = Part<'a, (), Inbox, Row>;

fn row_key(place: u64) -> String {
    key(&["n", &number(place)])
}

fn thing_key(kind: NotificationKind, thing: &str) -> String {
    key(&["g", thing, kind.as_str()])
}

fn told_in(part: &mut Inboxed<'_>, place: u64) -> Option<Notification> {
    match part.row(&row_key(place)) {
        Some(Row::Notification(told)) => Some((**told).clone()),
        Some(Row::Newest(_)) | None => None,
    }
}

/// Removes one with what leads to it.
fn remove(part: &mut Inboxed<'_>, place: u64) {
    if let Some(told) = told_in(part, place) {
        let thing = thing_key(told.kind, &told.thing);
        if part.row(&thing) == Some(&Row::Newest(place)) {
            part.remove(thing);
        }
    }
    part.remove(row_key(place));
}

/// The notifications of a store.
#[derive(Clone)]
pub struct NotificationStore(Db);

impl NotificationStore {
    /// The notifications of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Tells a user something, once for a job. Where the user has not read of the same thing yet, the two become one. `announce`
    /// makes what the user's devices hear, of the notification and how many are unread.
    pub async fn add(
        &self,
        user_id: &str,
        source: &str,
        told: Notification,
        arrangement: Arrangement,
        announce: impl Fn(&Numbered, usize) -> Result<Effect, StoreError> + Send + 'static,
    ) -> Result<bool, StoreError> {
        let (source, thing) = (source.to_owned(), thing_key(told.kind, &told.thing));
        let wants = Wants::head().row(&thing);
        let rule = move |part: &mut Inboxed<'_>| {
            let newest = match part.row(&thing) {
                Some(Row::Newest(place)) => Some(*place),
                Some(Row::Notification(_)) | None => None,
            };
            let newest = newest.filter(|place| part.head.unread.contains(place));
            let before = newest.and_then(|place| told_in(part, place));
            let Some(added) = part.head.add(&source, newest) else {
                return Ok::<_, StoreError>(Decision::Stands(false));
            };
            for place in added.gone {
                remove(part, place);
            }
            let count = before.map_or(0, |before| before.count).saturating_add(told.count);
            let told = Notification { count, ..told.clone() };
            part.set(row_key(added.number), Row::Notification(Box::new(told.clone())));
            part.set(&thing, Row::Newest(added.number));
            part.emit(&announce(
                &Numbered { number: added.number, is_read: false, told: told.clone() },
                part.head.unread.len(),
            )?)?;
            if let Some((at, job)) = &arrangement.push
                && part.head.arrange_push(*at, told.at)
            {
                part.emit(&Effect::job(job.clone().due(*at)))?;
            }
            if let Some((at, job)) = &arrangement.digest
                && part.head.arrange_digest(*at, told.at)
            {
                part.emit(&Effect::job(job.clone().due(*at)))?;
            }
            Ok(Decision::Write(true))
        };
        Ok(self.0.change(&NOTIFICATIONS, user_id, wants, rule).await?.unwrap_or_default())
    }

    /// Marks notifications as read; how many are unread then, `None` if there never was the one to mark. `announce` makes what the devices hear of that, and `clear` is the
    /// job that tells those that are not connected, and when.
    pub async fn mark_read(
        &self,
        user_id: &str,
        mark: Mark,
        now: Timestamp,
        clear: (Timestamp, NewJob),
        announce: impl Fn(&Mark, usize) -> Result<Effect, StoreError> + Send + 'static,
    ) -> Result<Option<usize>, StoreError> {
        let rule = move |part: &mut Inboxed<'_>| {
            // One that is gone or has become a part of another may be read; it makes no difference.
            if matches!(mark, Mark::One(place) if !(1..=part.head.last).contains(&place)) {
                return Ok::<_, StoreError>(Decision::Stands(None));
            }
            let before = part.head.unread.len();
            let mark = match mark {
                Mark::One(place) => Mark::One(place),
                // There may be more by the time that devices hear of it.
                Mark::UpTo(place) => Mark::UpTo(place.min(part.head.last)),
            };
            match mark {
                Mark::One(place) => {
                    part.head.unread.remove(&place);
                }
                Mark::UpTo(place) => part.head.unread.retain(|unread| *unread > place),
            }
            let unread = part.head.unread.len();
            if unread == before {
                return Ok(Decision::Stands(Some(unread)));
            }
            part.emit(&announce(&mark, unread)?)?;
            if part.head.arrange_clear(clear.0, now) {
                part.emit(&Effect::job(clear.1.clone().due(clear.0)))?;
            }
            Ok(Decision::Write(Some(unread)))
        };
        Ok(self.0.change(&NOTIFICATIONS, user_id, Wants::head(), rule).await?.unwrap_or_default())
    }

    /// The number of a user's newest notification of a thing.
    pub async fn newest(
        &self,
        user_id: &str,
        kind: NotificationKind,
        thing: &str,
    ) -> Result<Option<u64>, StoreError> {
        let row = self.0.row(&NOTIFICATIONS, user_id, &thing_key(kind, thing)).await?;
        Ok(row.and_then(|row| match row {
            Row::Newest(place) => Some(place),
            Row::Notification(_) => None,
        }))
    }

    /// Notes that a device has shown all up to a number: they are not pushed.
    pub async fn mark_shown(&self, user_id: &str, up_to: u64) -> Result<(), StoreError> {
        let rule = move |part: &mut Inboxed<'_>| {
            let shown = up_to.min(part.head.last);
            if shown <= part.head.shown {
                return Ok::<_, StoreError>(Decision::Stands(()));
            }
            part.head.shown = shown;
            Ok(Decision::Write(()))
        };
        self.0.change(&NOTIFICATIONS, user_id, Wants::head(), rule).await.map(drop)
    }

    /// Takes one away; whether it was there, and how many are unread then. `announce` makes what the devices hear of that.
    pub async fn delete(
        &self,
        user_id: &str,
        place: u64,
        announce: impl Fn(&Mark, usize) -> Result<Effect, StoreError> + Send + 'static,
    ) -> Result<bool, StoreError> {
        let wants = Wants::head().row(row_key(place));
        let rule = move |part: &mut Inboxed<'_>| {
            if !part.head.there.contains(&place) {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            part.head.remove(place);
            remove(part, place);
            part.emit(&announce(&Mark::One(place), part.head.unread.len())?)?;
            Ok(Decision::Write(true))
        };
        Ok(self.0.change(&NOTIFICATIONS, user_id, wants, rule).await?.unwrap_or_default())
    }

    /// Takes those of these rows away that are called by the name of somebody who is gone. Nobody is told. Doing it again changes
    /// nothing.
    pub async fn forget_actor(&self, user_id: &str, rows: &[String], gone: &str) -> Result<(), StoreError> {
        let below = prefix(&["n"]);
        let places = rows.iter().filter(|row| row.starts_with(&below));
        let places: Vec<u64> = places.filter_map(|row| last_part(row).parse().ok()).collect();
        let wants = places.iter().fold(Wants::head(), |wants, place| wants.row(row_key(*place)));
        let gone = gone.to_owned();
        let rule = move |part: &mut Inboxed<'_>| {
            let mut is_changed = false;
            for place in &places {
                let told = told_in(part, *place);
                let names = |told: &Notification| {
                    told.kind.names_actor() && told.actor_id.as_deref() == Some(gone.as_str())
                };
                if told.as_ref().is_some_and(names) {
                    part.head.remove(*place);
                    remove(part, *place);
                    is_changed = true;
                }
            }
            Ok::<_, StoreError>(Decision::write_if(is_changed))
        };
        self.0.change(&NOTIFICATIONS, user_id, wants, rule).await.map(drop)
    }

    /// What a job is to push: frozen for the job.
    pub async fn take_push(&self, user_id: &str, job: &str, now: Timestamp) -> Result<Rung, StoreError> {
        let job = job.to_owned();
        let taken = self.0.change(&NOTIFICATIONS, user_id, Wants::head(), move |part: &mut Inboxed<'_>| {
            let before = part.head.clone();
            let rung = part.head.take_push(&job, now);
            Ok::<_, StoreError>(if part.head == before {
                Decision::Stands(rung)
            } else {
                Decision::Write(rung)
            })
        });
        taken.await?.ok_or_else(|| StoreError::Damaged("an implicit partition is missing".to_owned()))
    }

    /// Notes that a job has told all devices.
    pub async fn finish_push(&self, user_id: &str, job: &str) -> Result<(), StoreError> {
        let job = job.to_owned();
        let finished =
            self.0.change(&NOTIFICATIONS, user_id, Wants::head(), move |part: &mut Inboxed<'_>| {
                let is_own = part.head.finish_push(&job);
                Ok::<_, StoreError>(if is_own { Decision::Write(()) } else { Decision::Stands(()) })
            });
        finished.await.map(drop)
    }

    /// Notes which devices a job has told, so that another attempt leaves them out.
    pub async fn note_told(&self, user_id: &str, job: &str, devices: Vec<String>) -> Result<(), StoreError> {
        let job = job.to_owned();
        let noted = self.0.change(&NOTIFICATIONS, user_id, Wants::head(), move |part: &mut Inboxed<'_>| {
            let Some(rung) = part.head.pushing.as_mut().filter(|rung| rung.job == job) else {
                return Ok::<_, StoreError>(Decision::Stands(()));
            };
            rung.told.extend(devices.iter().cloned());
            Ok(Decision::Write(()))
        });
        noted.await.map(drop)
    }

    /// Begins to tell devices what is unread; how many are.
    pub async fn take_clear(&self, user_id: &str) -> Result<usize, StoreError> {
        let taken = self.0.change(&NOTIFICATIONS, user_id, Wants::head(), |part: &mut Inboxed<'_>| {
            let unread = part.head.unread.len();
            Ok::<_, StoreError>(match part.head.clear_at.take() {
                Some(_) => Decision::Write(unread),
                None => Decision::Stands(unread),
            })
        });
        Ok(taken.await?.unwrap_or_default())
    }

    /// Has a digest sent of what is unread, on a local day: `letter` makes the job, of the numbers. A day has one.
    pub async fn take_digest(
        &self,
        user_id: &str,
        today: Date,
        next: (Option<Timestamp>, NewJob),
        letter: impl Fn(&[u64]) -> Result<NewJob, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let taken = self.0.change(&NOTIFICATIONS, user_id, Wants::head(), move |part: &mut Inboxed<'_>| {
            let before = part.head.clone();
            let numbers = part.head.take_digest(today, next.0);
            if !numbers.is_empty() {
                part.emit(&Effect::job(letter(&numbers)?))?;
            }
            if let Some(at) = part.head.digest_at {
                part.emit(&Effect::job(next.1.clone().due(at)))?;
            }
            Ok::<_, StoreError>(if part.head == before { Decision::Stands(()) } else { Decision::Write(()) })
        });
        taken.await.map(drop)
    }

    /// Puts a digest off that came at a time at which the user wants none any more.
    pub async fn put_off_digest(
        &self,
        user_id: &str,
        at: Option<Timestamp>,
        job: NewJob,
    ) -> Result<(), StoreError> {
        let put_off = self.0.change(&NOTIFICATIONS, user_id, Wants::head(), move |part: &mut Inboxed<'_>| {
            part.head.digest_at = at;
            if let Some(at) = at {
                part.emit(&Effect::job(job.clone().due(at)))?;
            }
            Ok::<_, StoreError>(Decision::Write(()))
        });
        put_off.await.map(drop)
    }

    /// How many are unread.
    pub async fn unread(&self, user_id: &str) -> Result<usize, StoreError> {
        Ok(self.inbox(user_id).await?.unread.len())
    }

    async fn inbox(&self, user_id: &str) -> Result<Inbox, StoreError> {
        Ok(self.0.read(&NOTIFICATIONS, user_id).await?.map(|found| found.head).unwrap_or_default())
    }

    /// Those of these numbers that are unread, the oldest first.
    pub async fn unread_of(&self, user_id: &str, numbers: &[u64]) -> Result<Vec<Numbered>, StoreError> {
        let keys: Vec<_> = numbers.iter().take(MOST).map(|place| row_key(*place)).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let Some((found, mut rows)) = self.0.read_with(&NOTIFICATIONS, user_id, &keys).await? else {
            return Ok(Vec::new());
        };
        let unread = numbers.iter().filter(|place| found.head.unread.contains(place));
        Ok(unread
            .filter_map(|place| match rows.remove(&row_key(*place)) {
                Some(Row::Notification(told)) => {
                    Some(Numbered { number: *place, is_read: false, told: *told })
                }
                Some(Row::Newest(_)) | None => None,
            })
            .collect())
    }

    /// A user's notifications, the last one first.
    pub async fn list(&self, user_id: &str, page: PageRequest) -> Result<Page<Numbered>, StoreError> {
        let (after, skip) = page.start.behind(|place| Some(row_key(place.parse().ok()?)))?;
        let range = RowRange::last(prefix(&["n"]), skip + page.limit).after(after);
        let (inbox, rows) =
            tokio::try_join!(self.inbox(user_id), self.0.rows(&NOTIFICATIONS, user_id, &range))?;
        let place_of = |key: &str| last_part(key).parse::<u64>().ok();
        let next = rows.next.as_deref().and_then(place_of).map(|place| place.to_string());
        let told = rows.items.into_iter().skip(skip).filter_map(|(key, row)| match row {
            Row::Notification(told) => place_of(&key).map(|number| Numbered {
                number,
                is_read: !inbox.unread.contains(&number),
                told: *told,
            }),
            Row::Newest(_) => None,
        });
        Ok(Page { items: told.collect(), next })
    }
}
