//! What is slow on the nodes, for operators: ranked lists, of all nodes together or of one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::Deserr;
use mundotango_actors::{NodeError, NodeInfo, SlowView};
use mundotango_storage::db::HotPartition;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::actors::ActorDoing;
use crate::extract::ValidQuery;
use crate::identity::Identity;
use crate::input::{BadFields, Param, Time, Whole};
use crate::problem::Problem;
use crate::system::{SystemState, actor_id};

/// Entries of each list unless asked for more.
const DEFAULT_ENTRIES: usize = 20;

pub(crate) fn router(state: SystemState) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(slow)).with_state(state)
}

#[derive(Deserr, utoipa::IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SlowQuery {
    /// Most entries of each list; 20 if absent.
    #[deserr(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<Param<Whole<1, 100>>>,
    /// The id of the node to look at; all if absent.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 64)]
    node: Option<String>,
}

/// A node that was asked.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct AskedNode {
    /// Its id.
    id: String,
    /// What its operator calls it.
    name: String,
    /// When it looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    at: Option<Time>,
    /// Since when it counts handled messages: the newest few thousand of each of its threads, of the last ten minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    since: Option<Time>,
    /// Why it does not answer. Nothing of it is in the lists then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
}

/// A session whose client reads more slowly than it is written to.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct SlowConsumer {
    /// The id of its actor.
    actor: String,
    /// The id of its node.
    node: String,
    /// The session's id.
    client: String,
    /// Its user; empty for anonymous ones.
    user: String,
    /// How it is connected.
    transport: String,
    /// Bytes that its socket has not taken.
    waiting_bytes: usize,
    /// Bytes that may wait before the session is ended (`session.outbox_bytes`).
    limit_bytes: usize,
    /// Messages that wait.
    waiting_messages: usize,
    /// Since when something waits without a break.
    since: Time,
}

/// An actor with messages that wait.
#[derive(Serialize, utoipa::ToSchema)]
struct FullMailbox {
    /// The actor's id.
    actor: String,
    /// The id of its node.
    node: String,
    /// The kind of actor.
    kind: String,
    /// Its name in the tree.
    name: String,
    /// Messages that wait.
    waiting: usize,
    /// Messages that may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bound: Option<usize>,
}

/// A kind of message, and how long it takes on a node.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct MessageTimes {
    /// The id of the node.
    node: String,
    /// The kind of actor that handles such messages.
    actor_kind: String,
    /// The kind of message.
    kind: String,
    /// How many were handled.
    count: usize,
    /// The time that 99 % of them took at most, in microseconds.
    p99_micros: u32,
    /// The longest that one took, in microseconds.
    longest_micros: u32,
    /// What all of them took together, in microseconds.
    total_micros: u64,
}

/// An actor, and how long it was busy.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct BusyActor {
    /// The actor's id.
    actor: String,
    /// The id of its node.
    node: String,
    /// The kind of actor.
    kind: String,
    /// Its name in the tree.
    name: String,
    /// How many messages it handled.
    count: usize,
    /// What they took together, with the one that it handles now, in microseconds.
    total_micros: u64,
    /// The longest that one took, in microseconds.
    longest_micros: u64,
    /// What it does at the moment; absent while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    doing: Option<ActorDoing>,
}

/// A channel with many subscribers.
#[derive(Serialize, utoipa::ToSchema)]
struct ChannelSize {
    /// Its name.
    name: String,
    /// Its subscribers on all nodes that answered, as far as it is among the largest there.
    subscribers: usize,
    /// The nodes on which it is among the largest, the one with most subscribers first.
    nodes: Vec<ChannelOnNode>,
}

/// A channel's part on a node.
#[derive(Serialize, utoipa::ToSchema)]
struct ChannelOnNode {
    /// The id of the channel's actor there.
    actor: String,
    /// The id of the node.
    node: String,
    /// Its subscribers there.
    subscribers: usize,
}

/// A partition of the store at which many changes meet, as counted within the last one to two minutes.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct ContendedPartition {
    /// The name of its kind.
    kind: String,
    /// Its id; the begin of it if it is long.
    id: String,
    /// Changes that waited for another one and were carried out together with others.
    combined: u64,
    /// Compare-and-sets that had to be repeated, as another one came first.
    lost: u64,
    /// Changes that wait now.
    waiting: u64,
    /// How many more there may have been before the partition was counted.
    may_miss: u64,
}

/// What is slow, the worst first in each list.
#[derive(Default, Serialize, utoipa::ToSchema)]
struct Slow {
    /// The nodes that were asked; the one that answers is the first.
    nodes: Vec<AskedNode>,
    /// Whether a node did not answer.
    partial: bool,
    /// Slow consumers, by bytes that wait.
    sessions: Vec<SlowConsumer>,
    /// Mailboxes, by messages that wait.
    mailboxes: Vec<FullMailbox>,
    /// Kinds of messages, by the time that 99 % of them took at most.
    handlers: Vec<MessageTimes>,
    /// Actors, by the time that they were busy.
    actors: Vec<BusyActor>,
    /// Channels, by subscribers.
    channels: Vec<ChannelSize>,
    /// Partitions, by changes that met there.
    partitions: Vec<ContendedPartition>,
}

/// Sorts a list by what ranks high, and leaves out what is past the limit.
fn rank<T, R: Ord>(list: &mut Vec<T>, limit: usize, by: impl Fn(&T) -> R) {
    list.sort_by_key(|one| Reverse(by(one)));
    list.truncate(limit);
}

impl Slow {
    fn of(nodes: &[(NodeInfo, Result<Arc<SlowView>, NodeError>)], limit: usize) -> Self {
        let mut all = Self::default();
        let mut channels: HashMap<String, ChannelSize> = HashMap::new();
        let mut partitions: HashMap<(String, String), HotPartition> = HashMap::new();
        for (node, view) in nodes {
            let (id, name) = (node.id.clone(), node.name.clone());
            match view {
                Ok(view) => {
                    let (at, since) = (Some(view.at.into()), Some(view.since.into()));
                    all.nodes.push(AskedNode { id, name, at, since, error: None });
                    all.add(&node.id, view);
                    add_channels(&mut channels, &node.id, view);
                    add_partitions(&mut partitions, view);
                }
                Err(error) => {
                    all.partial = true;
                    let error = Some(error.to_string());
                    all.nodes.push(AskedNode { id, name, at: None, since: None, error });
                }
            }
        }
        all.channels = channels.into_values().collect();
        let mut partitions: Vec<_> = partitions.into_values().collect();
        rank(&mut partitions, limit, HotPartition::contention);
        all.partitions = partitions.into_iter().map(ContendedPartition::from).collect();
        // Of equally slow consumers the one that has waited longer comes first.
        rank(&mut all.sessions, limit, |session| (session.waiting_bytes, Reverse(session.since)));
        rank(&mut all.mailboxes, limit, |mailbox| mailbox.waiting);
        rank(&mut all.handlers, limit, |handler| (handler.p99_micros, handler.total_micros));
        rank(&mut all.actors, limit, |actor| actor.total_micros);
        rank(&mut all.channels, limit, |channel| channel.subscribers);
        all
    }

    fn add(&mut self, node: &str, view: &SlowView) {
        self.sessions.extend(view.sessions.iter().map(|session| SlowConsumer {
            actor: actor_id(node, "session", &session.client),
            node: node.to_owned(),
            client: session.client.clone(),
            user: session.user.clone(),
            transport: session.transport.to_string(),
            waiting_bytes: session.waiting_bytes,
            limit_bytes: session.limit_bytes,
            waiting_messages: session.waiting_messages,
            since: session.since.into(),
        }));
        self.mailboxes.extend(view.mailboxes.iter().map(|mailbox| FullMailbox {
            actor: actor_id(node, &mailbox.kind, &mailbox.name),
            node: node.to_owned(),
            kind: mailbox.kind.to_string(),
            name: mailbox.name.clone(),
            waiting: mailbox.waiting,
            bound: mailbox.bound,
        }));
        self.handlers.extend(view.handlers.iter().map(|handler| MessageTimes {
            node: node.to_owned(),
            actor_kind: handler.actor_kind.to_string(),
            kind: handler.kind.to_string(),
            count: handler.count,
            p99_micros: handler.p99_micros,
            longest_micros: handler.longest_micros,
            total_micros: handler.total_micros,
        }));
        self.actors.extend(view.actors.iter().map(|actor| BusyActor {
            actor: actor_id(node, &actor.kind, &actor.name),
            node: node.to_owned(),
            kind: actor.kind.to_string(),
            name: actor.name.clone(),
            count: actor.count,
            total_micros: actor.total_micros,
            longest_micros: actor.longest_micros,
            doing: actor.doing.clone().map(ActorDoing::from),
        }));
    }
}

fn add_channels(channels: &mut HashMap<String, ChannelSize>, node: &str, view: &SlowView) {
    for channel in &view.channels {
        let known = channels.entry(channel.name.clone()).or_insert_with(|| ChannelSize {
            name: channel.name.clone(),
            subscribers: 0,
            nodes: Vec::new(),
        });
        known.subscribers += channel.subscribers;
        let actor = actor_id(node, "channel", &channel.name);
        let here = ChannelOnNode { actor, node: node.to_owned(), subscribers: channel.subscribers };
        known.nodes.push(here);
        known.nodes.sort_by_key(|node| Reverse(node.subscribers));
    }
}

/// Changes of several nodes meet at the same partition.
fn add_partitions(partitions: &mut HashMap<(String, String), HotPartition>, view: &SlowView) {
    for hot in &view.partitions {
        match partitions.entry((hot.kind.clone(), hot.id.clone())) {
            Entry::Occupied(mut known) => known.get_mut().add(hot),
            Entry::Vacant(place) => {
                place.insert(hot.clone());
            }
        }
    }
}

impl From<HotPartition> for ContendedPartition {
    fn from(hot: HotPartition) -> Self {
        let HotPartition { kind, id, combined, lost, waiting, may_miss } = hot;
        Self { kind, id, combined, lost, waiting, may_miss }
    }
}

/// What is slow on all nodes or on one: slow consumers, long mailboxes, slow handlers, busy actors, large channels and hot
/// partitions. Looked at once a second at most, however many ask.
#[utoipa::path(
    get, path = "/api/admin/system/slow", operation_id = "getSlow", tag = "system", params(SlowQuery),
    responses(
        (status = OK, body = Slow), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem),
    ),
)]
async fn slow(
    identity: Identity,
    State(state): State<SystemState>,
    ValidQuery(query): ValidQuery<SlowQuery>,
) -> Result<Json<Slow>, Problem> {
    state.admit(&identity)?;
    let limit = query.limit.map_or(DEFAULT_ENTRIES, |limit| limit.0.count());
    let Some(id) = query.node else {
        return Ok(Json(Slow::of(&state.engine.slow().await, limit)));
    };
    let node = state.engine.nodes().into_iter().find(|node| node.id == id);
    let node = node.ok_or(NodeError::Gone)?;
    let view = state.engine.slow_of(&id).await;
    Ok(Json(Slow::of(&[(node, view)], limit)))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use mundotango_actors::{LargeChannel, SlowSession};

    use super::*;

    fn node(id: &str) -> NodeInfo {
        let body = serde_json::json!({
            "id": id, "name": id, "version": "", "started_at": "2026-01-01T00:00:00Z", "sessions": 0, "users": 0,
            "channels": 0, "subscriptions": 0, "draining": false,
        });
        serde_json::from_value(body).unwrap()
    }

    fn view(bytes: usize, subscribers: usize, lost: u64) -> Arc<SlowView> {
        let at = Timestamp::UNIX_EPOCH;
        let session = SlowSession {
            client: format!("reads {bytes}"),
            user: String::new(),
            transport: "websocket".into(),
            waiting_bytes: bytes,
            limit_bytes: 1000,
            waiting_messages: 1,
            since: at,
        };
        let channels = [("large", subscribers), ("small", 1)];
        let channels =
            channels.map(|(name, subscribers)| LargeChannel { name: name.to_owned(), subscribers });
        let hot = |id: &str, lost| HotPartition {
            kind: "posts".to_owned(),
            id: id.to_owned(),
            lost,
            ..HotPartition::default()
        };
        Arc::new(SlowView {
            at,
            since: at,
            sessions: vec![session],
            mailboxes: Vec::new(),
            handlers: Vec::new(),
            actors: Vec::new(),
            channels: channels.into(),
            partitions: vec![hot("hot", lost), hot(&lost.to_string(), lost + 1)],
        })
    }

    #[test]
    fn the_lists_of_nodes_become_one_and_say_whose_are_missing() {
        let nodes = [
            (node("a"), Ok(view(10, 5, 4))),
            (node("b"), Err(NodeError::Unavailable)),
            (node("c"), Ok(view(20, 7, 6))),
        ];
        let slow = Slow::of(&nodes, 1);
        assert!(slow.partial && slow.nodes[1].error.is_some() && slow.nodes[2].at.is_some());
        let [session] = &slow.sessions[..] else { panic!("one session") };
        assert_eq!((session.waiting_bytes, session.actor.as_str()), (20, "c.session.reads 20"));
        let [channel] = &slow.channels[..] else { panic!("one channel") };
        assert_eq!((channel.name.as_str(), channel.subscribers), ("large", 12));
        let parts: Vec<_> = channel.nodes.iter().map(|node| node.actor.as_str()).collect();
        assert_eq!(parts, ["c.channel.large", "a.channel.large"]);
        let [partition] = &slow.partitions[..] else { panic!("one partition") };
        assert_eq!((partition.id.as_str(), partition.lost), ("hot", 10));
        assert!(!Slow::of(&nodes[..1], 1).partial);
    }
}
