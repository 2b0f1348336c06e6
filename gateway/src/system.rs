//! What operators see of the running node.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use deserr::Deserr;
use mundotango_actors::{Engine, NodeError, NodeInfo, TreeNode};
use serde::Serialize;
use utoipa::openapi::Schema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::describe::one_of;
use crate::extract::ValidQuery;
use crate::identity::Identity;
use crate::input::{BadFields, Param, Time, Whole};
use crate::problem::Problem;

/// Sessions and channels that the tree shows unless asked for more.
const DEFAULT_CHILDREN: usize = 100;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct SystemState {
    pub(crate) engine: Arc<Engine>,
    /// Who may look.
    pub(crate) is_operator: fn(&Identity) -> bool,
}

impl SystemState {
    pub(crate) fn admit(&self, identity: &Identity) -> Result<(), Problem> {
        if (self.is_operator)(identity) {
            Ok(())
        } else {
            Err(Problem::forbidden("your role does not allow this"))
        }
    }
}

pub(crate) fn router(state: SystemState) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(tree)).routes(routes!(trees)).routes(routes!(nodes)).with_state(state)
}

/// An actor's id: of which node, of which kind, and its name in the tree.
pub(crate) fn actor_id(node: &str, kind: &str, name: &str) -> String {
    format!("{node}.{kind}.{name}")
}

fn kinds() -> Schema {
    one_of(&["supervisor", "keeper", "task", "session", "channel", "owned"])
}

fn states() -> Schema {
    one_of(&["running", "draining", "restarting", "hung"])
}

/// One actor of the supervision tree, and those below it.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct ActorNode {
    /// Its id, by which `/api/admin/system/actors/{id}` tells more.
    id: String,
    /// Unique among its siblings.
    name: String,
    /// What it is.
    #[schema(schema_with = kinds)]
    kind: String,
    /// What it does.
    #[schema(schema_with = states)]
    state: &'static str,
    /// Messages that wait for it.
    mailbox_depth: usize,
    /// Messages that it has handled.
    messages_handled: u64,
    /// How often it was started anew after a crash.
    restarts: u32,
    /// How often actors below it crashed.
    child_crashes: u64,
    /// Since when it runs, or last started anew.
    since: Time,
    /// When it was done with a message last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_progress: Option<Time>,
    /// How many children it has; `children` may be a part of them.
    children_total: usize,
    /// Its children, by name.
    #[schema(no_recursion)]
    children: Vec<ActorNode>,
}

impl ActorNode {
    /// The actor as a node's tree has it.
    fn of(server: &str, node: TreeNode) -> Self {
        Self {
            id: actor_id(server, &node.kind, &node.name),
            name: node.name,
            kind: node.kind.into_owned(),
            state: node.state.as_str(),
            mailbox_depth: node.mailbox_depth,
            messages_handled: node.messages_handled,
            restarts: node.restarts,
            child_crashes: node.child_crashes,
            since: node.since.into(),
            last_progress: node.last_progress.map(Time),
            children_total: node.children_total,
            children: node.children.into_iter().map(|child| Self::of(server, child)).collect(),
        }
    }
}

#[derive(Deserr, utoipa::IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TreesQuery {
    /// Most sessions and most channels of each node to show; 100 if absent.
    #[deserr(default)]
    #[param(value_type = Option<u32>, minimum = 0, maximum = 10000)]
    limit: Option<Param<Whole<0, 10_000>>>,
}

#[derive(Deserr, utoipa::IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TreeQuery {
    /// Most sessions and most channels to show; 100 if absent.
    #[deserr(default)]
    #[param(value_type = Option<u32>, minimum = 0, maximum = 10000)]
    limit: Option<Param<Whole<0, 10_000>>>,
    /// The id of the node whose tree it is; the one that answers if absent.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 64)]
    node: Option<String>,
}

fn children(limit: Option<Param<Whole<0, 10_000>>>) -> usize {
    limit.map_or(DEFAULT_CHILDREN, |limit| limit.0.count())
}

/// One running server of the cluster.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct Node {
    /// Its id: another one at every start.
    id: String,
    /// What its operator calls it.
    name: String,
    /// Its version.
    version: String,
    /// When it started.
    started_at: Time,
    /// Sessions that it has.
    sessions: usize,
    /// Users that have a session there.
    users: usize,
    /// Channels with a subscriber there.
    channels: usize,
    /// Subscriptions to all of them.
    subscriptions: usize,
    /// Whether it is going away.
    draining: bool,
}

impl From<NodeInfo> for Node {
    fn from(node: NodeInfo) -> Self {
        Self {
            id: node.id,
            name: node.name,
            version: node.version,
            started_at: node.started_at.into(),
            sessions: node.sessions,
            users: node.users,
            channels: node.channels,
            subscriptions: node.subscriptions,
            draining: node.draining,
        }
    }
}

/// The nodes of the cluster.
#[derive(Serialize, utoipa::ToSchema)]
struct Nodes {
    /// The one that answers is the first.
    items: Vec<Node>,
}

/// The nodes of the cluster, as each says of itself once a second.
#[utoipa::path(
    get, path = "/api/admin/system/nodes", operation_id = "listNodes", tag = "system",
    responses((status = OK, body = Nodes), (status = FORBIDDEN, body = Problem)),
)]
async fn nodes(identity: Identity, State(state): State<SystemState>) -> Result<Json<Nodes>, Problem> {
    state.admit(&identity)?;
    Ok(Json(Nodes { items: state.engine.nodes().into_iter().map(Node::from).collect() }))
}

/// The live supervision tree of a node.
#[utoipa::path(
    get, path = "/api/admin/system/tree", operation_id = "getTree", tag = "system", params(TreeQuery),
    responses(
        (status = OK, body = ActorNode), (status = FORBIDDEN, body = Problem), (status = NOT_FOUND, body = Problem),
    ),
)]
async fn tree(
    identity: Identity,
    State(state): State<SystemState>,
    ValidQuery(query): ValidQuery<TreeQuery>,
) -> Result<Json<ActorNode>, Problem> {
    state.admit(&identity)?;
    let node = query.node.as_deref().unwrap_or_else(|| state.engine.node_id());
    let tree = state.engine.tree_of(node, children(query.limit)).await?;
    Ok(Json(ActorNode::of(node, tree)))
}

/// Why an operator is not told of a node.
impl From<NodeError> for Problem {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Gone => Self::new(StatusCode::NOT_FOUND, "there is no such node"),
            error => Self::unavailable(error.to_string()),
        }
    }
}

/// A node and its supervision tree.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodeTree {
    /// The node.
    node: Node,
    /// Its tree; absent if it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tree: Option<ActorNode>,
    /// Why it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
}

/// The supervision trees of the cluster.
#[derive(Serialize, utoipa::ToSchema)]
struct Trees {
    /// The node that answers is the first.
    items: Vec<NodeTree>,
}

/// The live supervision trees of all nodes.
#[utoipa::path(
    get, path = "/api/admin/system/trees", operation_id = "listTrees", tag = "system", params(TreesQuery),
    responses((status = OK, body = Trees), (status = FORBIDDEN, body = Problem)),
)]
async fn trees(
    identity: Identity,
    State(state): State<SystemState>,
    ValidQuery(query): ValidQuery<TreesQuery>,
) -> Result<Json<Trees>, Problem> {
    state.admit(&identity)?;
    let trees = state.engine.trees(children(query.limit)).await.into_iter();
    let items = trees.map(|(node, tree)| {
        let (tree, error) = match tree {
            Ok(tree) => (Some(ActorNode::of(&node.id, tree)), None),
            Err(error) => (None, Some(error.to_string())),
        };
        NodeTree { node: node.into(), tree, error }
    });
    Ok(Json(Trees { items: items.collect() }))
}
