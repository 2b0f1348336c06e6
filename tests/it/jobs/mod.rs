//! Jobs on a whole server, seen by the letters that they are for.

mod kills;
mod light;
mod operators;

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cluster::{service, settings, start_with, with};
use crate::mail::{SmtpServer, by_smtp};
use crate::server::{Server, User, until};

/// The queue of letters.
pub const QUEUE: &str = "/api/admin/jobs/queues/email";
/// Longer than it takes until effects that were left behind are looked for, and carried out.
pub const LEFT_BEHIND: Duration = Duration::from_secs(9);

/// Jobs of letters that wait, are delayed, run, and are dead.
pub async fn counts(server: &Server, root: &User) -> [u64; 4] {
    let (status, queues) = server.get("/api/admin/jobs/queues", root).await;
    assert_eq!(status, StatusCode::OK, "{queues}");
    let queue = queues.as_array().unwrap().iter().find(|queue| queue["name"] == "email").unwrap();
    ["waiting", "delayed", "running", "dead"].map(|state| queue[state].as_u64().unwrap())
}

/// Waits until so many jobs wait, are delayed, run, and are dead.
pub async fn counted(server: &Server, root: &User, wanted: [u64; 4]) {
    let what = format!("{wanted:?} jobs wait, are delayed, run, and are dead");
    until(&what, async || (counts(server, root).await == wanted).then_some(())).await;
}

/// The job for a user, in whatever state; none while it moves from one to another.
pub async fn job_of(server: &Server, root: &User, user: &User) -> Option<Value> {
    for state in ["running", "waiting", "delayed", "dead"] {
        let (status, page) = server.get(&format!("{QUEUE}?state={state}&limit=100"), root).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let mut jobs = page["items"].as_array().unwrap().iter();
        if let Some(job) = jobs.find(|job| job["payload"]["user_id"] == user.id) {
            return Some(job.clone());
        }
    }
    None
}

/// Waits until the job for a user is in a state.
pub async fn in_state(server: &Server, root: &User, user: &User, state: &str) -> Value {
    until(&format!("the job is {state}"), async || {
        job_of(server, root, user).await.filter(|job| job["state"] == state)
    })
    .await
}

/// The address of a job.
pub fn path_of(job: &Value) -> String {
    format!("/api/admin/jobs/{}", job["id"].as_str().unwrap())
}

/// Gives a job its turn again.
pub async fn retry(server: &Server, root: &User, job: &Value) {
    let path = format!("{}/retry", path_of(job));
    let (status, answer) = server.call(Method::POST, &path, Some(&root.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
}

/// Pauses or resumes the queue.
pub async fn pause(server: &Server, root: &User, paused: bool) {
    let queue = change(server, root, json!({"paused": paused})).await;
    assert_eq!(queue["paused"], paused, "{queue}");
}

/// Changes the queue; how it is then.
pub async fn change(server: &Server, root: &User, change: Value) -> Value {
    let (status, queue) = server.call(Method::PATCH, QUEUE, Some(&root.token), Some(change)).await;
    assert_eq!(status, StatusCode::OK, "{queue}");
    queue
}

/// Why the attempts at a job failed.
pub fn failures(job: &Value) -> Vec<&str> {
    job["failures"].as_array().unwrap().iter().map(|failure| failure["why"].as_str().unwrap()).collect()
}

/// The value of a metric, given with its labels.
async fn sample(server: &Server, name: &str) -> Option<u64> {
    let answer = server.http.get(server.url("/metrics")).send().await.unwrap();
    let text = answer.text().await.unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Those who work on jobs, by a supervision tree.
fn workers_in(tree: &Value) -> BTreeSet<String> {
    let keepers = tree["children"].as_array().unwrap();
    let pools = keepers.iter().find(|keeper| keeper["name"] == "pools").unwrap();
    let names = pools["children"].as_array().unwrap().iter();
    names.map(|worker| worker["name"].as_str().unwrap().to_owned()).collect()
}

/// Those who work on jobs at a node.
async fn workers(server: &Server, root: &User) -> BTreeSet<String> {
    let (status, tree) = server.get("/api/admin/system/tree?limit=1000", root).await;
    assert_eq!(status, StatusCode::OK, "{tree}");
    workers_in(&tree)
}

/// Two nodes that send letters to a server.
async fn two_nodes(mail: &SmtpServer) -> Vec<Server> {
    two_nodes_by(&service("MUNDOTANGO_TEST_NATS"), mail).await
}

/// The same, where they talk to each other by a NATS server of the test's own.
async fn two_nodes_by(nats: &str, mail: &SmtpServer) -> Vec<Server> {
    // Jobs in a keyspace are done by any cluster on it.
    let keyspace = format!("jobs_{}", mundotango_protocol::new_id().replace('-', ""));
    let mut settings = with(&settings(), "CLUSTER__CQL__KEYSPACE", &keyspace);
    settings = with(&settings, "CLUSTER__NATS", nats);
    for (name, value) in by_smtp(&mail.port, "50s") {
        settings = with(&settings, name, value);
    }
    start_with(&settings, 2).await
}
