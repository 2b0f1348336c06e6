//! What operators see of jobs, and what they do with them: by the API, commands, and the configuration.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use mundotango::node_file::NodeFile;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::jobs::{
    QUEUE, change, counted, failures, in_state, job_of, path_of, pause, sample, two_nodes, workers,
    workers_in,
};
use crate::mail::{SmtpServer, by_smtp, files};
use crate::server::{Server, mundotango, until};

/// How soon what an admin says of a queue is in force.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(3);

/// The names of so many workers.
fn names_of(count: usize) -> BTreeSet<String> {
    (1..=count).map(|number| format!("email {number}")).collect()
}

/// Everything that can be asked of a job and its queue.
fn calls(job: &str) -> [(Method, String, Option<Value>); 6] {
    let queue = QUEUE.to_owned();
    [
        (Method::GET, "/api/admin/jobs/queues".to_owned(), None),
        (Method::GET, queue.clone(), None),
        (Method::PATCH, queue, Some(json!({"paused": false}))),
        (Method::GET, job.to_owned(), None),
        (Method::POST, format!("{job}/retry"), None),
        (Method::DELETE, job.to_owned(), None),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_admins_see_and_change_jobs() {
    let server = Server::start().await;
    let root = server.user("root", "admin");
    pause(&server, &root, true).await;
    let ana = server.register("ana").await;
    let job = path_of(&in_state(&server, &root, &ana, "waiting").await);
    for (method, path, body) in calls(&job) {
        let what = format!("{method} {path}");
        let (status, _) = server.call(method.clone(), &path, Some(&ana.token), body.clone()).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{what}");
        let (status, _) = server.call(method, &path, None, body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{what}");
    }
    counted(&server, &root, [1, 0, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_queue_gives_no_turn_and_its_jobs_say_why() {
    let server = Server::start().await;
    let root = server.user("root", "admin");
    pause(&server, &root, true).await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    counted(&server, &root, [2, 0, 0, 0]).await;
    let listed = in_state(&server, &root, &ana, "waiting").await;
    let (status, job) = server.get(&path_of(&listed), &root).await;
    assert_eq!((status, &job), (StatusCode::OK, &listed));
    let known = [&job["queue"], &job["kind"], &job["why"]];
    assert_eq!(known, ["email", "link_letter", "the queue is paused"], "{job}");
    let payload = &job["payload"];
    assert_eq!((&payload["user_id"], &payload["purpose"]), (&json!(ana.id), &json!("verify_email")), "{job}");
    assert_eq!(job["holder"], Value::Null, "{job}");
    let path = format!("{}/retry", path_of(&job));
    let (status, problem) = server.call(Method::POST, &path, Some(&root.token), None).await;
    assert_eq!(status, StatusCode::CONFLICT, "it waits already: {problem}");

    let (status, _) = server.call(Method::DELETE, &path_of(&job), Some(&root.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(job_of(&server, &root, &ana).await.is_none());
    for (method, path) in
        [(Method::GET, path_of(&job)), (Method::POST, path), (Method::DELETE, path_of(&job))]
    {
        let (status, _) = server.call(method, &path, Some(&root.token), None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    assert!(job_of(&server, &root, &ben).await.is_some());
    assert_eq!(files(&server).len(), 0);
    pause(&server, &root, false).await;
    counted(&server, &root, [0; 4]).await;
    let letters = files(&server);
    assert_eq!(letters.len(), 1);
    assert!(fs::read_to_string(&letters[0]).unwrap().contains("ben@example.com"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_meant_is_refused_with_every_wrong_field() {
    let server = Server::start().await;
    let root = server.user("root", "admin");
    let wrong = json!({"paused": "yes", "concurrency": 0, "groupRate": 3, "speed": 1});
    let (status, problem) = server.call(Method::PATCH, QUEUE, Some(&root.token), Some(wrong)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    let errors = problem["errors"].as_array().unwrap();
    let fields: BTreeSet<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!(
        fields.into_iter().collect::<Vec<_>>(),
        ["concurrency", "groupRate", "paused", "speed"],
        "{problem}"
    );
    let too_many = json!({"concurrency": 257});
    let (status, _) = server.call(Method::PATCH, QUEUE, Some(&root.token), Some(too_many)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    for query in ["state=asleep", "page=2", "sate=dead", "limit=101", "cursor=abc"] {
        let (status, problem) = server.get(&format!("{QUEUE}?{query}"), &root).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {problem}");
    }
    for path in ["queues/none", "email.0.nope", "email.9.nope", "none.0.nope", "nope"] {
        let (status, problem) = server.get(&format!("/api/admin/jobs/{path}"), &root).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_is_stopped_when_an_admin_drops_it() {
    let mail = SmtpServer::start();
    let server = Server::start_with(&by_smtp(&mail.port, "50s")).await;
    let root = server.user("root", "admin");
    let ana = server.register("silent-ana").await;
    mail.copies("silent-ana", 1).await;
    let job = in_state(&server, &root, &ana, "running").await;
    assert!(job["holder"].is_string() && job["runningSince"].is_string(), "{job}");
    let drop_it = async || {
        let (status, _) = server.call(Method::DELETE, &path_of(&job), Some(&root.token), None).await;
        status
    };
    assert_eq!(drop_it().await, StatusCode::ACCEPTED);
    let dead = in_state(&server, &root, &ana, "dead").await;
    assert_eq!((&dead["id"], &dead["ended"]), (&job["id"], &json!("cancelled")), "{dead}");
    counted(&server, &root, [0, 0, 0, 1]).await;
    assert_eq!(drop_it().await, StatusCode::NO_CONTENT);
    assert_eq!(drop_it().await, StatusCode::NOT_FOUND);
    counted(&server, &root, [0; 4]).await;
    assert_eq!(mail.letters().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_in_the_tree_and_an_admin_says_how_many() {
    let server = Server::start().await;
    let root = server.user("root", "admin");
    let before = workers(&server, &root).await;
    assert!(before.is_superset(&names_of(5)) && !before.contains("email 6"), "{before:?}");
    for other in ["email dispatcher", "email beats", "email outcomes 0", "email outcomes 3", "wakes"] {
        assert!(before.contains(other), "{other} is not in {before:?}");
    }
    assert_eq!(change(&server, &root, json!({"concurrency": 7})).await["concurrency"], 7);
    let said = Instant::now();
    until("there are more workers", async || {
        workers(&server, &root).await.is_superset(&names_of(7)).then_some(())
    })
    .await;
    assert!(said.elapsed() < IN_FORCE_WITHIN, "{:?}", said.elapsed());
    assert!(!workers(&server, &root).await.contains("email 8"));
    assert_eq!(change(&server, &root, json!({"concurrency": null})).await["concurrency"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_admin_says_of_a_queue_is_in_force_on_all_nodes() {
    let mail = SmtpServer::start();
    let nodes = two_nodes(&mail).await;
    let root = nodes[0].user("root", "admin");
    change(&nodes[0], &root, json!({"concurrency": 7})).await;
    for node in &nodes {
        until("there are more workers", async || {
            workers(node, &root).await.is_superset(&names_of(7)).then_some(())
        })
        .await;
    }
    pause(&nodes[1], &root, true).await;
    for number in 0..6 {
        nodes[number % 2].register(&format!("ok-{number}")).await;
    }
    counted(&nodes[0], &root, [6, 0, 0, 0]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    counted(&nodes[1], &root, [6, 0, 0, 0]).await;
    assert_eq!(mail.letters().len(), 0);
    pause(&nodes[0], &root, false).await;
    counted(&nodes[1], &root, [0; 4]).await;
    assert_eq!(mail.letters().len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_attempts_and_jobs() {
    let attempts =
        |kind: &str, status: &str| format!(r#"background_jobs_total{{job_type="{kind}",status="{status}"}}"#);
    let server = Server::start().await;
    for kind in ["link_letter", "promoted_letter"] {
        for status in ["success", "failed", "dead"] {
            assert_eq!(sample(&server, &attempts(kind, status)).await, Some(0), "{kind} {status}");
        }
    }
    for name in ["jobs_rescued_total", "job_attempts_lost_total"] {
        let name = format!(r#"{name}{{queue="email"}}"#);
        assert_eq!(sample(&server, &name).await, Some(0), "{name} is there before it counts");
    }
    server.register("ana").await;
    until("an attempt counts", async || {
        (sample(&server, &attempts("link_letter", "success")).await? == 1).then_some(())
    })
    .await;
    for state in ["waiting", "delayed", "running", "dead"] {
        let name = format!(r#"jobs_in_queue{{queue="email",state="{state}"}}"#);
        until(&name, async || (sample(&server, &name).await? == 0).then_some(())).await;
    }
    let delay = r#"job_start_delay_seconds_count{queue="email"}"#;
    assert_eq!(sample(&server, delay).await, Some(1));
}

/// What a command said, and its exit code.
fn told(data_dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        mundotango(data_dir, &[&["jobs"], arguments].concat()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.code(), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_shows_and_changes_jobs_of_the_running_node() {
    let mail = SmtpServer::start();
    let mut server = Server::start_with(&by_smtp(&mail.port, "2s")).await;
    let root = server.user("root", "admin");
    let ana = server.register("full-ana").await;
    let job = in_state(&server, &root, &ana, "dead").await;
    let id = job["id"].as_str().unwrap();
    let data_dir = server.data_dir();
    let jobs = |arguments: &[&str]| {
        let (code, text) = told(&data_dir, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
        text.trim_end().to_owned()
    };
    let rows = |arguments: &[&str]| -> Vec<Vec<String>> {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        jobs(arguments).lines().map(words).collect()
    };
    let queues = ["name", "waiting", "running", "delayed", "dead", "paused", "concurrency"];
    let others = ["notification", "push", "analytics", "payment", "series", "personal_data", "link_preview"];
    let others = others.map(|name| [name, "0", "0", "0", "0", "false", "-"]);
    let email = ["email", "0", "0", "0", "1", "false", "-"];
    assert_eq!(rows(&["list"]), [vec![queues, email], others.to_vec()].concat());
    let dead = ["id", "kind", "state", "attempts", "rescues", "ended", "why"];
    assert_eq!(rows(&["list", "email"]), [dead, [id, "link_letter", "dead", "1", "0", "failed", "-"]]);
    assert_eq!(rows(&["list", "email", "--state", "waiting"]), [dead]);
    let shown: Value = serde_json::from_str(&jobs(&["show", id])).unwrap();
    assert_eq!(shown, job);

    assert_eq!(jobs(&["pause", "email"]), "email is paused");
    assert_eq!(rows(&["list"])[1][5], "true");
    assert_eq!(jobs(&["retry", id]), format!("{id} has its turn again"));
    let waiting = jobs(&["list", "email", "--state", "waiting"]);
    assert!(waiting.contains(id) && waiting.contains("the queue is paused"), "{waiting}");
    assert_eq!(jobs(&["resume", "email"]), "email goes on");
    until("it failed again", async || {
        job_of(&server, &root, &ana).await.filter(|job| job["state"] == "dead" && failures(job).len() == 2)
    })
    .await;
    assert!(jobs(&["drop", id]).starts_with(&format!("{id} is dropped")));
    assert_eq!(rows(&["list", "email"]), [dead]);

    for (arguments, words) in [
        (&["show", id][..], "no such job"),
        (&["retry", id][..], "no such job"),
        (&["drop", "nonsense"][..], "no such job"),
        (&["pause", "none"][..], "no such queue"),
        (&["list", "none"][..], "no such queue"),
    ] {
        let (code, text) = told(&data_dir, arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
    assert_eq!(told(&data_dir, &["retry"]).0, Some(2), "what it is about is missing");

    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    let (code, text) = told(&data_dir, &["list"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no node runs on") && text.contains(data_dir.to_str().unwrap()), "{text}");
}

/// A node that ends with its test.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_workers_need_no_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (config, log) = (folder.path().join("config.toml"), folder.path().join("log"));
    let data_dir = folder.path().join("data");
    let set_workers = |count: usize| fs::write(&config, format!("[jobs]\nemail = {count}\n")).unwrap();
    set_workers(2);
    let output = fs::File::create(&log).unwrap();
    let node = mundotango(&data_dir, &["serve", "--listen", "127.0.0.1:0"])
        .arg("--config")
        .arg(&config)
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let node = Node(node);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let listen = until("the node is ready", async || {
        let listen = NodeFile::read(&data_dir)?.listen;
        let answer = http.get(format!("http://{listen}/api/health/ready")).send().await.ok()?;
        (answer.status() == StatusCode::OK).then_some(listen)
    })
    .await;
    let token =
        mundotango(&data_dir, &["token", "--user", "root", "--role", "admin", "--ttl", "1h"]).output();
    let token = String::from_utf8(token.unwrap().stdout).unwrap();
    let working = async || {
        let tree =
            http.get(format!("http://{listen}/api/admin/system/tree?limit=1000")).bearer_auth(token.trim());
        workers_in(&tree.send().await.unwrap().json().await.unwrap())
    };
    let hang_up = async |words: &str| {
        let pid = rustix::process::Pid::from_child(&node.0);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        until(words, async || fs::read_to_string(&log).unwrap().contains(words).then_some(())).await;
    };
    let before = working().await;
    assert!(before.is_superset(&names_of(2)) && !before.contains("email 3"), "{before:?}");
    set_workers(4);
    hang_up("log.filter and [jobs] read again").await;
    let after = until("four workers", async || {
        let workers = working().await;
        workers.is_superset(&names_of(4)).then_some(workers)
    })
    .await;
    assert!(!after.contains("email 5"), "{after:?}");
    // What cannot work changes nothing, and the node says so.
    set_workers(0);
    hang_up("configuration not usable, the one before stays").await;
    assert_eq!(working().await, after);
}
