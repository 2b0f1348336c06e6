//! Jobs of nodes that are killed, and of nodes that go.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::jobs::{LEFT_BEHIND, counted, counts, failures, in_state, job_of, path_of, sample, two_nodes_by};
use crate::mail::{Arrived, SmtpServer, by_smtp};
use crate::process::{Process, free_port, nats_server};
use crate::server::{Server, until};

/// Kills of a run, unless `MUNDOTANGO_KILLS` says otherwise.
const KILLS: usize = 20;
/// The same, of a cluster's.
const CLUSTER_KILLS: usize = 6;
/// Accounts that are made at the same time.
const REGISTRANTS: usize = 3;
/// The latest kill, after the first account of its round, in milliseconds.
const LATEST_KILL: u64 = 300;
/// Letters that a node sends at the same time, unless told otherwise.
const WORKERS: usize = 5;
/// How long the node may take to be done with all letters after the last kill.
const DONE_WITHIN: Duration = Duration::from_secs(45);
/// Longer than a test: the server's silence is the end of no attempt.
const PATIENT: &str = "50s";
/// How soon another node works on a job of one that was killed.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(8);
/// Letters that a node sent.
const SENT: &str = r#"background_jobs_total{job_type="link_letter",status="success"}"#;

/// Accounts that are made while something is killed.
#[derive(Default)]
struct Registering {
    next: Cell<usize>,
    /// The addresses of those that were acknowledged.
    acknowledged: RefCell<Vec<String>>,
    is_over: Cell<bool>,
}

impl Registering {
    /// Makes accounts until enough is killed, or the server is gone.
    async fn register(&self, server: &Server) {
        while !self.is_over.get() {
            let username = format!("user{}", self.next.replace(self.next.get() + 1));
            let email = format!("{username}@example.com");
            let body =
                json!({"email": email, "password": "abrazo-1234", "username": username, "fullName": "U"});
            match server.try_call(Method::POST, "/api/auth/register", None, Some(body)).await {
                Ok((StatusCode::CREATED, _)) => self.acknowledged.borrow_mut().push(email),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Makes accounts at some nodes, and kills something at a random moment.
    async fn while_killing(&self, nodes: &[&Server], kill: impl FnOnce()) {
        let before = self.acknowledged.borrow().len();
        self.is_over.set(false);
        let killing = async {
            // Never before there is something to lose.
            until("an account is made", async || (self.acknowledged.borrow().len() > before).then_some(()))
                .await;
            tokio::time::sleep(Duration::from_millis(rand::random::<u64>() % LATEST_KILL)).await;
            kill();
            self.is_over.set(true);
        };
        let all = nodes.iter().flat_map(|node| (0..REGISTRANTS).map(|_| self.register(node)));
        tokio::join!(killing, join_all(all));
    }

    /// Waits until all is sent, and counts what arrived: a letter for each account, and copies of some.
    async fn count(&self, server: &Server, mail: &SmtpServer, kills: usize) {
        let root = server.user("root", "admin");
        let acknowledged = self.acknowledged.take();
        let all_there = until("all letters are there", async || {
            let letters = by_recipient(mail);
            acknowledged.iter().all(|address| letters.contains_key(address)).then_some(())
        });
        // What is missing then is told below.
        drop(tokio::time::timeout(DONE_WITHIN, all_there).await);
        // What a node did not note as caused before it was killed is caused once more.
        tokio::time::sleep(LEFT_BEHIND).await;
        let [.., dead] = until("nothing is to be done", async || {
            Some(counts(server, &root).await).filter(|counts| counts[..3] == [0; 3])
        })
        .await;
        let letters = by_recipient(mail);
        let lost: Vec<_> = acknowledged.iter().filter(|address| !letters.contains_key(*address)).collect();
        assert!(lost.is_empty(), "{} of {} letters are lost: {lost:?}", lost.len(), acknowledged.len());
        assert_eq!(dead, 0, "every job ended well");
        for (address, copies) in &letters {
            let ids: Vec<_> = copies.iter().map(Arrived::message_id).collect();
            assert!(ids.iter().all(|id| *id == ids[0]), "{address} has letters of several jobs: {ids:?}");
        }
        let doubles: usize = letters.values().map(|copies| copies.len() - 1).sum();
        println!(
            "{kills} kills: {} accounts acknowledged, {} have a letter, {doubles} second copies, none lost",
            acknowledged.len(),
            letters.len()
        );
        assert!(doubles <= kills * WORKERS, "{doubles} second copies by {kills} kills");
    }
}

/// How often something is killed in this run.
fn kills_of_run(usual: usize) -> usize {
    std::env::var("MUNDOTANGO_KILLS").map_or(usual, |kills| kills.parse().unwrap())
}

/// The letters by their recipients.
fn by_recipient(mail: &SmtpServer) -> BTreeMap<String, Vec<Arrived>> {
    let mut by: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for letter in mail.letters() {
        by.entry(letter.to[0].clone()).or_default().push(letter);
    }
    by
}

/// A1: `kill -9` at random moments, while letters are caused and sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_no_letter_is_lost_or_doubled_by_kills() {
    let kills = kills_of_run(KILLS);
    let mail = SmtpServer::start();
    let mut server = Server::start_with(&by_smtp(&mail.port, PATIENT)).await;
    let registering = Registering::default();
    for _ in 0..kills {
        registering.while_killing(&[&server], || server.signal("KILL")).await;
        assert_eq!(server.wait_for_end().await.code(), None, "it was killed");
        server.start_again().await;
    }
    registering.count(&server, &mail, kills).await;
}

/// A1 in a cluster: the nodes are killed in turns, and so is the NATS server between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_no_letter_of_a_cluster_is_lost_by_kills_of_nodes_and_of_nats_and_others_take_over() {
    let kills = kills_of_run(CLUSTER_KILLS);
    let mail = SmtpServer::start();
    let port = free_port();
    let mut nats = Some(Process::start(&mut nats_server(&port)));
    let mut nodes = two_nodes_by(&format!("nats://127.0.0.1:{port}"), &mail).await;
    let registering = Registering::default();
    for kill in 0..kills {
        let both = [&nodes[0], &nodes[1]];
        match kill % 3 {
            2 => {
                registering.while_killing(&both, || drop(nats.take())).await;
                nats = Some(Process::start(&mut nats_server(&port)));
            }
            victim => {
                registering.while_killing(&both, || both[victim].signal("KILL")).await;
                assert_eq!(nodes[victim].wait_for_end().await.code(), None, "it was killed");
                nodes[victim].start_again().await;
            }
        }
    }
    registering.count(&nodes[0], &mail, kills).await;
    let mut sent = 0;
    for node in &nodes {
        sent += sample(node, SENT).await.unwrap_or(0);
    }
    assert!(sent > 0, "the nodes that are there now have sent letters");
    taken_over(nodes, &mail).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_node_that_was_killed_is_taken_up_within_a_second() {
    let mail = SmtpServer::start();
    let mut server = Server::start_with(&by_smtp(&mail.port, PATIENT)).await;
    let root = server.user("root", "admin");
    let ana = server.register("silent-ana").await;
    mail.copies("silent-ana", 1).await;
    let before = in_state(&server, &root, &ana, "running").await;
    assert_eq!((&before["rescues"], &before["attempts"]), (&json!(0), &json!(0)), "{before}");
    server.signal("KILL");
    assert_eq!(server.wait_for_end().await.code(), None, "it was killed");
    server.start_again().await;
    let ready = Instant::now();
    let after = until("the job is taken up", async || {
        let job = job_of(&server, &root, &ana).await?;
        (job["state"] == "running" && job["rescues"] == 1).then_some(job)
    })
    .await;
    let taken_up = ready.elapsed();
    assert_eq!(after["attempts"], 0, "a kill uses up no attempt: {after}");
    assert_ne!(after["holder"], before["holder"]);
    assert_eq!(failures(&after), ["its worker was lost"]);
    let copies = mail.copies("silent-ana", 2).await;
    assert_eq!(copies[0].message_id(), copies[1].message_id());
    assert!(taken_up < Duration::from_secs(1), "{taken_up:?}");
    println!("taken up {taken_up:?} after the node was ready");
}

/// Has one of two nodes killed in the middle of a letter, which the other then sends.
async fn taken_over(mut nodes: Vec<Server>, mail: &SmtpServer) {
    let root = nodes[0].user("root", "admin");
    let ana = nodes[0].register("silent-ana").await;
    mail.copies("silent-ana", 1).await;
    let before = in_state(&nodes[0], &root, &ana, "running").await;
    let (_, known) = nodes[0].get("/api/admin/system/nodes", &root).await;
    let known = known["items"].as_array().unwrap();
    let name = known.iter().find(|node| node["id"] == before["holder"]).unwrap()["name"].clone();
    let holder = nodes.iter().position(|node| node.address().to_string() == name).unwrap();
    let mut dying = nodes.remove(holder);
    dying.signal("KILL");
    let died = Instant::now();
    dying.wait_for_end().await;
    let other = &nodes[0];
    let after = until("the other takes it over", async || {
        let (status, job) = other.get(&path_of(&before), &root).await;
        (status == StatusCode::OK && job["holder"].is_string() && job["holder"] != before["holder"])
            .then_some(job)
    })
    .await;
    let taken_over = died.elapsed();
    assert_eq!((&after["rescues"], &after["attempts"]), (&json!(1), &json!(0)), "{after}");
    let copies = mail.copies("silent-ana", 2).await;
    assert_eq!(copies[0].message_id(), copies[1].message_id());
    assert!(taken_over < TAKEN_OVER_WITHIN, "{taken_over:?}");
    println!("taken over {taken_over:?} after the kill");
}

/// A12: an attempt that takes longer than the drain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a12_a_drain_gives_back_what_takes_too_long() {
    const DEADLINE: Duration = Duration::from_secs(10);
    let mail = SmtpServer::start();
    let settings =
        [&by_smtp(&mail.port, PATIENT)[..], &[("DRAIN__WINDOW", "1s"), ("DRAIN__DEADLINE", "10s")]].concat();
    let mut server = Server::start_with(&settings).await;
    let root = server.user("root", "admin");
    let ana = server.register("silent-ana").await;
    mail.copies("silent-ana", 1).await;
    let before = in_state(&server, &root, &ana, "running").await;
    let told = Instant::now();
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    let ended = told.elapsed();
    assert!(ended < DEADLINE, "{ended:?}");
    server.start_again().await;
    let after = until("the job has its turn again", async || {
        job_of(&server, &root, &ana).await.filter(|job| job["state"] == "running")
    })
    .await;
    assert_ne!(after["holder"], before["holder"]);
    assert_eq!((&after["attempts"], &after["rescues"]), (&json!(0), &json!(0)), "{after}");
    assert_eq!(failures(&after).len(), 0, "nothing failed");
    mail.copies("silent-ana", 2).await;
    println!("drained in {ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_what_ends_within_its_window() {
    let mail = SmtpServer::start();
    let settings =
        [&by_smtp(&mail.port, "2s")[..], &[("DRAIN__WINDOW", "6s"), ("DRAIN__DEADLINE", "10s")]].concat();
    let mut server = Server::start_with(&settings).await;
    let root = server.user("root", "admin");
    let ana = server.register("silent-ana").await;
    mail.copies("silent-ana", 1).await;
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    server.start_again().await;
    counted(&server, &root, [0, 0, 0, 1]).await;
    let job = in_state(&server, &root, &ana, "dead").await;
    let why = failures(&job);
    assert!(why.len() == 1 && why[0].contains("nobody knows"), "the node that went wrote it down: {why:?}");
    assert_eq!((mail.letters().len(), &job["rescues"]), (1, &json!(0)), "{job}");
}
