//! The agents: what each is there for.

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use mundotango_gateway::input::BadFields;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// One agent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agent {
    /// Its id in paths and bodies.
    pub(super) id: &'static str,
    /// What it opens an answer with.
    pub(super) greeting: &'static str,
}

const fn agent(id: &'static str, greeting: &'static str) -> Agent {
    Agent { id, greeting }
}

/// The agent who asks the others.
pub(super) const COORDINATOR: Agent = agent("coordinator", "About all of it:");

/// All agents.
pub(super) const AGENTS: [Agent; 16] = [
    agent("career", "About your work:"),
    agent("health", "About your health:"),
    agent("finance", "About your money:"),
    agent("relationships", "About the people around you:"),
    agent("learning", "About what you learn:"),
    agent("creativity", "About what you make:"),
    agent("home", "About your home:"),
    agent("travel", "About your travels:"),
    agent("mindfulness", "About your calm:"),
    agent("entertainment", "About your free time:"),
    agent("productivity", "About getting things done:"),
    agent("fitness", "About your fitness:"),
    agent("nutrition", "About what you eat:"),
    agent("sleep", "About your sleep:"),
    agent("stress", "About what weighs on you:"),
    COORDINATOR,
];

/// The agent with this id.
pub(super) fn find(id: &str) -> Option<Agent> {
    AGENTS.into_iter().find(|agent| agent.id == id)
}

/// An agent is named by its id.
impl Deserr<BadFields> for Agent {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        let Value::String(id) = value else { return Err(BadFields::wrong_type(&value, "a text", at)) };
        find(&id).ok_or_else(|| BadFields::not_allowed(at, &AGENTS.map(|agent| agent.id)))
    }
}

impl PartialSchema for Agent {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(AGENTS.map(|agent| agent.id))).into()
    }
}

impl ToSchema for Agent {
    fn name() -> std::borrow::Cow<'static, str> {
        "AgentId".into()
    }
}

/// What an agent answers, in the pieces in which it is said: a script that speaks of what the user said.
pub(super) fn script(agent: &str, said: &str) -> Vec<String> {
    let greeting = find(agent).map_or("", |agent| agent.greeting);
    let words = said.split_whitespace().count();
    let text = format!(
        "{greeting} you said \"{said}\", in {words} words. I have written that down, and nothing of it will be lost. \
         Tell me more whenever you like, on any of your devices: this conversation goes on where it stands."
    );
    text.split_inclusive(' ').map(str::to_owned).collect()
}
