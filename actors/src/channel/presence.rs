//! Presence of the node's sessions in channels. Tasks beside the channels' actors write it to hot state: many clients in
//! one call, and each client again before its TTL is over, spread evenly over the period.
//!
//! Each client has a wanted state, and one task writes a channel's changes one after the other. So hot state has the newest
//! wanted state in the end, and a call that failed is repeated.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mundotango_protocol::{ChannelName, ClientId, ClientInfo};
use mundotango_storage::hot::Present;
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::hot::Hot;
use crate::tasks::IDLE_TICK;
use crate::vitals::Vitals;

/// Locks and tasks that channels share.
const SHARDS: usize = 4;
/// Most clients in one call.
const AT_ONCE: usize = 500;
/// Channels that one task writes at the same time.
const CHANNELS_AT_ONCE: usize = 16;
/// How long a client is present unless it is written again.
const TTL: Duration = Duration::from_mins(1);
/// The longest time until a client is written again; each takes a random part of it, so that those that came together
/// do not stay together.
const REFRESH: Duration = Duration::from_secs(27);
/// The shortest part of [`REFRESH`].
const REFRESH_AT_LEAST: f64 = 0.6;
/// The longest time until a call that failed is repeated.
const RETRY: Duration = Duration::from_secs(5);
/// Within this time all clients are written again after other nodes took this one for dead.
const RETURN: Duration = Duration::from_secs(3);
/// The time in which clients that are due are gathered into one call.
const GATHER: Duration = Duration::from_millis(100);

/// The node's part of presence.
pub(crate) struct Presence {
    shards: Vec<Shard>,
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    channels: HashMap<ChannelName, Clients>,
    /// Channels with changes that are not written, each once.
    waiting: VecDeque<ChannelName>,
    due: BinaryHeap<Reverse<Due>>,
    gathered_at: Option<Instant>,
}

#[derive(Default)]
struct Clients {
    present: HashMap<ClientId, Here>,
    /// Clients that left, while hot state may still show them, and since when.
    left: HashMap<ClientId, Instant>,
    changes: VecDeque<Change>,
    /// The channel is in [`State::waiting`], or its changes are being written.
    is_waiting: bool,
}

struct Here {
    info: Arc<ClientInfo>,
    /// When the client is written again; another time in [`State::due`] is out of date.
    due: Instant,
}

/// A client whose wanted state is to be written.
struct Change {
    client: ClientId,
    written: Option<oneshot::Sender<()>>,
}

/// A client that is written again at a time.
struct Due {
    at: Instant,
    channel: ChannelName,
    client: ClientId,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

/// A channel's changes that are written together.
struct Batch {
    channel: ChannelName,
    present: Vec<Present>,
    added: Vec<ClientId>,
    left: Vec<ClientId>,
    written: Vec<oneshot::Sender<()>>,
}

fn after(longest: Duration, at_least: f64) -> Instant {
    Instant::now() + longest.mul_f64(rand::rng().random_range(at_least..1.0))
}

impl State {
    fn change(&mut self, channel: &ChannelName, change: Change) {
        let Some(clients) = self.channels.get_mut(channel) else { return };
        clients.changes.push_back(change);
        if !std::mem::replace(&mut clients.is_waiting, true) {
            self.waiting.push_back(channel.clone());
        }
    }

    fn schedule(&mut self, channel: &ChannelName, client: ClientId, at: Instant) {
        let Some(clients) = self.channels.get_mut(channel) else { return };
        if let Some(here) = clients.present.get_mut(&client) {
            here.due = at;
        }
        self.due.push(Reverse(Due { at, channel: channel.clone(), client }));
    }

    /// Turns what is due into changes.
    fn gather(&mut self, now: Instant) {
        self.gathered_at = Some(now);
        while self.due.peek().is_some_and(|due| due.0.at <= now) {
            let Some(Reverse(Due { at, channel, client })) = self.due.pop() else { return };
            let Some(clients) = self.channels.get_mut(&channel) else { continue };
            let is_due = match clients.present.get(&client) {
                Some(here) => here.due == at,
                None => clients.left.contains_key(&client),
            };
            if is_due {
                self.change(&channel, Change { client, written: None });
            }
        }
    }

    /// The earliest time at which a client is due.
    fn next_due(&self) -> Option<Instant> {
        let first = self.due.peek()?.0.at;
        Some(self.gathered_at.map_or(first, |at| first.max(at + GATHER)))
    }

    /// Takes some changes of the channels whose turn it is.
    fn take(&mut self) -> Vec<Batch> {
        let mut batches = Vec::new();
        while batches.len() < CHANNELS_AT_ONCE
            && let Some(channel) = self.waiting.pop_front()
        {
            let Some(clients) = self.channels.get_mut(&channel) else { continue };
            let count = clients.changes.len().min(AT_ONCE);
            let mut batch = Batch {
                channel,
                present: Vec::new(),
                added: Vec::new(),
                left: Vec::new(),
                written: Vec::new(),
            };
            let mut seen = HashSet::with_capacity(count);
            for change in clients.changes.drain(..count) {
                batch.written.extend(change.written);
                if !seen.insert(change.client) {
                    continue;
                }
                match clients.present.get(&change.client) {
                    Some(here) => {
                        let client = change.client.to_string();
                        batch.present.push(Present { client, info: (*here.info).clone() });
                        batch.added.push(change.client);
                    }
                    None => batch.left.push(change.client),
                }
            }
            if clients.changes.is_empty() {
                // A burst's buffer is not worth keeping in an idle channel.
                clients.changes = VecDeque::new();
            }
            batches.push(batch);
        }
        batches
    }

    /// Notes the outcome of a batch.
    fn written(&mut self, batch: Batch, added: bool, removed: bool) {
        let now = Instant::now();
        for client in batch.added {
            let at = if added { after(REFRESH, REFRESH_AT_LEAST) } else { after(RETRY, 0.2) };
            self.schedule(&batch.channel, client, at);
        }
        let mut again = Vec::new();
        if let Some(clients) = self.channels.get_mut(&batch.channel) {
            for client in batch.left {
                // By then it is gone by itself.
                let expired = clients.left.get(&client).is_none_or(|since| now - *since >= TTL);
                if removed || expired {
                    clients.left.remove(&client);
                } else {
                    again.push(client);
                }
            }
            clients.is_waiting = !clients.changes.is_empty();
            if clients.is_waiting {
                self.waiting.push_back(batch.channel.clone());
            } else if clients.present.is_empty() && clients.left.is_empty() && again.is_empty() {
                self.channels.remove(&batch.channel);
            }
        }
        for client in again {
            self.schedule(&batch.channel, client, after(RETRY, 0.2));
        }
        for written in batch.written {
            // The session may have stopped waiting.
            let _ = written.send(());
        }
    }
}

impl Presence {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { shards, hasher: RandomState::new() }
    }

    fn shard(&self, channel: &ChannelName) -> &Shard {
        let hash = self.hasher.hash_one(channel);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    /// A client is in a channel from now on; resolves when others can read so, or that failed.
    pub(super) fn join(
        &self,
        channel: &ChannelName,
        client: ClientId,
        info: Arc<ClientInfo>,
    ) -> oneshot::Receiver<()> {
        let (written, answer) = oneshot::channel();
        let shard = self.shard(channel);
        {
            let mut state = shard.state.lock();
            let clients = state.channels.entry(channel.clone()).or_default();
            clients.left.remove(&client);
            clients.present.insert(client, Here { info, due: Instant::now() });
            state.change(channel, Change { client, written: Some(written) });
        }
        shard.changed.notify_one();
        answer
    }

    /// Others are to read something else of a client that is in a channel. Sends to `written` when they can, or that failed.
    pub(super) fn update(
        &self,
        channel: &ChannelName,
        client: ClientId,
        info: Arc<ClientInfo>,
        written: oneshot::Sender<()>,
    ) {
        let shard = self.shard(channel);
        {
            let mut state = shard.state.lock();
            let Some(here) =
                state.channels.get_mut(channel).and_then(|clients| clients.present.get_mut(&client))
            else {
                return;
            };
            here.info = info;
            state.change(channel, Change { client, written: Some(written) });
        }
        shard.changed.notify_one();
    }

    /// A client is in a channel no longer.
    pub(super) fn leave(&self, channel: &ChannelName, client: ClientId) {
        let shard = self.shard(channel);
        {
            let mut state = shard.state.lock();
            let Some(clients) = state.channels.get_mut(channel) else { return };
            if clients.present.remove(&client).is_none() {
                return;
            }
            clients.left.insert(client, Instant::now());
            state.change(channel, Change { client, written: None });
        }
        shard.changed.notify_one();
    }

    /// Has all clients written again soon, as other nodes may have cleared them away.
    pub(crate) fn refresh_all(&self) {
        for shard in &self.shards {
            {
                let mut state = shard.state.lock();
                let mut due = Vec::new();
                for (channel, clients) in &mut state.channels {
                    for (client, here) in &mut clients.present {
                        here.due = after(RETURN, 0.0);
                        due.push(Reverse(Due { at: here.due, channel: channel.clone(), client: *client }));
                    }
                }
                state.due.extend(due);
            }
            shard.changed.notify_one();
        }
    }

    /// How many tasks write presence.
    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Writes the changes of one shard, for ever. After a crash the changes that were under way are written again.
    pub(crate) async fn run(&self, shard: usize, hot: &Hot, vitals: &Vitals) {
        let Some(shard) = self.shards.get(shard) else { return };
        shard.state.lock().recover();
        loop {
            let batches = {
                let mut state = shard.state.lock();
                if state.next_due().is_some_and(|due| due <= Instant::now()) {
                    state.gather(Instant::now());
                }
                state.take()
            };
            if batches.is_empty() {
                vitals.handled();
                let idle = Instant::now() + IDLE_TICK;
                let wake_at = shard.state.lock().next_due().map_or(idle, |due| due.min(idle));
                tokio::select! {
                    () = shard.changed.notified() => {}
                    () = tokio::time::sleep_until(wake_at) => {}
                }
                continue;
            }
            join_all(batches.into_iter().map(async |batch| {
                let (added, removed) = write(hot, &batch).await;
                shard.state.lock().written(batch, added, removed);
            }))
            .await;
            vitals.handled();
            // Calls of hot state in memory never wait, and others have to run as well.
            tokio::task::yield_now().await;
        }
    }
}

impl State {
    /// After a crash: no channel is being written.
    fn recover(&mut self) {
        self.waiting.clear();
        for (channel, clients) in &mut self.channels {
            let written = |client: &ClientId| Change { client: *client, written: None };
            if clients.is_waiting {
                clients.changes = clients.present.keys().chain(clients.left.keys()).map(written).collect();
                self.waiting.push_back(channel.clone());
            }
        }
    }
}

/// Writes a batch. True for those who came, and for those who left, if hot state took them.
async fn write(hot: &Hot, batch: &Batch) -> (bool, bool) {
    let channel = &batch.channel;
    let mut outcome = (true, true);
    if !batch.left.is_empty() {
        let clients: Vec<_> = batch.left.iter().map(ToString::to_string).collect();
        outcome.1 = hot.remove_presence(channel, &clients).await.is_ok();
    }
    if !batch.present.is_empty() {
        outcome.0 = hot.add_presence(channel, &batch.present, TTL).await.is_ok();
    }
    outcome
}
