//! What requests and answers about cases of all workflows have in common.

use deserr::Deserr;
use mundotango_gateway::input::{BadFields, Choice, Given, Maybe, Time, Whole};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::desk::{Case, Kept};
use super::work::State;
use crate::texts::{Id, Reason};

/// The version that a caller saw.
pub(super) type Version = Given<Whole<0, { u32::MAX }>>;

/// The number of a version.
pub(super) fn number(version: Version) -> Option<u64> {
    version.0.map(|version| version.get().into())
}

/// Who is to work on it.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase")]
pub(super) struct AssignBody {
    /// A moderator or an admin; the caller if absent.
    #[deserr(default)]
    #[schema(value_type = Option<Id>)]
    pub(super) assignee_id: Maybe<Id>,
    /// The version that the caller saw: where there is another one by now, nothing is done.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 0, required = false)]
    pub(super) version: Version,
}

/// Something is done, for a reason if one is given.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct StepBody {
    /// Why.
    #[deserr(default)]
    #[schema(value_type = Option<Reason>)]
    pub(super) reason: Maybe<Reason>,
    /// The version that the caller saw: where there is another one by now, nothing is done.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 0, required = false)]
    pub(super) version: Version,
}

/// Something is done for a reason.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub(super) struct ReasonBody {
    /// Why.
    pub(super) reason: Reason,
    /// The version that the caller saw: where there is another one by now, nothing is done.
    #[deserr(default)]
    #[schema(value_type = u32, minimum = 0, required = false)]
    pub(super) version: Version,
}

/// What a queue is narrowed to.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct QueueQuery {
    /// Only those that stand so.
    #[deserr(default)]
    #[param(value_type = Option<State>, inline)]
    pub(super) state: Option<Choice<State>>,
    /// Only those that this user works on.
    #[deserr(default)]
    #[param(value_type = Option<Id>, inline)]
    pub(super) assignee: Option<Id>,
}

impl QueueQuery {
    /// Whether a case is as wanted.
    pub(super) fn holds<C: Case>(&self) -> impl Fn(&Kept<C>) -> bool + Send + Sync + 'static {
        as_wanted(self.state, self.assignee.as_ref())
    }
}

/// Whether a case stands so and this user works on it, as far as that is said.
pub(super) fn as_wanted<C: Case>(
    state: Option<Choice<State>>,
    assignee: Option<&Id>,
) -> impl Fn(&Kept<C>) -> bool + Send + Sync + 'static + use<C> {
    let (state, assignee) = (state.map(|state| state.0), assignee.cloned().map(Id::into_string));
    move |case| {
        state.is_none_or(|state| case.work.state == state)
            && (assignee.is_none() || case.work.assignee == assignee)
    }
}

/// How a case stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkBody {
    state: State,
    /// Who works on it, or did last; null also for those who do not work on cases.
    #[schema(required = true)]
    assignee_id: Option<String>,
    created_at: Time,
    /// When it changed last.
    changed_at: Time,
    /// Until when something is to be done.
    due: Time,
    /// Whether that is over and it is not done.
    overdue: bool,
    /// Rises with each change.
    version: u64,
}

impl WorkBody {
    /// As members of the staff see it, or others.
    pub(super) fn new<C: Case>(case: &Kept<C>, is_staff: bool, now: jiff::Timestamp) -> Self {
        Self {
            state: case.work.state,
            assignee_id: case.work.assignee.clone().filter(|_| is_staff),
            created_at: case.opened_at().into(),
            changed_at: case.changed_at().into(),
            due: case.due().into(),
            overdue: !case.work.is_done() && case.due() <= now,
            version: case.work.version,
        }
    }
}
