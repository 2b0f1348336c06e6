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
