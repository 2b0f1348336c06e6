//! Following, friends and blocks, as three people meet them on a whole server.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cluster;
use crate::housing::{room_body, stay_body};
use crate::sdk::{Sdk, SdkClient};
use crate::server::{Server, User, until};

/// The word of a change reaches other nodes sooner than what they keep is too old by itself.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Begins something (`PUT`) with another user; how they stand to each other then.
pub async fn begin(server: &Server, user: &User, other: &User, what: &str) -> Value {
    let path = format!("/api/users/{}/{what}", other.id);
    let (status, answer) = server.call(Method::PUT, &path, Some(&user.token), None).await;
    assert_eq!(status, StatusCode::OK, "{what}: {answer}");
    answer
}

pub async fn end(server: &Server, user: &User, other: &User, what: &str) {
    let path = format!("/api/users/{}/{what}", other.id);
    let (status, answer) = server.call(Method::DELETE, &path, Some(&user.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{what}: {answer}");
}

pub async fn befriend(server: &Server, one: &User, other: &User) {
    begin(server, one, other, "friend").await;
    assert_eq!(begin(server, other, one, "friend").await["friend"], "friends");
}

async fn made(server: &Server, user: &User, path: &str, body: Value) -> String {
    let (status, answer) = server.post(path, user, body).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
    answer["id"].as_str().unwrap_or_default().to_owned()
}

async fn post(server: &Server, user: &User, visibility: &str) -> String {
    made(server, user, "/api/posts", json!({"content": visibility, "visibility": visibility})).await
}

async fn status(server: &Server, user: &User, path: &str) -> StatusCode {
    server.get(path, user).await.0
}

/// A field of each item of a list.
async fn listed(server: &Server, user: &User, path: &str, field: &str) -> Vec<String> {
    let (status, page) = server.get(path, user).await;
    assert_eq!(status, StatusCode::OK, "{path}: {page}");
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item[field].as_str().unwrap_or_default().to_owned()).collect()
}

async fn relation(server: &Server, user: &User, other: &User) -> Value {
    let (status, answer) = server.get(&format!("/api/users/{}", other.id), user).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["relation"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_follow_each_other_and_become_friends() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let cam = server.register("cam").await;
    let stranger =
        json!({"following": false, "followsMe": false, "friend": "none", "muted": false, "blocked": false});
    assert_eq!(relation(&server, &ana, &ben).await, stranger);
    assert_eq!(begin(&server, &ana, &ben, "follow").await["following"], true);
    assert_eq!(relation(&server, &ben, &ana).await["followsMe"], true);
    let (_, seen) = server.get(&format!("/api/users/{}", ben.id), &cam).await;
    assert_eq!((&seen["followers"], &seen["following"]), (&json!(1), &json!(0)));
    let (_, own) = server.get(&format!("/api/users/{}", ben.id), &ben).await;
    assert_eq!(own["relation"], Value::Null);

    // Asking, and agreeing.
    assert_eq!(begin(&server, &ana, &ben, "friend").await["friend"], "requested");
    assert_eq!(relation(&server, &ben, &ana).await["friend"], "asked");
    assert_eq!(listed(&server, &ben, "/api/friends/requests", "direction").await, ["incoming"]);
    assert_eq!(
        listed(&server, &ana, "/api/friends/requests?direction=outgoing", "userId").await,
        [ben.id.as_str()]
    );
    let friends_only = post(&server, &ana, "friends").await;
    let path = format!("/api/posts/{friends_only}");
    assert_eq!(status(&server, &ben, &path).await, StatusCode::NOT_FOUND, "not friends yet");
    assert_eq!(begin(&server, &ben, &ana, "friend").await["friend"], "friends");
    assert_eq!(status(&server, &ben, &path).await, StatusCode::OK);
    assert_eq!(status(&server, &cam, &path).await, StatusCode::NOT_FOUND);
    assert_eq!(
        listed(&server, &ben, "/api/posts", "id").await,
        [friends_only.as_str()],
        "in the feed of friends"
    );
    assert_eq!(listed(&server, &cam, "/api/posts", "id").await, Vec::<String>::new());
    let private = post(&server, &ana, "private").await;
    assert_eq!(status(&server, &ben, &format!("/api/posts/{private}")).await, StatusCode::NOT_FOUND);
    assert_eq!(listed(&server, &ana, "/api/friends", "userId").await, [ben.id.as_str()]);

    // Whom somebody follows is for friends.
    for list in ["followers", "following"] {
        let path = format!("/api/users/{}/{list}", ben.id);
        assert_eq!(status(&server, &ana, &path).await, StatusCode::OK);
        assert_eq!(status(&server, &cam, &path).await, StatusCode::FORBIDDEN);
    }
    assert_eq!(
        listed(&server, &ben, &format!("/api/users/{}/followers", ben.id), "userId").await,
        [ana.id.as_str()]
    );
    assert_eq!(
        listed(&server, &ben, &format!("/api/users/{}/following", ana.id), "userId").await,
        [ben.id.as_str()]
    );

    // The friendship ends for both.
    end(&server, &ana, &ben, "friend").await;
    assert_eq!(relation(&server, &ben, &ana).await["friend"], "none");
    assert_eq!(status(&server, &ben, &path).await, StatusCode::NOT_FOUND);
    assert_eq!(listed(&server, &ben, "/api/posts", "id").await, Vec::<String>::new());
    end(&server, &ana, &ben, "follow").await;
    let (_, seen) = server.get(&format!("/api/users/{}", ben.id), &cam).await;
    assert_eq!(seen["followers"], 0);

    let me = format!("/api/users/{}/follow", ana.id);
    let (status, _) = server.call(Method::PUT, &me, Some(&ana.token), None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let nobody = format!("/api/users/{}/friend", mundotango_protocol::new_id());
    let (status, absent) = server.call(Method::PUT, &nobody, Some(&ana.token), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    // Who is blocked is told the same, word for word.
    begin(&server, &ben, &ana, "block").await;
    for what in ["friend", "follow", "mute", "block"] {
        let path = format!("/api/users/{}/{what}", ben.id);
        let (status, hidden) = server.call(Method::PUT, &path, Some(&ana.token), None).await;
        assert_eq!((status, &hidden), (StatusCode::NOT_FOUND, &absent), "{what}");
    }
    let (status, refused) =
        server.call(Method::PUT, &format!("/api/users/{}/friend", ana.id), Some(&ben.token), None).await;
    assert_eq!((status, &refused["code"]), (StatusCode::CONFLICT, &json!("conflict")), "unblock first");
}

/// Trap 36. All doors, asked when what they need was read a moment ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_blocked_sees_nothing_of_the_other_at_any_door_and_neither_does_who_blocks() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let cam = server.register("cam").await;
    befriend(&server, &ana, &ben).await;
    befriend(&server, &ben, &cam).await;
    for (one, other) in [(&ana, &ben), (&ben, &ana), (&ana, &cam)] {
        begin(&server, one, other, "follow").await;
    }
    let public = post(&server, &ana, "public").await;
    let friends = post(&server, &ana, "friends").await;
    let of_ben = post(&server, &ben, "public").await;
    let room = made(&server, &ana, "/api/housing", room_body()).await;
    let event = json!({"title": "Milonga", "eventDate": "2040-01-01T20:00:00Z", "location": "La Viruta", "eventType": "milonga"});
    let event = made(&server, &cam, "/api/events", event).await;
    for user in [&ana, &ben] {
        made(&server, user, &format!("/api/events/{event}/rsvp"), json!({})).await;
    }
    let bookmark = format!("/api/posts/{public}/bookmark");
    server.call(Method::PUT, &bookmark, Some(&ben.token), None).await;
    let days = stay_body(10, 3);
    let (from, to) = (days["from"].as_str().unwrap(), days["to"].as_str().unwrap());
    let doors = [
        format!("/api/posts/{public}"),
        format!("/api/posts/{friends}"),
        format!("/api/users/{}", ana.id),
        format!("/api/users/{}/followers", ana.id),
        format!("/api/users/{}/following", ana.id),
        format!("/api/housing/{room}"),
        format!("/api/housing/{room}/availability?from={from}&to={to}"),
        format!("/api/housing/{room}/reviews"),
    ];
    let lists = [
        ("/api/posts".to_owned(), "id", vec![public.clone(), friends.clone()]),
        ("/api/bookmarks".to_owned(), "id", vec![public.clone()]),
        ("/api/housing".to_owned(), "id", vec![room.clone()]),
        (format!("/api/events/{event}/attendees"), "userId", vec![ana.id.clone()]),
        (format!("/api/users/{}/followers", cam.id), "userId", vec![ana.id.clone()]),
        ("/api/friends".to_owned(), "userId", vec![ana.id.clone()]),
        ("/api/leaderboard".to_owned(), "userId", vec![ana.id.clone()]),
    ];
    until("the board has who posts", async || {
        listed(&server, &cam, "/api/leaderboard", "userId").await.contains(&ana.id).then_some(())
    })
    .await;
    let all_seen = async |is_seen: bool| {
        for door in &doors {
            let wanted = if is_seen { StatusCode::OK } else { StatusCode::NOT_FOUND };
            assert_eq!(status(&server, &ben, door).await, wanted, "{door}");
        }
        for (list, field, items) in &lists {
            let seen = listed(&server, &ben, list, field).await;
            assert!(items.iter().all(|item| seen.contains(item) == is_seen), "{list}: {seen:?}");
        }
    };
    all_seen(true).await;
    all_seen(true).await;

    let blocked = begin(&server, &ana, &ben, "block").await;
    assert_eq!(
        blocked,
        json!({"following": false, "followsMe": false, "friend": "none", "muted": false, "blocked": true})
    );
    all_seen(false).await;
    for (path, body) in [
        (format!("/api/posts/{public}/react"), json!({"reactionType": "heart"})),
        (format!("/api/housing/{room}/bookings"), stay_body(10, 3)),
    ] {
        assert_eq!(server.post(&path, &ben, body).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let channel = json!({"channel": format!("post:{public}")});
    assert!(server.try_subscribe_once(&ben, channel.clone()).await.is_err());
    assert!(server.try_subscribe_once(&cam, channel).await.is_ok());
    // The other way round, but for the profile, from which the block is taken back.
    assert_eq!(status(&server, &ana, &format!("/api/posts/{of_ben}")).await, StatusCode::NOT_FOUND);
    assert!(
        !listed(&server, &ana, &format!("/api/events/{event}/attendees"), "userId").await.contains(&ben.id)
    );
    assert_eq!(listed(&server, &ana, "/api/blocks", "userId").await, [ben.id.as_str()]);
    assert_eq!(relation(&server, &ana, &ben).await["blocked"], true);
    // Nobody is given a part in an event by somebody whom the user keeps out.
    let own = json!({"title": "Práctica", "eventDate": "2040-01-01T20:00:00Z", "location": "x", "eventType": "practica"});
    let own = made(&server, &ben, "/api/events", own).await;
    let path = format!("/api/events/{own}/hosts/{}", ana.id);
    let (added, _) = server.call(Method::PUT, &path, Some(&ben.token), Some(json!({"role": "door"}))).await;
    assert_eq!(added, StatusCode::NOT_FOUND);

    // What the block ended stays ended.
    end(&server, &ana, &ben, "block").await;
    assert_eq!(status(&server, &ben, &doors[0]).await, StatusCode::OK);
    assert_eq!(status(&server, &ben, &doors[1]).await, StatusCode::NOT_FOUND);
    assert_eq!(relation(&server, &ben, &ana).await["friend"], "none");
}

/// A page is filled with what is left of the list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_full_although_somebody_is_muted_or_blocked() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let cam = server.register("cam").await;
    let mut expected = Vec::new();
    for number in 0..12 {
        let author = [&ben, &cam, &cam][number % 3];
        let id = post(&server, author, "public").await;
        if author.id == ben.id {
            expected.insert(0, id);
        }
    }
    begin(&server, &ana, &cam, "mute").await;
    for how in ["muted", "blocked"] {
        let (_, first) = server.get("/api/posts?limit=3", &ana).await;
        let cursor = first["nextCursor"].as_str().unwrap();
        let second = listed(&server, &ana, &format!("/api/posts?limit=3&cursor={cursor}"), "id").await;
        let first: Vec<_> =
            first["items"].as_array().unwrap().iter().map(|post| post["id"].as_str().unwrap()).collect();
        assert_eq!(first, expected[..3], "{how}");
        assert_eq!(second, expected[3..], "{how}");
        assert_eq!(listed(&server, &ana, "/api/posts?limit=2&page=2", "id").await, expected[2..4], "{how}");
        begin(&server, &ana, &cam, "block").await;
    }
    end(&server, &ana, &cam, "block").await;
    let (_, page) = server.get("/api/mutes", &ana).await;
    assert_eq!(page["items"][0]["user"]["username"], "cam", "a mute outlives the block");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_told_of_requests_but_not_of_those_whom_they_have_muted() {
    let server = Server::start().await;
    let (ana, ben) = (server.register("ana").await, server.register("ben").await);
    let cam = server.register("cam").await;
    let mut device = SdkClient::subscribed(Sdk::JavaScriptJson, &server, &ben, "posts:feed").await;
    begin(&server, &ben, &cam, "mute").await;
    begin(&server, &cam, &ben, "friend").await;
    begin(&server, &cam, &ben, "follow").await;
    begin(&server, &ana, &ben, "friend").await;
    let told = device.event("serverPublication").await;
    assert_eq!(
        (&told["channel"], &told["data"]["type"]),
        (&json!(format!("#{}", ben.id)), &json!("friend.requested"))
    );
    assert_eq!(told["data"]["user"]["id"], ana.id);
    for _ in 0..2 {
        begin(&server, &ana, &ben, "follow").await;
        end(&server, &ana, &ben, "follow").await;
    }
    begin(&server, &ben, &ana, "friend").await;
    let kinds = async |user: &User| listed(&server, user, "/api/notifications", "kind").await;
    until("the one who asked is told", async || (kinds(&ana).await == ["friendAccepted"]).then_some(()))
        .await;
    until("the other one is told, once of a follower who comes and goes", async || {
        let mut seen = kinds(&ben).await;
        seen.sort_unstable();
        (seen == ["followNew", "friendRequested"]).then_some(())
    })
    .await;
    assert_eq!(
        listed(&server, &ben, "/api/friends/requests", "userId").await,
        [cam.id.as_str()],
        "the request is there"
    );
    let (_, online) = server.get("/api/friends/online", &ana).await;
    assert_eq!(online["items"][0]["userId"], ben.id, "{online}");
    assert!(online["items"][0]["onlineSince"].is_string());
    assert_eq!(listed(&server, &ben, "/api/friends/online", "userId").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_who_race_are_counted_once() {
    let server = Server::start().await;
    let star = server.register("star").await;
    let fans: Vec<_> = (0..12).map(|number| server.user(&format!("fan-{number}"), "user")).collect();
    let races = fans.iter().enumerate().map(async |(number, fan)| {
        join_all((0..3).map(|_| begin(&server, fan, &star, "follow"))).await;
        if number % 3 == 0 {
            join_all((0..2).map(|_| end(&server, fan, &star, "follow"))).await;
        }
    });
    join_all(races).await;
    let (_, seen) = server.get(&format!("/api/users/{}", star.id), &star).await;
    assert_eq!(seen["followers"], 8, "{seen}");
    let followers =
        listed(&server, &star, &format!("/api/users/{}/followers?limit=100", star.id), "userId").await;
    assert_eq!(followers.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_shows_on_all_nodes_at_once() {
    let nodes = cluster::start(2).await;
    let name = |part: &str| format!("{part}{}", &mundotango_protocol::new_id()[24..]);
    let (ana, ben) = (nodes[0].register(&name("ana")).await, nodes[1].register(&name("ben")).await);
    befriend(&nodes[0], &ana, &ben).await;
    let posts = [post(&nodes[0], &ana, "public").await, post(&nodes[1], &ana, "friends").await];
    let doors = posts.map(|post| format!("/api/posts/{post}"));
    for _ in 0..2 {
        for (node, door) in nodes.iter().flat_map(|node| doors.iter().map(move |door| (node, door))) {
            let seen = until("friends read", async || {
                (status(node, &ben, door).await == StatusCode::OK).then_some(())
            });
            seen.await;
        }
    }
    begin(&nodes[0], &ana, &ben, "block").await;
    let began = Instant::now();
    for node in &nodes {
        for door in &doors {
            until("the block shows", async || {
                (status(node, &ben, door).await == StatusCode::NOT_FOUND).then_some(())
            })
            .await;
        }
        assert_eq!(status(node, &ben, &format!("/api/users/{}", ana.id)).await, StatusCode::NOT_FOUND);
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}
