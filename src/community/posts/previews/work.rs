//! The job that looks at a link: it fetches the page, and puts what that says of itself to the post.

use std::time::Duration;

use async_trait::async_trait;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewPools, Priority, Queue};
use mundotango_storage::db::Db;
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};

use super::fetching::{Fetcher, PATIENCE};
use super::known::KnownPages;
use super::links::address;
use super::preview::Preview;
use crate::community::effects::Effect;
use crate::community::posts::announce::announce_preview;
use crate::community::posts::post::Post;
use crate::community::posts::store::PostStore;
use crate::config::LinkPreviewOptions;

/// Looks at links. They wait for servers of anybody, which may hang, and must not hold up anything else.
pub static LINK_PREVIEW: Queue = Queue::new("link_preview", 5);
/// Has one link looked at. Its group is the host, so a crowd that links to one site holds up no other.
static LOOK: JobKind<OfLink> = JobKind::new("link_preview", &LINK_PREVIEW, 1)
    .attempts(3)
    .timeout(Duration::from_secs(2 * PATIENCE.as_secs()))
    .backoff(Duration::from_secs(20), Duration::from_mins(10))
    .useless_after(Duration::from_hours(1))
    .priority(Priority::Low);

#[derive(Debug, Serialize, Deserialize)]
struct OfLink {
    post_id: String,
    revision: u32,
}

/// Has the link of a post looked at.
pub(super) fn look_at(post: &Post, link: &str) -> Result<Effect, StoreError> {
    let job = LOOK.job(&OfLink { post_id: post.id.clone(), revision: post.revision })?;
    let host = address(link).and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    Ok(Effect::job(job.group(host)))
}

/// The jobs of this file. `public_url` is told to the servers that are asked.
pub fn handled(
    pools: NewPools,
    db: &Db,
    options: &LinkPreviewOptions,
    public_url: &str,
) -> anyhow::Result<NewPools> {
    let fetcher = options.enabled.then(|| Fetcher::new(options.private_addresses, public_url)).transpose()?;
    let (posts, known) = (PostStore::new(db.clone()), KnownPages::new(db.clone()));
    Ok(pools.handle(&LOOK, Looking { posts, known, fetcher }))
}

struct Looking {
    posts: PostStore,
    known: KnownPages,
    /// Absent where previews are off: jobs of before end without having done anything.
    fetcher: Option<Fetcher>,
}

#[async_trait]
impl Handler<OfLink> for Looking {
    async fn run(&self, attempted: &Attempted, job: OfLink) -> Result<(), Failure> {
        let Some(fetcher) = &self.fetcher else { return Ok(()) };
        let post = self.posts.post_now(&job.post_id).await?.filter(|post| post.revision == job.revision);
        let Some(link) = post.as_ref().and_then(Post::wanted_link) else { return Ok(()) };
        let Some(url) = address(link) else { return Ok(()) };
        let page = if let Some(known) = self.known.known(&url).await? {
            known.page
        } else {
            match fetcher.page(&url).await {
                Ok(page) => {
                    self.known.remember(&url, page.clone(), now()).await?;
                    page
                }
                // A site that does not answer is nobody's fault here, and no dead letter.
                Err(Failure::Retry { why, .. }) if attempted.is_last => {
                    tracing::debug!(host = url.host_str(), why, "no preview of a link");
                    None
                }
                Err(failure) => return Err(failure),
            }
        };
        let Some(page) = page else { return Ok(()) };
        let preview = Preview { url: link.to_owned(), page };
        self.posts.set_preview(&job.post_id, job.revision, preview, announce_preview).await?;
        Ok(())
    }
}
