//! Conversations with agents on three nodes whose owners die and freeze.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cluster::start;
use crate::sdk::{Sdk, SdkClient};
use crate::server::{Server, User, until};

async fn say(node: &Server, user: &User, body: Value) -> Value {
    let (status, answer) = node.post("/api/life-ceo/chat", user, body).await;
    assert!(status == StatusCode::OK || status == StatusCode::ACCEPTED, "{status}: {answer}");
    answer
}

async fn turns(node: &Server, user: &User, conversation: &str) -> Vec<Value> {
    let path = format!("/api/life-ceo/conversations/{conversation}/turns?limit=100");
    let (status, page) = node.get(&path, user).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    page["items"].as_array().unwrap().clone()
}

/// The node that owns a conversation: the one whose metrics count its actor.
async fn owner_of(nodes: &[Server]) -> usize {
    let owners = until("somebody owns it", async || {
        let mut owners = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            let metrics = node.http.get(node.url("/metrics")).send().await.ok()?.text().await.ok()?;
            if metrics.lines().any(|line| line == "owned_actors_active 1") {
                owners.push(number);
            }
        }
        (!owners.is_empty()).then_some(owners)
    })
    .await;
    assert_eq!(owners.len(), 1, "one owner");
    owners[0]
}

fn is_whole(turns: &[Value]) {
    for (index, turn) in turns.iter().enumerate() {
        assert_eq!(turn["number"], index as u64 + 1);
        assert_eq!(turn["speaker"], if index % 2 == 0 { "user" } else { "agent" });
        assert_eq!(turn["finished"], true, "{turn}");
    }
}

/// G18: the owner dies in mid-answer; the next one finishes it, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g18_an_answer_outlives_its_owner() {
    let mut nodes = start(3).await;
    let ana = nodes[0].user("ana", "user");
    let begun = say(&nodes[0], &ana, json!({"message": "Where do I dance?", "agentId": "travel"})).await;
    assert_eq!(begun["finished"], true);
    let id = begun["conversationId"].as_str().unwrap().to_owned();
    let stranger = nodes[0].user("beto", "user");
    let path = format!("/api/life-ceo/conversations/{id}/turns");
    assert_eq!(nodes[0].get(&path, &stranger).await.0, StatusCode::NOT_FOUND);

    let owner = owner_of(&nodes).await;
    let dying = nodes.remove(owner);
    let channel = begun["channel"].as_str().unwrap();
    let mut watching = SdkClient::subscribed(Sdk::JavaScriptJson, &nodes[0], &ana, channel).await;
    let second =
        json!({"message": "And tomorrow?", "conversationId": id, "turnId": "second", "stream": true});
    say(&nodes[0], &ana, second.clone()).await;
    // The answer streams from the owner to the device at another node.
    while watching.publication().await["type"] != "agent.delta" {}
    dying.signal("KILL");
    let died = Instant::now();
    // The client is not sure that it was heard, and says it again.
    say(&nodes[1], &ana, second).await;
    let taken_over = died.elapsed();
    let whole = until("the answer is whole", async || {
        let turns = turns(&nodes[1], &ana, &id).await;
        (turns.len() == 4 && turns[3]["finished"] == true).then_some(turns)
    })
    .await;
    is_whole(&whole);
    assert_eq!(whole[2]["content"], "And tomorrow?");
    // What the device put together from the pieces is what was said.
    let mut said = String::new();
    loop {
        let message = watching.publication().await;
        match message["type"].as_str().unwrap() {
            "agent.turn" if message["turn"]["number"] == 4 && message["turn"]["finished"] == true => break,
            "agent.delta" if message["number"] == 4 => {
                let from = usize::try_from(message["from"].as_u64().unwrap()).unwrap();
                assert!(from <= said.len() || said.is_empty(), "nothing is missing");
                if said.is_empty() {
                    // Pieces before the one that was waited for.
                    said = whole[3]["content"].as_str().unwrap()[..from].to_owned();
                }
                said.truncate(from);
                said.push_str(message["text"].as_str().unwrap());
            }
            _ => {}
        }
    }
    assert_eq!(said, whole[3]["content"].as_str().unwrap());
    assert!(taken_over < Duration::from_secs(7), "{taken_over:?}");
    println!("the next turn was taken {taken_over:?} after the owner's death");
}

/// G17: an owner that is frozen while another takes over writes nothing when it wakes up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g17_a_frozen_owner_writes_nothing_late() {
    let nodes = start(3).await;
    let ana = nodes[0].user("ana", "user");
    let begun = say(&nodes[0], &ana, json!({"message": "One", "agentId": "sleep"})).await;
    let id = begun["conversationId"].as_str().unwrap().to_owned();
    let owner = owner_of(&nodes).await;
    let other = &nodes[(owner + 1) % 3];
    // It freezes in the middle of an answer.
    let two = json!({"message": "Two", "conversationId": id, "turnId": "two", "stream": true});
    say(other, &ana, two.clone()).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    nodes[owner].signal("STOP");
    let frozen = Instant::now();
    let answer = loop {
        // Who says it again with the same name is safe.
        let (status, answer) = other.post("/api/life-ceo/chat", &ana, two.clone()).await;
        if status != StatusCode::SERVICE_UNAVAILABLE {
            break answer;
        }
        assert!(frozen.elapsed() < Duration::from_secs(30), "{answer}");
    };
    let taken_over = frozen.elapsed();
    assert_eq!(answer["conversationId"], id.as_str());
    let whole = until("the answer is whole", async || {
        let turns = turns(other, &ana, &id).await;
        (turns.len() == 4 && turns[3]["finished"] == true).then_some(turns)
    })
    .await;
    is_whole(&whole);
    nodes[owner].signal("CONT");
    until("the old owner knows", async || {
        nodes[owner].log().contains("another node owns it now").then_some(())
    })
    .await;
    assert_eq!(turns(other, &ana, &id).await, whole, "nothing came late");
    let three = say(&nodes[owner], &ana, json!({"message": "Three", "conversationId": id})).await;
    assert_eq!(three["finished"], true);
    is_whole(&turns(other, &ana, &id).await);
    println!("taken over {taken_over:?} after the freeze");
}

/// Who only reads the beginning of a conversation whose owner died in mid-answer has the answer finished, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_any_page_has_an_answer_that_was_cut_off_finished() {
    let mut nodes = start(3).await;
    let ana = nodes[0].user("ana", "user");
    let begun = say(&nodes[0], &ana, json!({"message": "One", "agentId": "travel"})).await;
    let id = begun["conversationId"].as_str().unwrap().to_owned();
    let dying = nodes.remove(owner_of(&nodes).await);
    let channel = begun["channel"].as_str().unwrap();
    let mut watching = SdkClient::subscribed(Sdk::JavaScriptJson, &nodes[0], &ana, channel).await;
    say(&nodes[0], &ana, json!({"message": "Two", "conversationId": id, "stream": true})).await;
    while watching.publication().await["type"] != "agent.delta" {}
    dying.signal("KILL");
    let first_page = format!("/api/life-ceo/conversations/{id}/turns?limit=1");
    until("the conversation is woken by its first page", async || {
        let (status, page) = nodes[1].get(&first_page, &ana).await;
        // Until the dead owner's lease is over, nobody can be asked.
        (status == StatusCode::OK).then(|| assert_eq!(page["items"][0]["content"], "One"))
    })
    .await;
    // Told by the channel alone: reading the turns would wake it as well.
    loop {
        let message = watching.publication().await;
        if message["type"] == "agent.turn"
            && message["turn"]["number"] == 4
            && message["turn"]["finished"] == true
        {
            break;
        }
    }
    is_whole(&turns(&nodes[1], &ana, &id).await);
}
