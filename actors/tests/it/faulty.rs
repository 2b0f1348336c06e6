//! Adapters that misbehave on purpose: a hot state that fails, hangs, answers late, forgets or goes back in time, and a
//! bus that loses, delays, repeats and reorders what nodes send each other.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_actors::bus::{Bus, BusError, BusMessage, IsEnough, Listening};
use mundotango_protocol::{ClientInfo, Publication};
use mundotango_storage::StoreError;
use mundotango_storage::hot::{
    Append, Appended, Beat, HistoryLimits, HistoryPage, HistoryQuery, HotState, MemoryHotState,
    PresenceStats, Present, Quota, UserStatus,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

/// What is wrong with a call of hot state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Refused at once; nothing happened.
    Refuse,
    /// Never answered; nothing happened.
    Hang,
    /// Done, and answered after so long.
    Late(Duration),
    /// Done, and answered by an error that leaves the outcome open.
    DoneButUnknown,
}

/// Which calls a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Append,
    History,
    Presence,
    Renew,
    Users,
    Burial,
}

/// The memory that the hot states of all nodes share.
#[derive(Default)]
pub struct SharedMemory(Mutex<Arc<MemoryHotState>>);

impl SharedMemory {
    fn now(&self) -> Arc<MemoryHotState> {
        Arc::clone(&self.0.lock())
    }

    /// Loses everything; histories begin with other epochs.
    pub fn forget(&self) {
        *self.0.lock() = Arc::new(MemoryHotState::new());
    }

    /// Is what it was `lost` publications ago, under another epoch, as adapters promise for a server that was restored.
    pub async fn go_back(&self, channel: &str, limits: HistoryLimits, lost: usize) {
        let all = HistoryQuery::default();
        let mut kept = self.now().history(channel, all, limits).await.unwrap().publications;
        kept.truncate(kept.len().saturating_sub(lost));
        let before = MemoryHotState::new();
        for publication in kept {
            let publication = Publication { offset: 0, ..publication };
            before.append(channel, Append::new(publication, Some(limits))).await.unwrap();
        }
        *self.0.lock() = Arc::new(before);
    }
}

/// One node's way to the shared memory, with faults.
pub struct FaultyHotState {
    memory: Arc<SharedMemory>,
    standing: Mutex<Fault>,
    once: Mutex<VecDeque<(Call, Fault)>>,
    /// Sessions that each call which adds or removes presence spoke of.
    pub presence_calls: Mutex<Vec<usize>>,
    pub histories: AtomicU64,
    pub presence_reads: AtomicU64,
}

impl FaultyHotState {
    pub fn of(memory: &Arc<SharedMemory>) -> Arc<Self> {
        Arc::new(Self {
            memory: Arc::clone(memory),
            standing: Mutex::new(Fault::None),
            once: Mutex::default(),
            presence_calls: Mutex::default(),
            histories: AtomicU64::default(),
            presence_reads: AtomicU64::default(),
        })
    }

    pub fn alone() -> Arc<Self> {
        Self::of(&Arc::default())
    }

    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// What is wrong from now on.
    pub fn set(&self, fault: Fault) {
        *self.standing.lock() = fault;
    }

    /// What is wrong with the next such call alone.
    pub fn once(&self, call: Call, fault: Fault) {
        self.once.lock().push_back((call, fault));
    }

    /// Nothing is wrong any more.
    pub fn heal(&self) {
        self.set(Fault::None);
        self.once.lock().clear();
    }

    fn fault(&self, call: Call) -> Fault {
        let mut once = self.once.lock();
        match once.iter().position(|(which, _)| *which == call) {
            Some(at) => once.remove(at).map_or(Fault::None, |(_, fault)| fault),
            None => *self.standing.lock(),
        }
    }

    async fn run<T: Send>(
        &self,
        call: Call,
        act: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match self.fault(call) {
            Fault::None => act.await,
            Fault::Refuse => Err(StoreError::Unavailable("refused by a test".to_owned())),
            Fault::Hang => std::future::pending().await,
            Fault::Late(after) => {
                let outcome = act.await;
                tokio::time::sleep(after).await;
                outcome
            }
            Fault::DoneButUnknown => {
                act.await?;
                Err(StoreError::Unknown("the answer was lost by a test".to_owned()))
            }
        }
    }
}

#[async_trait]
impl HotState for FaultyHotState {
    async fn append(&self, channel: &str, append: Append) -> Result<Appended, StoreError> {
        self.run(Call::Append, self.memory.now().append(channel, append)).await
    }

    async fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        limits: HistoryLimits,
    ) -> Result<HistoryPage, StoreError> {
        self.histories.fetch_add(1, Ordering::Relaxed);
        self.run(Call::History, self.memory.now().history(channel, query, limits)).await
    }

    async fn renew_history(
        &self,
        channel: &str,
        epoch: &str,
        limits: HistoryLimits,
    ) -> Result<(), StoreError> {
        self.run(Call::Renew, self.memory.now().renew_history(channel, epoch, limits)).await
    }

    async fn remove_history(&self, channel: &str, limits: HistoryLimits) -> Result<(), StoreError> {
        self.run(Call::History, self.memory.now().remove_history(channel, limits)).await
    }

    async fn add_presence(
        &self,
        channel: &str,
        present: &[Present],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        self.presence_calls.lock().push(present.len());
        self.run(Call::Presence, self.memory.now().add_presence(channel, present, ttl)).await
    }

    async fn remove_presence(&self, channel: &str, clients: &[String]) -> Result<(), StoreError> {
        self.presence_calls.lock().push(clients.len());
        self.run(Call::Presence, self.memory.now().remove_presence(channel, clients)).await
    }

    async fn presence(&self, channel: &str) -> Result<BTreeMap<String, ClientInfo>, StoreError> {
        self.presence_reads.fetch_add(1, Ordering::Relaxed);
        self.run(Call::Presence, self.memory.now().presence(channel)).await
    }

    async fn presence_stats(&self, channel: &str) -> Result<PresenceStats, StoreError> {
        self.run(Call::Presence, self.memory.now().presence_stats(channel)).await
    }

    async fn set_users_online(&self, users: &[String], online: bool) -> Result<(), StoreError> {
        self.run(Call::Users, self.memory.now().set_users_online(users, online)).await
    }

    async fn beat(&self) -> Result<Beat, StoreError> {
        self.memory.now().beat().await
    }

    async fn user_statuses(&self, users: &[String]) -> Result<BTreeMap<String, UserStatus>, StoreError> {
        self.run(Call::Users, self.memory.now().user_statuses(users)).await
    }

    async fn forget_node(&self, node: &str) -> Result<Vec<(String, ClientInfo)>, StoreError> {
        self.run(Call::Burial, self.memory.now().forget_node(node)).await
    }

    async fn take(&self, key: &str, quota: Quota) -> Result<Option<Duration>, StoreError> {
        self.memory.now().take(key, quota).await
    }
}

/// What may go wrong with a message about a channel on its way to another node, each with its chance in a hundred.
#[derive(Clone, Copy, Debug, Default)]
pub struct BusFaults {
    pub lost: u32,
    pub repeated: u32,
    /// Comes after the one behind it.
    pub overtaken: u32,
    pub late: u32,
}

struct Chance {
    faults: BusFaults,
    random: StdRng,
}

impl Chance {
    fn hits(&mut self, percent: u32) -> bool {
        percent > 0 && self.random.random_range(0..100) < percent
    }
}

/// A bus whose messages about channels go wrong; what nodes ask each other does not.
pub struct FaultyBus {
    bus: Arc<dyn Bus>,
    chance: Arc<Mutex<Chance>>,
    hangs: Mutex<Option<&'static str>>,
}

impl FaultyBus {
    pub fn of(bus: Arc<dyn Bus>, seed: u64) -> Arc<Self> {
        let chance = Chance { faults: BusFaults::default(), random: StdRng::seed_from_u64(seed) };
        Arc::new(Self { bus, chance: Arc::new(Mutex::new(chance)), hangs: Mutex::default() })
    }

    /// Whoever listens to this subject from now on waits for ever.
    pub fn hang(&self, subject: &'static str) {
        *self.hangs.lock() = Some(subject);
    }

    pub fn set(&self, faults: BusFaults) {
        self.chance.lock().faults = faults;
    }
}

struct FaultyListening {
    listening: Box<dyn Listening>,
    chance: Arc<Mutex<Chance>>,
    ready: VecDeque<BusMessage>,
    overtaken: Option<BusMessage>,
    late: Option<tokio::time::Instant>,
}

/// How long a late message takes: longer than a channel waits for it.
const LATE: Duration = Duration::from_millis(200);

impl FaultyListening {
    fn take_in(&mut self, message: BusMessage) {
        let mut chance = self.chance.lock();
        let faults = chance.faults;
        if chance.hits(faults.lost) {
            return;
        }
        if chance.hits(faults.late) {
            self.late = Some(tokio::time::Instant::now() + LATE);
        }
        if self.overtaken.is_none() && chance.hits(faults.overtaken) {
            self.overtaken = Some(message);
            return;
        }
        if chance.hits(faults.repeated) {
            self.ready.push_back(message.clone());
        }
        self.ready.push_back(message);
        self.ready.extend(self.overtaken.take());
    }
}

#[async_trait]
impl Listening for FaultyListening {
    async fn next(&mut self) -> Option<BusMessage> {
        loop {
            if let Some(late) = self.late {
                tokio::time::sleep_until(late).await;
                self.late = None;
            }
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            let message = self.listening.next().await?;
            self.take_in(message);
        }
    }

    fn next_now(&mut self) -> Option<BusMessage> {
        loop {
            if self.late.is_some_and(|late| late > tokio::time::Instant::now()) {
                return None;
            }
            self.late = None;
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            let message = self.listening.next_now()?;
            self.take_in(message);
        }
    }
}

#[async_trait]
impl Bus for FaultyBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.bus.publish(subject, payload).await
    }

    async fn listen(&self, subject: &str) -> Result<Box<dyn Listening>, BusError> {
        if *self.hangs.lock() == Some(subject) {
            std::future::pending::<()>().await;
        }
        let listening = self.bus.listen(subject).await?;
        if !subject.starts_with("channel.") {
            return Ok(listening);
        }
        let chance = Arc::clone(&self.chance);
        Ok(Box::new(FaultyListening {
            listening,
            chance,
            ready: VecDeque::new(),
            overtaken: None,
            late: None,
        }))
    }

    async fn request(&self, subject: &str, payload: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        self.bus.request(subject, payload, timeout).await
    }

    async fn survey(
        &self,
        subject: &str,
        payload: Bytes,
        is_enough: &mut IsEnough<'_>,
        timeout: Duration,
    ) -> Result<Vec<Bytes>, BusError> {
        self.bus.survey(subject, payload, is_enough, timeout).await
    }

    async fn reply(&self, message: &BusMessage, payload: Bytes) -> Result<(), BusError> {
        self.bus.reply(message, payload).await
    }

    fn is_remote(&self) -> bool {
        self.bus.is_remote()
    }

    fn connected(&self) -> watch::Receiver<bool> {
        self.bus.connected()
    }
}
