//! What nodes say of recovery, wherever a stream was published.

use serde_json::{Value, json};

use crate::cluster::start;
use crate::server::{ROOM, Server};

/// G3: a node says that a stream was recovered only where it was, whoever published it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g3_no_node_says_recovered_where_something_is_missing() {
    /// What the namespace of the tests keeps.
    const KEPT: u64 = 1000;
    let nodes = start(2).await;
    let ana = nodes[0].user("ana", "user");
    let publish = async |count: u64| {
        let commands: Vec<_> =
            (0..count).map(|number| json!({"publish": {"channel": "room:a", "data": number}})).collect();
        for some in commands.chunks(100) {
            let body = json!({"commands": some});
            let replies = nodes[0].api("batch", body).await;
            assert!(replies["replies"].as_array().unwrap().iter().all(|reply| reply["error"].is_null()));
        }
    };
    publish(3).await;
    let history = async |node: &Server| {
        node.api("history", json!({"channel": "room:a", "limit": 0})).await["result"].clone()
    };
    let at = history(&nodes[1]).await;
    let (offset, epoch) = (at["offset"].as_u64().unwrap(), at["epoch"].as_str().unwrap().to_owned());
    let recover = async |offset: u64, epoch: &str| {
        let body = json!({"channel": "room:a", "recover": true, "offset": offset, "epoch": epoch});
        nodes[1].subscribe_once(&ana, body).await
    };
    let whole = async |count: u64| {
        let result = recover(offset, &epoch).await;
        assert_eq!(
            (&result["recovered"], result["publications"].as_array().map_or(0, Vec::len) as u64),
            (&json!(true), count)
        );
    };
    let told = async |offset: u64, epoch: &str| {
        let result = recover(offset, epoch).await;
        assert_eq!(
            (&result["was_recovering"], &result["recovered"]),
            (&json!(true), &Value::Null),
            "{result}"
        );
        assert!(result["publications"].is_null(), "{result}");
        let top = history(&nodes[0]).await;
        assert_eq!((&result["offset"], &result["epoch"]), (&top["offset"], &top["epoch"]));
    };
    whole(0).await;
    publish(5).await;
    whole(5).await;
    told(offset + 1_000_000, &epoch).await;
    told(offset, "another").await;
    publish(KEPT).await;
    told(offset, &epoch).await;
    nodes[0].api("history_remove", json!({"channel": "room:a"})).await;
    told(offset, &epoch).await;
    told(history(&nodes[0]).await["offset"].as_u64().unwrap() - 1, &epoch).await;
}

/// What a namespace keeps for long is there when what was hot is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_histories_outlive_what_is_hot() {
    const HOT: &str = "10";
    const PUBLISHED: u64 = 50;
    let settings: Vec<_> =
        ROOM.iter().copied().filter(|(name, _)| !name.ends_with("__HISTORY_SIZE")).collect();
    let long = [
        ("CHANNELS__NAMESPACES__ROOM__HISTORY_SIZE", HOT),
        ("CHANNELS__NAMESPACES__ROOM__HISTORY_ARCHIVE_TTL", "8760h"),
    ];
    let mut node = Server::start_with(&[&settings[..], &long].concat()).await;
    let ana = node.user("ana", "user");
    for number in 1..=PUBLISHED {
        let published = node.api("publish", json!({"channel": "room:a", "data": number})).await;
        assert_eq!(published["result"]["offset"], number, "{published}");
    }
    let read = async |node: &Server| {
        let history = node.api("history", json!({"channel": "room:a", "limit": 100})).await["result"].take();
        let publications = history["publications"].as_array().unwrap().iter();
        let data: Vec<_> = publications.map(|publication| publication["data"].as_u64().unwrap()).collect();
        (data, history["offset"].as_u64().unwrap(), history["epoch"].as_str().unwrap().to_owned())
    };
    let all: Vec<_> = (1..=PUBLISHED).collect();
    let (data, top, epoch) = read(&node).await;
    assert_eq!((&data, top), (&all, PUBLISHED));
    let recover = json!({"channel": "room:a", "recover": true, "offset": 5, "epoch": epoch});
    let recovered = node.subscribe_once(&ana, recover.clone()).await;
    assert_eq!(recovered["recovered"], true, "{recovered}");
    assert_eq!(recovered["publications"].as_array().unwrap().len(), all.len() - 5);

    node.signal("KILL");
    node.wait_for_end().await;
    node.start_again().await;
    let (data, top_after, epoch_after) = read(&node).await;
    assert_eq!(data, all, "each was acknowledged");
    assert!(epoch_after != epoch && top_after > top, "nothing gets a place that another had");
    let recovered = node.subscribe_once(&ana, recover).await;
    assert!(
        recovered["recovered"].is_null(),
        "some may have been read that were never acknowledged: {recovered}"
    );
    let next = node.api("publish", json!({"channel": "room:a", "data": PUBLISHED + 1})).await;
    assert_eq!(next["result"]["offset"], top_after + 1);
    assert_eq!(read(&node).await.0.len(), all.len() + 1);
}
