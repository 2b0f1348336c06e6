//! What is slow on this node, looked at when somebody asks, and once a second at most however many do.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mundotango_storage::db::Db;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::actor::doing;
use super::ranking::{Top, by_actor, handlers};
use super::views::{LargeChannel, LongMailbox, SlowActor, SlowSession, SlowView};
use crate::channel::Channels;
use crate::recorder::{self, Micros};
use crate::session::Sessions;
use crate::supervised::Supervised;

/// How long what was found is told to others who ask.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// How far back handled messages count, in microseconds.
const WINDOW: Micros = 600_000_000;
/// Entries of each list.
const MOST: usize = 100;

/// A look at all actors of a node.
pub(crate) struct Slow {
    sessions: Arc<Sessions>,
    channels: Arc<Channels>,
    keepers: Vec<Arc<dyn Supervised>>,
    db: OnceLock<Db>,
    /// Held while a look is under way: those who ask meanwhile wait for its result instead of looking too.
    last: Mutex<Option<(Instant, Arc<SlowView>)>>,
}

impl Slow {
    pub(crate) fn new(
        sessions: Arc<Sessions>,
        channels: Arc<Channels>,
        keepers: Vec<Arc<dyn Supervised>>,
    ) -> Arc<Self> {
        Arc::new(Self { sessions, channels, keepers, db: OnceLock::new(), last: Mutex::default() })
    }

    /// Says whose partitions are looked at as well. The first one counts.
    pub(crate) fn set_db(&self, db: Db) {
        let _ = self.db.set(db);
    }

    /// What is slow here; an error if the look failed.
    pub(crate) async fn look(self: &Arc<Self>) -> Result<Arc<SlowView>, String> {
        let mut last = self.last.lock().await;
        if let Some((at, view)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return Ok(Arc::clone(view));
        }
        let slow = Arc::clone(self);
        // A node has up to hundreds of thousands of actors: looking at them all must not keep a thread from sessions.
        let view = tokio::task::spawn_blocking(move || slow.look_now()).await;
        let view = Arc::new(view.map_err(|error| format!("the look at what is slow failed: {error}"))?);
        *last = Some((Instant::now(), Arc::clone(&view)));
        Ok(view)
    }

    fn look_now(&self) -> SlowView {
        let now = recorder::now();
        let handled = recorder::recent(now.saturating_sub(WINDOW));
        let since = handled.iter().map(|handled| handled.ended).min().unwrap_or(now);
        let busy = by_actor(&handled);
        let (mut mailboxes, mut actors) = (Top::new(MOST), Top::new(MOST));
        for keeper in &self.keepers {
            keeper.visit_all(&mut |seen| {
                let (kind, waiting) = (seen.kind, seen.waiting);
                if waiting > 0 {
                    let (name, bound) = (seen.name, seen.bound);
                    let mailbox =
                        || LongMailbox { kind: kind.into(), name: name.to_string(), waiting, bound };
                    mailboxes.offer(waiting, mailbox);
                }
                let trail = seen.vitals.trail();
                let mut busy = busy.get(&trail.number()).copied().unwrap_or_default();
                if let Some((_, since)) = trail.doing() {
                    let so_far = now.saturating_sub(since);
                    busy.total += so_far;
                    busy.longest = busy.longest.max(so_far);
                }
                if busy.total > 0 {
                    actors.offer(busy.total, || SlowActor {
                        kind: kind.into(),
                        name: seen.name.to_string(),
                        count: busy.count,
                        total_micros: busy.total,
                        longest_micros: busy.longest,
                        doing: doing(trail),
                    });
                }
            });
        }
        SlowView {
            at: recorder::at(now),
            since: recorder::at(since),
            sessions: self.slow_sessions(),
            mailboxes: mailboxes.into_vec(),
            handlers: handlers(&handled, MOST),
            actors: actors.into_vec(),
            channels: self.large_channels(),
            partitions: self.db.get().map(|db| db.hot_partitions(MOST)).unwrap_or_default(),
        }
    }

    fn slow_sessions(&self) -> Vec<SlowSession> {
        let mut top = Top::new(MOST);
        for session in self.sessions.all() {
            let Some(backlog) = session.outbox().backlog() else { continue };
            // Of equally much that waits, what waits longer is worse.
            top.offer((backlog.bytes, std::cmp::Reverse(backlog.since)), || SlowSession {
                client: session.client().to_string(),
                user: session.user().unwrap_or_default().to_owned(),
                transport: session.transport().as_str().into(),
                waiting_bytes: backlog.bytes,
                limit_bytes: backlog.limit_bytes,
                waiting_messages: backlog.messages,
                since: recorder::at(backlog.since),
            });
        }
        top.into_vec()
    }

    fn large_channels(&self) -> Vec<LargeChannel> {
        let mut top = Top::new(MOST);
        self.channels.visit_sizes(|name, subscribers| {
            if subscribers > 0 {
                top.offer(subscribers, || LargeChannel { name: name.to_string(), subscribers });
            }
        });
        top.into_vec()
    }
}
