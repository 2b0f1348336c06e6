//! The bus within one process: for a node alone, and for several nodes in one test.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_ops::traces::current;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::{Bus, BusError, BusMessage, IsEnough, Listening};

/// Messages that may wait for one listener; more are lost to it, as on a bus between machines.
const LISTENER_CAPACITY: usize = 4096;

/// The listeners of all buses of one process.
#[derive(Default)]
pub struct LocalHub {
    listeners: Mutex<HashMap<String, Vec<Listener>>>,
    numbers: AtomicU64,
}

struct Listener {
    node: u64,
    number: u64,
    messages: mpsc::Sender<BusMessage>,
}

/// One node's bus.
pub struct LocalBus {
    hub: Arc<LocalHub>,
    node: u64,
    connected: watch::Sender<bool>,
    alone: bool,
}

struct LocalListening {
    hub: Arc<LocalHub>,
    subject: String,
    number: u64,
    messages: mpsc::Receiver<BusMessage>,
}

impl LocalHub {
    /// Another node's bus.
    pub fn connect(self: &Arc<Self>) -> LocalBus {
        LocalBus {
            hub: Arc::clone(self),
            node: self.number(),
            connected: watch::Sender::new(true),
            alone: false,
        }
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// How many there were to send it to.
    fn send(&self, from: u64, subject: &str, message: &BusMessage) -> usize {
        let listeners = self.listeners.lock();
        let others = listeners.get(subject).into_iter().flatten().filter(|listener| listener.node != from);
        others.map(|listener| drop(listener.messages.try_send(message.clone()))).count()
    }
}

impl LocalBus {
    /// The bus of a node that has no others.
    pub fn alone() -> Self {
        Self { alone: true, ..Arc::new(LocalHub::default()).connect() }
    }

    fn listen_as(&self, node: u64, subject: &str) -> LocalListening {
        let (sender, messages) = mpsc::channel(LISTENER_CAPACITY);
        let number = self.hub.number();
        let listener = Listener { node, number, messages: sender };
        self.hub.listeners.lock().entry(subject.to_owned()).or_default().push(listener);
        LocalListening { hub: Arc::clone(&self.hub), subject: subject.to_owned(), number, messages }
    }

    /// Sends a question; where its answers come, and how many there may be.
    fn ask(&self, subject: &str, payload: Bytes) -> (LocalListening, usize) {
        let inbox = format!("inbox.{}", self.hub.number());
        // Nobody's node, as the answers may come from any.
        let answers = self.listen_as(u64::MAX, &inbox);
        let asked = BusMessage { payload, trace: current(), reply_to: Some(inbox) };
        let listeners = self.hub.send(self.node, subject, &asked);
        (answers, listeners)
    }
}

impl Drop for LocalListening {
    fn drop(&mut self) {
        let mut listeners = self.hub.listeners.lock();
        if let Some(here) = listeners.get_mut(&self.subject) {
            here.retain(|listener| listener.number != self.number);
            if here.is_empty() {
                listeners.remove(&self.subject);
            }
        }
    }
}

#[async_trait]
impl Listening for LocalListening {
    async fn next(&mut self) -> Option<BusMessage> {
        self.messages.recv().await
    }

    fn next_now(&mut self) -> Option<BusMessage> {
        self.messages.try_recv().ok()
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        if !self.alone {
            self.hub.send(self.node, subject, &BusMessage { payload, trace: current(), reply_to: None });
        }
        Ok(())
    }

    async fn listen(&self, subject: &str) -> Result<Box<dyn Listening>, BusError> {
        Ok(Box::new(self.listen_as(self.node, subject)))
    }

    async fn request(&self, subject: &str, payload: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        let (mut answers, listeners) = self.ask(subject, payload);
        if listeners == 0 {
            return Err(BusError::NoResponders);
        }
        match tokio::time::timeout(timeout, answers.next()).await {
            Ok(Some(answer)) => Ok(answer.payload),
            Ok(None) | Err(_) => Err(BusError::TimedOut),
        }
    }

    async fn survey(
        &self,
        subject: &str,
        payload: Bytes,
        is_enough: &mut IsEnough<'_>,
        timeout: Duration,
    ) -> Result<Vec<Bytes>, BusError> {
        let mut came = Vec::new();
        if self.alone {
            return Ok(came);
        }
        let (mut answers, _) = self.ask(subject, payload);
        let collect = async {
            while let Some(answer) = answers.next().await {
                let enough = is_enough(&answer.payload);
                came.push(answer.payload);
                if enough {
                    return;
                }
            }
        };
        // Those that came in time are the answer.
        let _ = tokio::time::timeout(timeout, collect).await;
        Ok(came)
    }

    async fn reply(&self, message: &BusMessage, payload: Bytes) -> Result<(), BusError> {
        if let Some(inbox) = &message.reply_to {
            self.hub.send(self.node, inbox, &BusMessage { payload, trace: current(), reply_to: None });
        }
        Ok(())
    }

    fn is_remote(&self) -> bool {
        !self.alone
    }

    fn connected(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }
}
