//! Three devices read, say that something is unread, and delete at random: what is unread is what a recount says.

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};

use super::{acquainted, done, listed, of, register_all, say};
use crate::server::{Server, User};

/// What a run begins with, unless `MUNDOTANGO_READS_SEED` says otherwise.
const SEED: u64 = 61;
const ROUNDS: usize = 12;

#[derive(Clone, Debug)]
enum Step {
    Say(bool),
    Delete(u64),
    Read(u64),
    Unread(u64),
}

async fn carry_out(server: &Server, chat: &str, ana: &User, ben: &User, step: Step) {
    match step {
        Step::Say(by_ben) => drop(say(server, chat, if by_ben { ben } else { ana }, "x").await),
        Step::Delete(seq) => {
            // It may be the other one's.
            let path = of(chat, &format!("messages/{seq}"));
            server.call(Method::DELETE, &path, Some(&ana.token), None).await;
        }
        Step::Read(seq) => drop(done(server, Method::PUT, &of(chat, "read"), ben, json!({"seq": seq})).await),
        Step::Unread(seq) => {
            drop(done(server, Method::PUT, &of(chat, "unread"), ben, json!({"seq": seq})).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unread_on_three_devices_equals_a_recount() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben"]).await;
    let [ana, ben] = users.as_slice() else { unreachable!() };
    let chat = acquainted(&server, ana, ben).await;
    let seed = std::env::var("MUNDOTANGO_READS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..ROUNDS {
        let devices = (0..3).map(|_| {
            let steps = (0..5).map(|_| {
                let seq = random.random_range(1..=(round as u64 * 5 + 1));
                match random.random_range(0..10) {
                    0..4 => Step::Say(false),
                    4..5 => Step::Say(true),
                    5..6 => Step::Delete(seq),
                    6..9 => Step::Read(seq),
                    _ => Step::Unread(seq),
                }
            });
            let steps: Vec<_> = steps.collect();
            let (server, chat) = (&server, &chat);
            async move {
                for step in steps {
                    carry_out(server, chat, ana, ben, step).await;
                }
            }
        });
        join_all(devices.collect::<Vec<_>>()).await;
        let all =
            done(&server, Method::GET, &of(&chat, "messages?after=0&limit=200"), ben, Value::Null).await;
        let seen =
            done(&server, Method::GET, &format!("/api/chat/conversations/{chat}"), ben, Value::Null).await;
        let read = seen["readSeq"].as_u64().unwrap();
        let recount = all["items"].as_array().unwrap().iter().filter(|message| {
            message["seq"].as_u64().unwrap() > read
                && message["authorId"] != json!(ben.id)
                && message["deleted"] == false
        });
        let recount = recount.count();
        assert_eq!(
            (&seen["unread"], &seen["unreadIsCapped"]),
            (&json!(recount), &json!(false)),
            "seed {seed}, round {round}"
        );
        let listed = listed(&server, ben, "inbox").await.remove(&chat).unwrap();
        assert_eq!(listed["unread"], json!(recount), "seed {seed}, round {round}");
    }
}

/// Steps of a day on three devices, and for how many days.
const OF_A_DAY: usize = 20;
const DAYS: usize = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_week_of_reading_and_taking_back_on_three_devices_ends_as_a_model_says() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben"]).await;
    let [ana, ben] = users.as_slice() else { unreachable!() };
    let chat = acquainted(&server, ana, ben).await;
    let path = format!("/api/chat/conversations/{chat}");
    let seed = std::env::var("MUNDOTANGO_READS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let mut random = StdRng::seed_from_u64(seed);
    let put = async |part: &str, body: Value| done(&server, Method::PUT, &of(&chat, part), ben, body).await;
    // The version that each device has heard of; the last message, and the marker with its version.
    let (mut known, mut last, mut read, mut version) = ([0_u64; 3], 0_u64, 0_u64, 0_u64);
    for step in 0..DAYS * OF_A_DAY {
        let device = random.random_range(0..3_usize);
        let seq = random.random_range(1..=last + 2);
        let answer = match random.random_range(0..10) {
            0..3 => {
                say(&server, &chat, ana, "x").await;
                last += 1;
                continue;
            }
            // It comes online.
            3..5 => done(&server, Method::GET, &path, ben, Value::Null).await,
            5..8 => {
                if known[device] == version {
                    read = read.max(seq.min(last));
                }
                put("read", json!({"seq": seq, "version": known[device]})).await
            }
            8 => {
                read = read.max(seq.min(last));
                put("read", json!({"seq": seq})).await
            }
            _ => {
                if seq - 1 < read {
                    (read, version) = (seq - 1, version + 1);
                }
                put("unread", json!({"seq": seq})).await
            }
        };
        known[device] = answer["readVersion"].as_u64().unwrap();
        assert_eq!(
            (&answer["readSeq"], &answer["readVersion"], &answer["unread"]),
            (&json!(read), &json!(version), &json!((last - read).min(100))),
            "seed {seed}, step {step}"
        );
    }
    assert!(version > 0, "seed {seed}: something was taken back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_read_does_not_undo_what_was_said_to_be_unread_and_a_newer_one_does() {
    let server = Server::start().await;
    let users = register_all(&server, &["ana", "ben"]).await;
    let [ana, ben] = users.as_slice() else { unreachable!() };
    let chat = acquainted(&server, ana, ben).await;
    for _ in 0..5 {
        say(&server, &chat, ana, "x").await;
    }
    let put = async |part: &str, body: Value| {
        let answer = done(&server, Method::PUT, &of(&chat, part), ben, body).await;
        ["readSeq", "readVersion", "unread"].map(|field| answer[field].as_u64().unwrap())
    };
    assert_eq!(put("read", json!({"seq": 4, "version": 0})).await, [4, 0, 1]);
    assert_eq!(put("unread", json!({"seq": 3})).await, [2, 1, 3]);
    assert_eq!(put("unread", json!({"seq": 3})).await, [2, 1, 3], "said twice is said once");
    assert_eq!(put("read", json!({"seq": 5, "version": 0})).await, [2, 1, 3], "it was read before");
    assert_eq!(put("read", json!({"seq": 5, "version": 1})).await, [5, 1, 0]);
}
