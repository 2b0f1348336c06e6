//! The digest: what a user was told and has not read.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewJob, NewPools, Priority};
use mundotango_storage::StoreError;
use serde::{Deserialize, Serialize};

use super::{EMAIL, Letters, Own, SEND_TIMEOUT};
use crate::community::notifications::store::Numbered;
use crate::community::notifications::views::link_of;
use crate::email::{DigestItem, DigestSection, Language, Letter};

/// What a user has not read.
static DIGEST: JobKind<Digest> = JobKind::new("digest_letter", &EMAIL, 1)
    .timeout(SEND_TIMEOUT)
    .priority(Priority::Low)
    .backoff(Duration::from_secs(30), Duration::from_hours(1))
    .useless_after(Duration::from_hours(24));

/// Notifications of which a digest tells; of more it says how many there are.
const MOST: usize = 50;

/// What the digest tells: fixed when it was due, without what was read meanwhile.
#[derive(Debug, Serialize, Deserialize)]
struct Digest {
    user_id: String,
    /// The numbers of the notifications, the oldest first.
    numbers: Vec<u64>,
    /// How many more there were.
    more: usize,
}

/// The letter of a digest, which a job has put together.
pub(in crate::community) fn digest(user_id: &str, numbers: &[u64]) -> Result<NewJob, StoreError> {
    let more = numbers.len().saturating_sub(MOST);
    let payload = Digest { user_id: user_id.to_owned(), numbers: numbers[more..].to_vec(), more };
    Ok(DIGEST.job(&payload)?.group("digests"))
}

/// The jobs of this file.
pub(super) fn handled(pools: NewPools, letters: &Arc<Letters>) -> NewPools {
    pools.handle(&DIGEST, Own(Arc::clone(letters)))
}

#[async_trait]
impl Handler<Digest> for Own {
    async fn run(&self, attempted: &Attempted, job: Digest) -> Result<(), Failure> {
        let Own(letters) = self;
        let Some(reader) = letters.reader(&job.user_id).await? else { return Ok(()) };
        let now = mundotango_storage::now();
        let mut told = letters.notifications.unread_of(&job.user_id, &job.numbers).await?;
        told.retain(|one| {
            reader.preferences.ways(one.told.kind).email
                && one.told.stale_at.is_none_or(|stale| stale > now)
                && !reader.preferences.is_muted(&one.told.thing, now)
        });
        let Some(oldest) = told.first().map(|one| one.told.at) else { return Ok(()) };
        let item = |one: &Numbered| DigestItem {
            text: one.told.kind.words(reader.language, &one.told.title, one.told.count),
            url: format!("{}{}", letters.public_url, link_of(&one.told)),
        };
        let sections = vec![DigestSection {
            title: unread(reader.language).to_owned(),
            items: told.iter().rev().map(item).collect(),
        }];
        let day = |time: Timestamp| time.to_zoned_datetime(reader.preferences.zone()).date();
        let period = letters.dates.days(day(oldest), day(now), reader.language);
        let home = letters.public_url.clone();
        let Some(letter) = Letter::digest(reader.name(), period, sections, job.more, home) else {
            return Ok(());
        };
        letters.send(attempted, &reader, &letter).await
    }
}

/// The title above what was not read.
const fn unread(language: Language) -> &'static str {
    match language {
        Language::En => "You have not read this yet",
        Language::Es => "Todavía no has leído esto",
    }
}
