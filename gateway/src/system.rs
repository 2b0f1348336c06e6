//! What admins see of the running node.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use garde::Validate;
use jiff::Timestamp;
use mundotango_actors::{Engine, TreeNode};
use mundotango_storage::accounts::Role;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::ValidQuery;
use crate::identity::Identity;
use crate::problem::Problem;

/// Sessions and channels that the tree shows unless asked for more.
const DEFAULT_CHILDREN: usize = 100;

pub(crate) fn router(engine: Arc<Engine>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(tree)).with_state(engine)
}

/// One actor of the supervision tree, and those below it.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct ActorNode {
    /// Unique among its siblings.
    name: String,
    /// `supervisor`, `keeper`, `session` or `channel`.
    kind: &'static str,
    /// `running`, `draining` or `restarting`.
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
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// How many children it has; `children` may be a part of them.
    children_total: usize,
    /// Its children, by name.
    #[schema(no_recursion)]
    children: Vec<ActorNode>,
}

impl From<TreeNode> for ActorNode {
    fn from(node: TreeNode) -> Self {
        Self {
            name: node.name,
            kind: node.kind,
            state: node.state.as_str(),
            mailbox_depth: node.mailbox_depth,
            messages_handled: node.messages_handled,
            restarts: node.restarts,
            child_crashes: node.child_crashes,
            since: node.since,
            children_total: node.children_total,
            children: node.children.into_iter().map(Self::from).collect(),
        }
    }
}

#[derive(Deserialize, Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct TreeQuery {
    /// Most sessions and most channels to show, 0 to 10000; 100 if absent.
    #[garde(range(max = 10_000))]
    limit: Option<usize>,
}

/// The live supervision tree of this node.
#[utoipa::path(
    get, path = "/api/admin/system/tree", tag = "system", params(TreeQuery),
    responses((status = OK, body = ActorNode), (status = FORBIDDEN, body = Problem)),
)]
async fn tree(
    identity: Identity,
    State(engine): State<Arc<Engine>>,
    ValidQuery(query): ValidQuery<TreeQuery>,
) -> Result<Json<ActorNode>, Problem> {
    identity.require(Role::Admin)?;
    let tree = engine.tree(query.limit.unwrap_or(DEFAULT_CHILDREN));
    Ok(Json(tree.ok_or_else(|| Problem::unavailable("the tree is starting"))?.into()))
}
