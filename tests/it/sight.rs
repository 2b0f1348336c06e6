//! What dashboards and alerts ask, asked of a real Prometheus that scrapes three nodes under load.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cluster;
use crate::process::{Process, free_port};
use crate::sdk::{Sdk, SdkClient};
use crate::server::{Server, until};

/// How long the nodes have something to do before they are asked about: some scrapes of a second.
const LOAD: Duration = Duration::from_secs(8);

/// An expression, and where it stands.
struct Query {
    place: String,
    expression: String,
}

/// All expressions, as the project's own command prints them.
fn queries() -> Vec<Query> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["xtask", "sight", "--queries"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let query = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        Query { place: text("place"), expression: text("expr") }
    };
    lines.lines().filter(|line| line.starts_with('{')).map(query).collect()
}

/// A Prometheus that scrapes nodes each second and knows the project's rules.
struct Prometheus {
    _process: Process,
    _folder: tempfile::TempDir,
    url: String,
    http: reqwest::Client,
}

impl Prometheus {
    async fn start(nodes: &[Server]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let targets: Vec<_> = nodes.iter().map(|node| node.address().to_string()).collect();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/alerts/*.yml");
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": "mundotango", "static_configs": [{"targets": targets}]}],
        });
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config.to_string()).unwrap();
        let process = Process::start(
            Command::new("prometheus")
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}")),
        );
        let url = format!("http://127.0.0.1:{port}");
        let prometheus = Self { _process: process, _folder: folder, url, http: reqwest::Client::new() };
        until("Prometheus has scraped all nodes", async || {
            let up = prometheus.ask(r#"sum(up{job="mundotango"})"#).await.ok()?;
            (up[0]["value"][1].as_str()?.parse() == Ok(nodes.len())).then_some(())
        })
        .await;
        prometheus
    }

    /// The samples that an expression gives now, or why it gives none.
    async fn ask(&self, expression: &str) -> Result<Value, String> {
        let url =
            reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", expression)]);
        let answer = self.http.get(url.unwrap()).send().await.map_err(|error| error.to_string())?;
        let mut answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        if answer["status"] == "success" {
            Ok(answer["data"]["result"].take())
        } else {
            Err(answer.to_string())
        }
    }

    /// What is wrong with rules, by their names.
    async fn wrong_rules(&self) -> BTreeMap<String, String> {
        let answer = self.http.get(format!("{}/api/v1/rules", self.url)).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let groups = answer["data"]["groups"].as_array().unwrap();
        assert!(!groups.is_empty(), "{answer}");
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        let wrong = rules.filter(|rule| rule["health"] == "err");
        wrong.map(|rule| (rule["name"].to_string(), rule["lastError"].to_string())).collect()
    }
}

/// Does a little of everything at three nodes for a while.
async fn load(nodes: &[Server], name: &str) {
    let begin = tokio::time::Instant::now();
    let (host, guest) =
        (nodes[0].register(&format!("{name}-host")).await, nodes[1].register(&format!("{name}-guest")).await);
    let mut client = SdkClient::subscribed(Sdk::ALL[0], &nodes[2], &guest, "room:sight").await;
    let event = json!({
        "title": "Milonga", "eventDate": "2040-05-01T20:00:00Z", "eventType": "milonga", "location": "Salon Canning",
    });
    let mut round = 0;
    while begin.elapsed() < LOAD {
        round += 1;
        let (status, event) = nodes[round % 3].post("/api/events", &host, event.clone()).await;
        assert_eq!(status, StatusCode::CREATED, "{event}");
        let path = format!("/api/events/{}", event["id"].as_str().unwrap());
        for node in nodes {
            node.get(&path, &guest).await;
            node.get("/api/events", &guest).await;
        }
        nodes[0].post(&format!("{path}/rsvp"), &guest, json!({"status": "going"})).await;
        let (status, post) = nodes[1].post("/api/posts", &host, json!({"content": "hola"})).await;
        assert_eq!(status, StatusCode::CREATED, "{post}");
        let like = format!("/api/posts/{}/react", post["id"].as_str().unwrap());
        nodes[2].post(&like, &guest, json!({"reactionType": "heart"})).await;
        nodes[0].post("/api/life-ceo/chat", &guest, json!({"message": "hola"})).await;
        nodes[0].api("publish", json!({"channel": "room:sight", "data": {"n": round}})).await;
        client.publication().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expression_of_dashboards_and_alerts_is_answered_by_prometheus() {
    let nodes = cluster::start(3).await;
    let prometheus = Prometheus::start(&nodes).await;
    load(&nodes, &mundotango_protocol::new_id()[24..]).await;
    let queries = queries();
    let answers = join_all(queries.iter().map(|query| prometheus.ask(&query.expression))).await;
    let (mut wrong, mut empty) = (Vec::new(), Vec::new());
    for (Query { place, expression }, answer) in queries.iter().zip(answers) {
        match answer {
            Err(error) => wrong.push(format!("{place}: {expression}: {error}")),
            Ok(samples) => {
                // An alert that does not fire gives nothing.
                let is_panel = PANELS.contains(&place.as_str());
                if is_panel && samples.as_array().is_none_or(Vec::is_empty) {
                    empty.push(format!("{place}: {expression}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(empty.is_empty(), "nothing is shown by {empty:#?}");
    until("all rules were tried", async || prometheus.wrong_rules().await.is_empty().then_some(())).await;
    println!("{} expressions, all answered", queries.len());
}

/// The dashboards, whose panels all have something to show.
const PANELS: [&str; 6] = ["Application", "Business", "Realtime", "Cluster", "Jobs", "Agents"];
