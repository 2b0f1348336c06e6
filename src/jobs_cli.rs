//! `mundotango jobs`: what operators see of the jobs of a running node, and what they do with them.

use std::fmt::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};

use crate::config::Config;
use crate::running_node::RunningNode;

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// Print the queues, or the jobs of one: the dead letters unless told otherwise.
    List(ListArgs),
    /// Print a job, and why it waits.
    Show(OneJob),
    /// Give a delayed job or a dead letter its turn now.
    Retry(OneJob),
    /// Take a job away for good.
    Drop(OneJob),
    /// Give no job of a queue its turn, on all nodes.
    Pause(OneQueue),
    /// Give jobs of a queue their turn again.
    Resume(OneQueue),
    /// Print the schedules by which jobs are made.
    Schedules,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The queue; all of them, in numbers, if absent.
    queue: Option<String>,
    /// Which of its jobs.
    #[arg(long, value_enum, default_value = "dead")]
    state: ListedState,
    /// Most jobs.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ListedState {
    Running,
    Waiting,
    Delayed,
    Dead,
}

impl ListedState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::Dead => "dead",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct OneJob {
    /// The job's id, as `list` prints it.
    id: String,
}

#[derive(Debug, Args)]
pub(crate) struct OneQueue {
    /// The queue.
    queue: String,
}

/// Has the node that runs on the data folder do it; what there is to say.
pub(crate) async fn run(config: &Config, command: &JobsCommand) -> anyhow::Result<String> {
    let node = RunningNode::of(config)?;
    let queue_path = |queue: &str| format!("/api/admin/jobs/queues/{}", in_path(queue));
    let job_path = |id: &str| format!("/api/admin/jobs/{}", in_path(id));
    match command {
        JobsCommand::List(ListArgs { queue: None, .. }) => {
            let queues = node.call(Method::GET, "/api/admin/jobs/queues", None).await?;
            Ok(table(
                &["name", "waiting", "running", "delayed", "dead", "paused", "concurrency"],
                queues.as_array().map(Vec::as_slice).unwrap_or_default(),
            ))
        }
        JobsCommand::List(ListArgs { queue: Some(queue), state, limit }) => {
            let path = format!("{}?state={}&limit={limit}", queue_path(queue), state.as_str());
            let page = node.call(Method::GET, &path, None).await?;
            let jobs = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let mut text = table(&["id", "kind", "state", "attempts", "rescues", "ended", "why"], jobs);
            if !page["nextCursor"].is_null() {
                // Writing into a string does not fail.
                let _ = write!(text, "\n… and more: --limit shows up to 100");
            }
            Ok(text)
        }
        JobsCommand::Show(OneJob { id }) => {
            let job = node.call(Method::GET, &job_path(id), None).await?;
            Ok(serde_json::to_string_pretty(&job)?)
        }
        JobsCommand::Retry(OneJob { id }) => {
            node.call(Method::POST, &format!("{}/retry", job_path(id)), None).await?;
            Ok(format!("{id} has its turn again"))
        }
        JobsCommand::Drop(OneJob { id }) => {
            node.call(Method::DELETE, &job_path(id), None).await?;
            Ok(format!("{id} is dropped; an attempt that is under way is stopped within a moment"))
        }
        JobsCommand::Pause(OneQueue { queue }) => {
            node.call(Method::PATCH, &queue_path(queue), Some(&json!({"paused": true}))).await?;
            Ok(format!("{queue} is paused"))
        }
        JobsCommand::Schedules => {
            let schedules = node.call(Method::GET, "/api/admin/jobs/schedules", None).await?;
            Ok(table(
                &["name", "cron", "interval", "timeZone", "nextAt", "lastAt", "fired", "missed"],
                schedules.as_array().map(Vec::as_slice).unwrap_or_default(),
            ))
        }
        JobsCommand::Resume(OneQueue { queue }) => {
            node.call(Method::PATCH, &queue_path(queue), Some(&json!({"paused": false}))).await?;
            Ok(format!("{queue} goes on"))
        }
    }
}

/// A text as one part of a path.
fn in_path(text: &str) -> String {
    percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string()
}

/// Rows with the fields of these names, under their names.
fn table(columns: &[&str], rows: &[Value]) -> String {
    let cell = |row: &Value, column: &str| match &row[column] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines = vec![columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()));
    let width = |index: usize| lines.iter().map(|line| line[index].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    let lines = lines.into_iter().map(|line| {
        let cells = line.into_iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_columns_that_stand_under_each_other() {
        let rows = [json!({"name": "email", "dead": 12}), json!({"name": "x", "dead": null})];
        assert_eq!(table(&["name", "dead"], &rows), "name   dead\nemail  12\nx      -");
    }
}
