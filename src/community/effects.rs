//! What changes of the community cause, as the outbox keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_actors::{Engine, Publish, Whose};
use mundotango_jobs::{Jobs, NewJob};
use mundotango_ops::traces::{self, Kind, Span};
use mundotango_protocol::{ChannelName, Publication};
use mundotango_storage::StoreError;
use mundotango_storage::db::Effect as Kept;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::audit::rules::Act;
use super::audit::store::AuditStore;
use crate::relay::{Attempt, Carrier};
use crate::search::log::{Change, ChangeLog};

/// The tag that tells clients that two publications are the same one: it may come twice where a node died.
const SAME: &str = "idempotency_key";

/// Something that has to happen because of a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A message is published to a channel.
    Publish {
        /// The channel's name.
        channel: String,
        /// What subscribers get.
        message: Box<RawValue>,
        /// What they get in its place where it is not told right after the change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        late: Option<Box<RawValue>>,
        /// The `traceparent` of the span that caused it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
    },
    /// A job is put into its queue.
    Job(Box<NewJob>),
    /// A user's sessions are taken out of a channel, on all nodes: the user may hear it no more.
    EndSubscription {
        /// The user.
        user_id: String,
        /// The channel's name.
        channel: String,
    },
    /// An act is written into the audit trail.
    Audit(Box<Act>),
    /// The search indexes are told that a thing changed, came or went.
    Changed(Change),
}

impl Effect {
    /// A message that is published to a channel, whenever that can be done: what it says may be told late.
    pub fn publish(channel: impl Into<String>, message: &impl Serialize) -> Result<Self, StoreError> {
        Ok(Self::Publish { channel: channel.into(), message: written(message)?, late: None, trace: cause() })
    }

    /// A message that is published to a channel right after the change, and another one if that fails: the words of the first
    /// may be for fewer by then, or for nobody, so the second has none.
    pub fn publish_now(
        channel: impl Into<String>,
        message: &impl Serialize,
        late: &impl Serialize,
    ) -> Result<Self, StoreError> {
        let (message, late) = (written(message)?, Some(written(late)?));
        Ok(Self::Publish { channel: channel.into(), message, late, trace: cause() })
    }

    /// A job that is put into its queue.
    pub fn job(job: NewJob) -> Self {
        Self::Job(Box::new(job.caused_by(cause())))
    }

    /// An act that is written into the audit trail.
    pub fn audit(act: Act) -> Self {
        Self::Audit(Box::new(act))
    }

    /// The search indexes are told that a thing changed, came or went: a kind of [`super::search::kinds`], and its id.
    pub fn changed(kind: &str, id: &str) -> Self {
        Self::Changed(Change { kind: kind.to_owned(), id: id.to_owned() })
    }

    /// In the form in which it is created together with a partition.
    pub fn kept(&self) -> Result<Kept, StoreError> {
        Kept::new(self)
    }
}

fn written(message: &impl Serialize) -> Result<Box<RawValue>, StoreError> {
    to_raw_value(message).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// What of a publication is said at an attempt.
fn said(message: Box<RawValue>, late: Option<Box<RawValue>>, attempt: Attempt) -> Box<RawValue> {
    match attempt {
        Attempt::AtOnce => message,
        Attempt::Later => late.unwrap_or(message),
    }
}

/// The span in which an effect is made, as the outbox keeps it.
fn cause() -> Option<String> {
    traces::current().map(|trace| trace.traceparent())
}

/// A span of an effect that is carried out, as a part of what caused it.
fn span_of(name: &'static str, cause: Option<&str>, effect: &str, attempt: Attempt) -> Span {
    let cause = cause.and_then(|cause| cause.parse().ok());
    let mut span = Span::child_of(cause, name, Kind::Consumer);
    if let Some(span) = span.recorded() {
        span.set("outbox.effect", effect).set("outbox.again", attempt == Attempt::Later);
    }
    span
}

/// Carries out the community's effects.
pub struct Effects {
    engine: Arc<Engine>,
    jobs: Jobs,
    audit: AuditStore,
    changes: ChangeLog,
    /// Whether hot state outlives this node.
    hot_outlives: bool,
}

impl Effects {
    /// Publishes by this engine, puts jobs into these queues, writes into this audit trail, and notes changes in this log. Where hot state outlives the node, publications are remembered there by their names, so that
    /// what a node published before it died is told once.
    pub fn new(
        engine: Arc<Engine>,
        jobs: Jobs,
        audit: AuditStore,
        changes: ChangeLog,
        hot_outlives: bool,
    ) -> Self {
        Self { engine, jobs, audit, changes, hot_outlives }
    }

    async fn publish(
        &self,
        name: String,
        channel: &str,
        message: Box<RawValue>,
        attempt: Attempt,
    ) -> anyhow::Result<()> {
        let channel = ChannelName::parse(channel)?;
        let publication = Publication {
            data: Bytes::from(String::from(Box::<str>::from(message))),
            tags: BTreeMap::from([(SAME.to_owned(), name.clone())]),
            ..Publication::default()
        };
        if attempt == Attempt::AtOnce && !self.hot_outlives {
            // Whoever tries again has lost what would be remembered here.
            self.engine.publish(&channel, Publish::new(publication)).await?;
            return Ok(());
        }
        let publish = Publish {
            idempotency_key: Some(name),
            // Whoever tried before may have been cut off after it was recorded.
            again: true,
            ..Publish::new(publication.clone())
        };
        match self.engine.publish(&channel, publish).await {
            // Without hot state nobody can tell whether it was published before, and those who listen are told all the same.
            Err(_) if attempt == Attempt::AtOnce => {
                self.engine.publish(&channel, Publish::new(publication)).await?;
            }
            outcome => drop(outcome?),
        }
        Ok(())
    }
}

/// Takes a user's sessions out of a channel. An error says that a node did not hear of it, which has to be tried again.
pub(super) async fn end_subscription(engine: &Engine, user_id: &str, channel: &str) -> anyhow::Result<()> {
    let whose = Whose { user: user_id.to_owned(), client: None, session: None };
    let ended = engine.unsubscribe(&whose, &ChannelName::parse(channel)?).await;
    ended.complete().ok_or_else(|| anyhow::anyhow!("not all nodes ended a subscription"))
}

#[async_trait]
impl Carrier for Effects {
    async fn carry_out(&self, name: String, effect: &Kept, attempt: Attempt) -> anyhow::Result<()> {
        match effect.read()? {
            Effect::Publish { channel, message, late, trace } => {
                let message = said(message, late, attempt);
                let span = span_of("outbox publish", trace.as_deref(), &name, attempt);
                span.run(self.publish(name, &channel, message, attempt)).await
            }
            // Under the effect's own name: whoever tries again, or at the same time, finds the job that is there.
            Effect::Job(job) => {
                let span = span_of("outbox job", job.cause(), &name, attempt);
                match attempt {
                    Attempt::AtOnce => span.run(self.jobs.do_as(name, *job)).await?,
                    Attempt::Later => drop(span.run(self.jobs.enqueue_as(name, *job)).await?),
                }
                Ok(())
            }
            Effect::EndSubscription { user_id, channel } => {
                end_subscription(&self.engine, &user_id, &channel).await
            }
            // So it is one entry, however often it is carried out.
            Effect::Audit(act) => Ok(self.audit.record(&name, *act).await.map(drop)?),
            // Twice is one more look at the thing.
            Effect::Changed(change) => Ok(self.changes.note(&change).await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    impl Effect {
        /// What is published at an attempt.
        pub(in crate::community) fn said(&self, attempt: Attempt) -> Value {
            // As the outbox gives it back.
            let kept = self.kept().unwrap().read::<Self>().unwrap();
            let Self::Publish { message, late, .. } = kept else { panic!("nothing is published: {self:?}") };
            serde_json::from_str(said(message, late, attempt).get()).unwrap()
        }
    }

    #[test]
    fn words_are_said_right_after_the_change_alone() {
        let effect = Effect::publish_now("x", &json!({"words": "Hola"}), &json!({"id": "1"})).unwrap();
        assert_eq!(effect.said(Attempt::AtOnce), json!({"words": "Hola"}));
        assert_eq!(effect.said(Attempt::Later), json!({"id": "1"}));
        let always = Effect::publish("x", &json!({"id": "1"})).unwrap();
        assert_eq!(always.said(Attempt::AtOnce), always.said(Attempt::Later));
    }

    #[test]
    fn what_an_earlier_build_left_is_read() {
        let kept = Kept::new(&json!({"publish": {"channel": "x", "message": {"id": "1"}}})).unwrap();
        assert_eq!(kept.read::<Effect>().unwrap().said(Attempt::Later), json!({"id": "1"}));
    }
}
