//! Jobs that are done right after their cause: nothing of them is in a queue, unless an operator holds it.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::jobs::sample;
use crate::server::{Server, User, until};

/// The queue of what members hear of.
const QUEUE: &str = "/api/admin/jobs/queues/notification";

async fn post(server: &Server, author: &User) {
    let (status, answer) = server.post("/api/posts", author, json!({"content": "Hola"})).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
}

async fn pause(server: &Server, root: &User, paused: bool) {
    let change = Some(json!({"paused": paused}));
    let (status, answer) = server.call(Method::PATCH, QUEUE, Some(&root.token), change).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

/// Jobs of a kind that were done.
async fn done(server: &Server, kind: &str) -> u64 {
    let name = format!("background_jobs_total{{job_type=\"{kind}\",status=\"success\"}}");
    sample(server, &name).await.unwrap_or_default()
}

/// Waits until what two posts cause was done so often.
async fn all_done(server: &Server, times: u64) {
    until("what posts cause is done", async || {
        let (noted, spread) = (done(server, "points_note").await, done(server, "timeline_post").await);
        ((noted, spread) == (times, times)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_light_is_done_without_a_queue_unless_that_is_held() {
    let server = Server::start().await;
    let (root, ana) = (server.user("root", "admin"), server.user("ana", "user"));
    // A node begins with its queues held, until it has looked at them.
    until("a post's jobs are not written down", async || {
        let writes = async || {
            sample(&server, "db_query_duration_seconds_count{query_type=\"write\",table=\"jobs\"}").await
        };
        let (before, so_far) = (writes().await, done(&server, "points_note").await);
        post(&server, &ana).await;
        all_done(&server, so_far + 1).await;
        (writes().await == before).then_some(())
    })
    .await;

    pause(&server, &root, true).await;
    // Keepers look each second, and light jobs are done until then.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let so_far = done(&server, "points_note").await;
    post(&server, &ana).await;
    let kinds = until("they wait for their turn", async || {
        let (_, page) = server.get(&format!("{QUEUE}?state=waiting"), &root).await;
        let mut kinds: Vec<_> = page["items"].as_array()?.iter().map(|job| job["kind"].clone()).collect();
        kinds.sort_by_key(Value::to_string);
        (kinds.len() == 2).then_some(kinds)
    })
    .await;
    assert_eq!(kinds, ["points_note", "timeline_post"]);
    assert_eq!(done(&server, "points_note").await, so_far, "nobody does them meanwhile");
    pause(&server, &root, false).await;
    all_done(&server, so_far + 1).await;
}
