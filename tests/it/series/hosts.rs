//! Who gives a series: hosts beside the owner, at every door of every date, and a series that changes hands.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{dates, event_path, fields, give, milonga, patch, path, settled, with};
use crate::server::{Server, User};

/// Makes a user a host of an event or a series.
async fn let_in(server: &Server, by: &User, path: &str, user: &User, role: &str) -> StatusCode {
    let path = format!("{path}/hosts/{}", user.id);
    server.call(Method::PUT, &path, Some(&by.token), Some(json!({"role": role}))).await.0
}

/// Takes that back.
async fn let_out(server: &Server, by: &User, path: &str, user: &User) -> StatusCode {
    server.call(Method::DELETE, &format!("{path}/hosts/{}", user.id), Some(&by.token), None).await.0
}

/// Offers an event or a series.
async fn offer(server: &Server, by: &User, path: &str, to: &User) -> StatusCode {
    let body = Some(json!({"userId": to.id}));
    server.call(Method::PUT, &format!("{path}/offer"), Some(&by.token), body).await.0
}

/// Takes an event or a series over.
async fn accept(server: &Server, by: &User, path: &str) -> (StatusCode, Value) {
    server.post(&format!("{path}/offer/accept"), by, json!({})).await
}

/// What a user is answered who changes a date, and looks at who comes to it and at its door.
async fn at_the_date(server: &Server, user: &User, date: &str) -> [StatusCode; 3] {
    [
        patch(server, user, date, json!({"description": "Bring shoes."})).await.0,
        server.get(&format!("{date}/attendees"), user).await.0,
        server.get(&format!("{date}/door"), user).await.0,
    ]
}

/// The hosts of an event or a series beside its owner: who, what, and whether of the series.
async fn hosts(server: &Server, user: &User, path: &str) -> Vec<(String, String, bool)> {
    let (status, hosts) = server.get(&format!("{path}/hosts"), user).await;
    assert_eq!(status, StatusCode::OK, "{hosts}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let hosts = hosts["hosts"].as_array().unwrap().iter();
    let mut hosts: Vec<_> = hosts
        .map(|host| (text(&host["user"]["username"]), text(&host["role"]), host["ofSeries"] == true))
        .collect();
    hosts.sort();
    hosts
}

fn host(name: &str, role: &str, of_series: bool) -> (String, String, bool) {
    (name.to_owned(), role.to_owned(), of_series)
}

const ALLOWED: [StatusCode; 3] = [StatusCode::OK; 3];
const REFUSED: [StatusCode; 3] = [StatusCode::FORBIDDEN; 3];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_of_a_series_are_hosts_of_its_dates_until_they_are_let_out() {
    let server = Server::start().await;
    let (ana, eva) = (server.register("ana").await, server.register("eva").await);
    let (dora, carla) = (server.register("dora").await, server.register("carla").await);
    let series = give(&server, &ana, with(milonga("Rosario"), "attendees", json!("hosts"))).await;
    let (old, next) = (path(&series), series["nextDates"].as_array().unwrap());
    let date = event_path(&next[1]);
    assert_eq!(at_the_date(&server, &eva, &date).await, REFUSED);
    assert_eq!(let_in(&server, &eva, &old, &eva, "editor").await, StatusCode::FORBIDDEN);
    assert_eq!(let_in(&server, &ana, &old, &eva, "editor").await, StatusCode::NO_CONTENT);
    assert_eq!(let_in(&server, &ana, &old, &dora, "door").await, StatusCode::NO_CONTENT);
    let nobody = format!("{old}/hosts/nobody");
    let (status, _) =
        server.call(Method::PUT, &nobody, Some(&ana.token), Some(json!({"role": "door"}))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    // One date, as each of them.
    assert_eq!(at_the_date(&server, &eva, &date).await, ALLOWED);
    assert_eq!(
        at_the_date(&server, &dora, &date).await,
        [StatusCode::FORBIDDEN, StatusCode::OK, StatusCode::OK]
    );
    let both = [host("dora", "door", true), host("eva", "editor", true)];
    assert_eq!(hosts(&server, &carla, &old).await, both);
    assert_eq!(hosts(&server, &carla, &date).await, both);
    // Of two roles the greater one counts.
    assert_eq!(let_in(&server, &ana, &date, &dora, "editor").await, StatusCode::NO_CONTENT);
    assert_eq!(let_in(&server, &ana, &date, &eva, "door").await, StatusCode::NO_CONTENT);
    assert_eq!(
        hosts(&server, &carla, &date).await,
        [host("dora", "editor", false), host("eva", "editor", true)]
    );
    for editor in [&dora, &eva] {
        assert_eq!(at_the_date(&server, editor, &date).await, ALLOWED);
    }
    assert_eq!(let_out(&server, &ana, &date, &eva).await, StatusCode::NO_CONTENT);

    // All dates. Who gives the series is the owner's to say.
    let title = json!({"title": "Práctica"});
    assert_eq!(patch(&server, &dora, &old, title.clone()).await.0, StatusCode::FORBIDDEN);
    let (status, changed) = patch(&server, &eva, &old, title).await;
    assert_eq!((status, &changed["host"]["username"]), (StatusCode::OK, &json!("ana")), "{changed}");
    assert_eq!(server.post(&format!("{old}/renew"), &eva, json!({})).await.0, StatusCode::OK);
    settled(&server, &eva, &old).await;
    assert!(dates(&server, &eva, &old).await.iter().all(|date| date["event"]["title"] == "Práctica"));
    for path in [&old, &date] {
        assert_eq!(let_in(&server, &eva, path, &carla, "door").await, StatusCode::FORBIDDEN);
        assert_eq!(let_out(&server, &eva, path, &dora).await, StatusCode::FORBIDDEN);
        assert_eq!(offer(&server, &eva, path, &carla).await, StatusCode::FORBIDDEN);
    }

    // They go along with a division, and leave each series by itself.
    let change = json!({"from": next[5]["originalStart"], "title": "Gala"});
    let (status, divided) = patch(&server, &eva, &old, change).await;
    assert_eq!(status, StatusCode::OK, "{divided}");
    let (new, gala) = (path(&divided), event_path(&next[6]));
    settled(&server, &eva, &old).await;
    settled(&server, &eva, &new).await;
    assert_eq!(hosts(&server, &carla, &new).await, both);
    assert_eq!(at_the_date(&server, &eva, &gala).await, ALLOWED);
    assert_eq!(let_out(&server, &ana, &old, &eva).await, StatusCode::NO_CONTENT);
    assert_eq!(at_the_date(&server, &eva, &date).await, REFUSED, "at once");
    assert_eq!(patch(&server, &eva, &old, json!({"title": "x"})).await.0, StatusCode::FORBIDDEN);
    assert_eq!(at_the_date(&server, &eva, &gala).await, ALLOWED);
    assert_eq!(let_out(&server, &eva, &new, &eva).await, StatusCode::NO_CONTENT, "and may go");
    assert_eq!(at_the_date(&server, &eva, &gala).await, REFUSED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_date_that_was_given_away_alone_is_nothing_of_the_series_hosts() {
    let server = Server::start().await;
    let (ana, eva) = (server.register("ana").await, server.register("eva").await);
    let carla = server.register("carla").await;
    let series = give(&server, &ana, with(milonga("Rosario"), "attendees", json!("hosts"))).await;
    let (path, next) = (path(&series), series["nextDates"].as_array().unwrap());
    assert_eq!(let_in(&server, &ana, &path, &eva, "editor").await, StatusCode::NO_CONTENT);
    let given = event_path(&next[2]);
    assert_eq!(at_the_date(&server, &eva, &given).await, ALLOWED);
    assert_eq!(offer(&server, &ana, &given, &carla).await, StatusCode::NO_CONTENT);
    assert_eq!(accept(&server, &carla, &given).await.0, StatusCode::OK);
    assert_eq!(at_the_date(&server, &eva, &given).await, REFUSED);
    assert_eq!(at_the_date(&server, &ana, &given).await, ALLOWED, "who gave it away stays an editor of it");
    assert_eq!(hosts(&server, &carla, &given).await, [host("ana", "editor", false)]);

    patch(&server, &eva, &path, json!({"title": "Práctica"})).await;
    settled(&server, &eva, &path).await;
    let changed = dates(&server, &ana, &path).await;
    for (number, date) in changed.iter().enumerate() {
        let event = &date["event"];
        let (host, title) = if number == 2 { ("carla", "Milonga") } else { ("ana", "Práctica") };
        assert_eq!((&event["host"]["username"], &event["title"]), (&json!(host), &json!(title)), "{number}");
    }
    assert_eq!(server.post(&format!("{path}/cancel"), &eva, json!({})).await.0, StatusCode::OK);
    settled(&server, &eva, &path).await;
    for (number, date) in next.iter().enumerate() {
        let (_, event) = server.get(&event_path(date), &ana).await;
        assert_eq!(event["cancelledAt"].is_null(), number == 2, "{event}");
    }
    assert_eq!(fields(&changed, "eventId"), fields(next, "eventId"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_series_changes_hands_with_the_dates_that_follow_it() {
    let server = Server::start().await;
    let (ana, bea) = (server.register("ana").await, server.register("bea").await);
    let carla = server.register("carla").await;
    let series = give(&server, &ana, with(milonga("Rosario"), "attendees", json!("hosts"))).await;
    let (path, next) = (path(&series), series["nextDates"].as_array().unwrap());
    let (date, given) = (event_path(&next[1]), event_path(&next[2]));
    assert_eq!(offer(&server, &ana, &given, &carla).await, StatusCode::NO_CONTENT);
    assert_eq!(accept(&server, &carla, &given).await.0, StatusCode::OK);

    assert_eq!(accept(&server, &bea, &path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(offer(&server, &ana, &path, &bea).await, StatusCode::NO_CONTENT);
    let taken_back = server.call(Method::DELETE, &format!("{path}/offer"), Some(&ana.token), None).await.0;
    assert_eq!(taken_back, StatusCode::NO_CONTENT);
    assert_eq!(accept(&server, &bea, &path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(offer(&server, &ana, &path, &bea).await, StatusCode::NO_CONTENT);
    assert_eq!(accept(&server, &carla, &path).await.0, StatusCode::NOT_FOUND);
    for _ in 0..2 {
        let (status, taken) = accept(&server, &bea, &path).await;
        assert_eq!((status, &taken["host"]["username"]), (StatusCode::OK, &json!("bea")), "{taken}");
    }
    // Who owned it is an editor, also of dates that are made later.
    assert_eq!(hosts(&server, &carla, &path).await, [host("ana", "editor", true)]);
    let longer = json!({"repeats": {"frequency": "weekly", "weekdays": ["friday"], "count": 10}});
    assert_eq!(patch(&server, &ana, &path, longer).await.0, StatusCode::OK);
    settled(&server, &ana, &path).await;
    let after = dates(&server, &carla, &path).await;
    let owners = fields(&after, "event").into_iter().map(|event| event["host"]["username"].clone());
    let mut wanted = vec![json!("bea"); 10];
    wanted[2] = json!("carla");
    assert_eq!(owners.collect::<Vec<_>>(), wanted);
    for (user, count) in [(&ana, 0), (&bea, 9), (&carla, 1)] {
        let (_, mine) = server.get("/api/events/mine?as=host", user).await;
        assert_eq!(mine["items"].as_array().unwrap().len(), count, "{}", user.id);
    }
    for editor in [&ana, &bea] {
        assert_eq!(at_the_date(&server, editor, &date).await, ALLOWED);
    }
    assert_eq!(at_the_date(&server, &bea, &given).await, REFUSED);
    assert_eq!(at_the_date(&server, &ana, &given).await, ALLOWED, "by her own role there");
    for path in [&path, &date] {
        assert_eq!(offer(&server, &ana, path, &carla).await, StatusCode::FORBIDDEN);
        assert_eq!(let_in(&server, &ana, path, &carla, "door").await, StatusCode::FORBIDDEN);
    }
    assert_eq!(let_out(&server, &bea, &path, &ana).await, StatusCode::NO_CONTENT);
    assert_eq!(at_the_date(&server, &ana, &date).await, REFUSED);
    assert_eq!(patch(&server, &ana, &path, json!({"title": "x"})).await.0, StatusCode::FORBIDDEN);
}
