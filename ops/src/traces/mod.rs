//! Traces: which work belongs together, across tasks, nodes and jobs, and where the time of one piece of it went.
//!
//! A span is recorded only if its trace was chosen at its root ([`Span::root`]); everything below asks for the current
//! context, finds none, and goes on at the cost of one branch. Recorded spans go to a collector by OTLP.

mod context;
mod export;
mod options;
mod queue;
mod sampling;
mod send;
mod span;

pub(crate) use context::Hex;
pub use context::{NoTraceparent, TraceContext, Within, apart, carried, current, in_scope, within};
pub use export::{Instance, TracesError, flush, is_on, start};
pub use options::TracesOptions;
pub use sampling::{About, Always, Called, Target, choose_always, names_users};
pub use send::check as check_collector;
pub use span::{Kind, Recorded, Run, Span, Value};
