//! The life of an actor that exists once. The actor subscribes to its subject before its activation, so that other nodes
//! find it instead of starting another one. The actor ends when it is idle, fenced, or its node goes.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use mundotango_ops::traces::{Kind, Span, TraceContext};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::kind::{OwnedActor, OwnedError, OwnedKind, OwnedMessage, Reply, subject_of};
use super::local::{KIND, LocalActors};
use crate::bus::{Bus, BusMessage, Listening};
use crate::crashes::{Crashed, Crashes, panic_text};
use crate::recorder::{Handling, MessageKind, Stamp};
use crate::vitals::Vitals;

/// An actor that exists once, on its node.
pub(super) struct Owned {
    pub(super) here: Arc<LocalActors>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) crashes: Arc<Crashes>,
    pub(super) factory: Arc<dyn OwnedKind>,
    pub(super) kind: String,
    pub(super) id: String,
    /// Distinguishes the actor from a later one of the same id.
    pub(super) number: String,
    pub(super) vitals: Arc<Vitals>,
}

/// How long an actor that nobody asks stays in memory, unless its kind keeps it.
const IDLE_AFTER: Duration = Duration::from_mins(5);
/// Pause before work that failed is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// The actor is no longer the owner.
struct NotOwner;

fn ends<T>(outcome: &Result<T, OwnedError>) -> Result<(), NotOwner> {
    if matches!(outcome, Err(OwnedError::Fenced)) { Err(NotOwner) } else { Ok(()) }
}

/// Why an actor ends.
enum End {
    Idle,
    Asked,
    Fenced,
}

impl Owned {
    pub(super) async fn run(self, mailbox: mpsc::Receiver<OwnedMessage>) {
        let outcome = AssertUnwindSafe(self.live(mailbox)).catch_unwind().await;
        if let Err(panic) = outcome {
            let name = format!("{} {}", self.kind, self.id);
            let panic = panic_text(&*panic);
            let trail = self.vitals.trail();
            let crashed =
                Crashed { label: "owned", culprit: &name, kind: KIND, name: &name, reason: panic, trail };
            let messages = self.crashes.report("owned", &crashed);
            tracing::error!(
                kind = self.kind,
                id = self.id,
                panic,
                messages,
                "actor crashed; the next question starts it again"
            );
        }
        self.here.remove(&self.kind, &self.id, &self.number);
    }

    async fn live(&self, mut mailbox: mpsc::Receiver<OwnedMessage>) {
        let mut listening = self.listen().await;
        let mut actor = match self.factory.activate(&self.id).await {
            Ok(actor) => actor,
            Err(error) => {
                tracing::debug!(%error, kind = self.kind, id = self.id, "not started");
                self.refuse(mailbox, listening, &error).await;
                return;
            }
        };
        let end = self.serve(&mut *actor, &mut mailbox, &mut listening).await;
        // From here on nobody finds it; those that wait are told to ask again.
        self.here.remove(&self.kind, &self.id, &self.number);
        if matches!(end, End::Fenced) {
            tracing::info!(kind = self.kind, id = self.id, "another node owns it now");
        }
        self.refuse(mailbox, listening, &OwnedError::Fenced).await;
    }

    async fn listen(&self) -> Option<Box<dyn Listening>> {
        let bus = &self.bus;
        if !bus.is_remote() {
            return None;
        }
        match bus.listen(&subject_of(&self.kind, &self.id)).await {
            Ok(listening) => Some(listening),
            Err(error) => {
                tracing::warn!(%error, kind = self.kind, id = self.id, "not to be found by other nodes");
                None
            }
        }
    }

    async fn serve(
        &self,
        actor: &mut dyn OwnedActor,
        mailbox: &mut mpsc::Receiver<OwnedMessage>,
        listening: &mut Option<Box<dyn Listening>>,
    ) -> End {
        let mut active = Instant::now();
        let kept = self.factory.keep().contains(&self.id);
        let trail = self.vitals.trail();
        loop {
            let outcome = tokio::select! {
                message = mailbox.recv() => match message {
                    Some(OwnedMessage::Ask(queued, answer)) => {
                        let (bytes, stamp) = (queued.message.len(), queued.stamp());
                        let handling = Handling::begin_queued(trail, MessageKind::Ask, bytes, stamp);
                        let outcome = self.span(stamp.trace()).run(actor.handle(queued.message)).await;
                        drop(handling);
                        let ending = ends(&outcome);
                        // Who asked may have stopped waiting.
                        let _ = answer.send(outcome);
                        ending
                    }
                    Some(OwnedMessage::Passivate) | None => return End::Asked,
                },
                message = next(listening) => {
                    let stamp = Stamp::of_another_queue(message.trace);
                    let bytes = message.payload.len();
                    let handling = Handling::begin_queued(trail, MessageKind::AskFromNode, bytes, stamp);
                    let outcome = self.span(message.trace).run(actor.handle(message.payload.clone())).await;
                    drop(handling);
                    let ending = ends(&outcome);
                    self.reply(&message, outcome.into()).await;
                    ending
                }
                () = actor.wait() => match self.proceed(actor).await {
                    Err(error) if error != OwnedError::Fenced => {
                        tracing::warn!(%error, kind = self.kind, id = self.id, "not done; tried again");
                        tokio::time::sleep(TRY_AGAIN).await;
                        Ok(())
                    }
                    outcome => ends(&outcome),
                },
                () = tokio::time::sleep_until(active + IDLE_AFTER), if !kept => return End::Idle,
            };
            if outcome.is_err() {
                return End::Fenced;
            }
            active = Instant::now();
            self.vitals.handled();
        }
    }

    async fn proceed(&self, actor: &mut dyn OwnedActor) -> Result<(), OwnedError> {
        let _handling = Handling::begin(self.vitals.trail(), MessageKind::OwnWork, 0);
        actor.proceed().await
    }

    /// A span of a question's handling, as part of the span that asked. Nothing else that the actor does belongs to one.
    fn span(&self, asked: Option<TraceContext>) -> Span {
        let mut span = Span::child_of(asked, "owned actor", Kind::Server);
        if let Some(span) = span.recorded() {
            span.set("actor.kind", &self.kind).set("actor.id", &self.id);
        }
        span
    }

    async fn reply(&self, message: &BusMessage, reply: Reply) {
        let Ok(payload) = serde_json::to_vec(&reply) else { return };
        if let Err(error) = self.bus.reply(message, payload.into()).await {
            tracing::warn!(%error, kind = self.kind, id = self.id, "answer not sent");
        }
    }

    /// Tells those that wait that there is no actor.
    async fn refuse(
        &self,
        mut mailbox: mpsc::Receiver<OwnedMessage>,
        mut listening: Option<Box<dyn Listening>>,
        error: &OwnedError,
    ) {
        mailbox.close();
        while let Some(message) = mailbox.recv().await {
            if let OwnedMessage::Ask(_, answer) = message {
                let _ = answer.send(Err(error.clone()));
            }
        }
        while let Some(message) = listening.as_mut().and_then(|listening| listening.next_now()) {
            self.reply(&message, Reply::Failed(error.clone())).await;
        }
    }
}

async fn next(listening: &mut Option<Box<dyn Listening>>) -> BusMessage {
    if let Some(listening) = listening
        && let Some(message) = listening.next().await
    {
        return message;
    }
    std::future::pending().await
}
