//! The REST surface, as existing clients call it.

use std::collections::BTreeSet;
use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::Server;

fn fields(problem: &Value) -> BTreeSet<String> {
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors in {problem}"));
    errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
}

fn set(fields: &[&str]) -> BTreeSet<String> {
    fields.iter().map(|field| (*field).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_from_registration_to_logout() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let login = json!({"email": "ANA@example.com", "password": "abrazo-1234"});
    let (status, logged_in) = server.call(Method::POST, "/api/auth/login", None, Some(login)).await;
    assert_eq!(status, StatusCode::OK);
    assert!(logged_in["token"].is_string(), "clients read the token at the top level");
    assert_eq!(logged_in["user"]["id"], ana.id);
    assert_eq!(logged_in["user"].get("passwordHash"), None);

    for (email, password) in [("ana@example.com", "wrong-password"), ("nobody@example.com", "abrazo-1234")] {
        let login = json!({"email": email, "password": password});
        let (status, problem) = server.call(Method::POST, "/api/auth/login", None, Some(login)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(problem["detail"], "e-mail address or password is wrong");
    }

    let taken =
        json!({"email": "ana@example.com", "password": "abrazo-1234", "username": "ANA", "fullName": "A"});
    let (status, problem) = server.call(Method::POST, "/api/auth/register", None, Some(taken)).await;
    assert_eq!((status, fields(&problem)), (StatusCode::CONFLICT, set(&["email", "username"])));

    let change = json!({"city": "Rosario", "fullName": "Ana María"});
    let (status, changed) = server.call(Method::PATCH, "/api/users/me", Some(&ana.token), Some(change)).await;
    assert_eq!((status, &changed["city"]), (StatusCode::OK, &json!("Rosario")));
    let beto = server.register("beto").await;
    let (_, seen) = server.get(&format!("/api/users/{}", ana.id), &beto).await;
    assert_eq!((&seen["fullName"], seen.get("email")), (&json!("Ana María"), None));
    assert_eq!(server.get("/api/users/none", &beto).await.0, StatusCode::NOT_FOUND);

    let (status, _) = server.call(Method::POST, "/api/auth/logout", Some(&ana.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let refresh = json!({"refreshToken": ana.refresh_token});
    let (status, _) = server.call(Method::POST, "/api/auth/refresh", None, Some(refresh)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_refresh_token_is_refused() {
    let server = Server::start().await;
    for bad in ["", ".", "nonsense", "a.b", "a.1.b", "a.99999999999999999999.b", "\u{0}.\u{0}"] {
        let body = json!({"refreshToken": bad});
        let (status, _) = server.call(Method::POST, "/api/auth/refresh", None, Some(body)).await;
        assert!(status.is_client_error(), "{bad:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_names_every_bad_field() {
    let server = Server::start_with(&[("HTTP__MAX_BODY_BYTES", "20000")]).await;
    let ana = server.user("ana", "admin");
    let cases = [
        (
            "/api/auth/register",
            json!({"email": "x", "password": "short", "username": "ñandú", "fullName": ""}),
            set(&["email", "password", "username", "fullName"]),
        ),
        (
            "/api/auth/register",
            json!({"email": "a@example.com", "password": "abrazo-1234", "username": "ana"}),
            set(&["fullName"]),
        ),
        ("/api/posts", json!({"content": ""}), set(&["content"])),
        ("/api/posts", json!({"content": 7}), set(&["content"])),
        ("/api/posts", json!({"content": "x".repeat(5001)}), set(&["content"])),
        ("/api/posts", json!({"content": "x", "visibility": "all"}), set(&["visibility"])),
        ("/api/events", json!({}), set(&["title", "eventDate", "location", "eventType"])),
        (
            "/api/events",
            json!({"title": "", "eventDate": "2030-01-01T20:00:00Z", "location": "", "eventType": "class", "capacity": 0}),
            set(&["title", "location", "capacity"]),
        ),
        (
            "/api/events",
            json!({"title": "T", "eventDate": "2030-01-01T20:00:00Z", "eventType": "class",
                "location": {"text": "L", "latitude": 1.5}}),
            set(&["location.longitude"]),
        ),
        (
            "/api/events",
            json!({"title": "T", "eventDate": "2030-01-01T20:00:00Z", "eventType": "class",
                "location": {"text": "L", "ctiy": "Berlin", "latitude": "north"}}),
            set(&["location.ctiy", "location.latitude"]),
        ),
        (
            "/api/events",
            json!({"title": "T", "eventDate": "2030-01-01T20:00:00Z", "eventType": "class",
                "location": {"text": "L", "venue": "V"}}),
            set(&["location.text"]),
        ),
        (
            "/api/admin/users",
            json!({"email": "x", "password": "abrazo-1234", "username": "ana", "fullName": ""}),
            set(&["email", "fullName"]),
        ),
        (
            "/api/events",
            json!({"title": "T", "eventDate": "tomorrow", "location": "L", "eventType": "class"}),
            set(&["eventDate"]),
        ),
        (
            "/api/events",
            json!({"title": "T", "eventDate": "2030-01-01T20:00:00Z", "location": "L", "eventType": "party"}),
            set(&["eventType"]),
        ),
    ];
    for (path, body, expected) in cases {
        let (status, problem) = server.post(path, &ana, body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {problem}");
        let kind = (problem["status"].as_u64(), problem["code"].as_str(), problem["type"].as_str());
        assert_eq!(kind, (Some(400), Some("invalid_input"), Some("/problems#invalid_input")));
        assert_eq!(fields(&problem), expected, "{path} {body}: {problem}");
    }
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("page=0", "page"),
        ("page=51", "page"),
        ("cursor=%00", "cursor"),
    ] {
        let (status, problem) = server.get(&format!("/api/posts?{query}"), &ana).await;
        assert_eq!((status, fields(&problem)), (StatusCode::BAD_REQUEST, set(&[field])), "{query}");
    }
    for query in ["near=1,2", "near=a,b,c", "near=91,0,1", "from=x", "eventType=party", "cursor=x"] {
        let (status, problem) = server.get(&format!("/api/events?{query}"), &ana).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(fields(&problem), set(&[query.split('=').next().unwrap()]), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_is_a_problem_document() {
    let server = Server::start_with(&[("HTTP__MAX_BODY_BYTES", "1000")]).await;
    let ana = server.user("ana", "user");
    let posts = server.url("/api/posts");
    let with_token = |request: reqwest::RequestBuilder| request.bearer_auth(&ana.token);
    let cases = [
        (server.http.get(&posts), StatusCode::UNAUTHORIZED),
        (server.http.get(&posts).bearer_auth("nonsense"), StatusCode::UNAUTHORIZED),
        (with_token(server.http.get(server.url("/api/admin/system/tree"))), StatusCode::FORBIDDEN),
        (with_token(server.http.get(server.url("/api/none"))), StatusCode::NOT_FOUND),
        (with_token(server.http.get(server.url("/api/posts/%00"))), StatusCode::NOT_FOUND),
        (with_token(server.http.put(&posts)), StatusCode::METHOD_NOT_ALLOWED),
        (with_token(server.http.post(&posts).body("{")), StatusCode::BAD_REQUEST),
        (with_token(server.http.post(&posts).body("{} {}")), StatusCode::BAD_REQUEST),
        (
            with_token(server.http.post(&posts).header("content-type", "text/plain").body("{}")),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (with_token(server.http.post(&posts).body("x".repeat(2000))), StatusCode::PAYLOAD_TOO_LARGE),
        (server.http.get(server.url("/connection/websocket")), StatusCode::BAD_REQUEST),
    ];
    for (request, expected) in cases {
        let answer = request.send().await.unwrap();
        let url = answer.url().clone();
        assert_eq!(answer.status(), expected, "{url}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{url}");
        assert!(answer.headers().contains_key("x-request-id"), "{url}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["status"].as_u64(), Some(u64::from(expected.as_u16())));
        assert!(problem["detail"].is_string(), "{problem}");
        let code = problem["code"].as_str().unwrap();
        assert_eq!(problem["type"], format!("/problems#{code}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feeds_are_paged_and_private_posts_stay_private() {
    let server = Server::start().await;
    let (ana, beto) = (server.register("ana").await, server.register("beto").await);
    for number in 0..7 {
        let visibility = if number == 3 { "private" } else { "public" };
        let body = json!({"content": number.to_string(), "visibility": visibility});
        let (status, _) = server.post("/api/posts", &ana, body).await;
        assert_eq!(status, StatusCode::CREATED);
    }
    let contents = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|post| post["content"].as_str().unwrap().to_owned()).collect()
    };
    let (_, first) = server.get("/api/posts?limit=3", &beto).await;
    assert_eq!(contents(&first), ["6", "5", "4"]);
    assert_eq!(first["items"][0]["author"]["username"], "ana");
    let cursor = first["nextCursor"].as_str().unwrap();
    let (_, second) = server.get(&format!("/api/posts?limit=3&cursor={cursor}"), &beto).await;
    assert_eq!(
        (contents(&second), &second["nextCursor"]),
        (vec!["2".into(), "1".into(), "0".into()], &Value::Null)
    );
    let (_, numbered) = server.get("/api/posts?limit=3&page=2", &beto).await;
    assert_eq!(contents(&numbered), contents(&second));
    let (_, own) = server.get("/api/posts", &ana).await;
    assert_eq!(contents(&own), ["6", "5", "4", "3", "2", "1", "0"]);

    let private = own["items"][3]["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/api/posts/{private}"), &beto).await.0, StatusCode::NOT_FOUND);
    let react = format!("/api/posts/{private}/react");
    let (status, _) = server.post(&react, &beto, json!({"reactionType": "heart"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reaction_a_user_a_post() {
    let server = Server::start().await;
    let (ana, beto) = (server.user("ana", "user"), server.user("beto", "user"));
    let (_, post) = server.post("/api/posts", &ana, json!({"content": "x"})).await;
    let react = format!("/api/posts/{}/react", post["id"].as_str().unwrap());
    for (user, reaction, counts) in [
        (&ana, "heart", json!({"heart": 1})),
        (&beto, "heart", json!({"heart": 2})),
        (&beto, "laugh", json!({"heart": 1, "laugh": 1})),
    ] {
        let (status, seen) = server.post(&react, user, json!({"reactionType": reaction})).await;
        assert_eq!(
            (status, &seen["reactions"], &seen["myReaction"]),
            (StatusCode::OK, &counts, &json!(reaction))
        );
    }
    let (_, seen) = server.call(Method::DELETE, &react, Some(&beto.token), None).await;
    assert_eq!((&seen["reactions"], &seen["myReaction"]), (&json!({"heart": 1}), &Value::Null));
    let metrics = server.http.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("post_reactions_total{reaction_type=\"heart\"} 2"), "{metrics}");
    let route = "route=\"/api/posts/{id}/react\"";
    assert!(metrics.lines().any(|line| line.starts_with("http_requests_total") && line.contains(route)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capacity_holds_however_many_race() {
    let server = Arc::new(Server::start().await);
    let host = server.user("host", "user");
    let body = json!({
        "title": "Milonga", "description": "", "eventDate": "2030-01-01T20:00:00Z", "capacity": 7,
        "location": {"name": "La Viruta", "city": "Buenos Aires", "latitude": -34.6, "longitude": -58.4},
        "eventType": "milonga",
    });
    let (status, event) = server.post("/api/events", &host, body).await;
    assert_eq!(status, StatusCode::CREATED, "{event}");
    let rsvp = format!("/api/events/{}/rsvp", event["id"].as_str().unwrap());
    let racing: Vec<_> = (0..60)
        .map(|number| {
            let (server, rsvp) = (Arc::clone(&server), rsvp.clone());
            let user = server.user(&format!("user-{number}"), "user");
            tokio::spawn(async move {
                // No body means going.
                let (status, answer) = server.call(Method::POST, &rsvp, Some(&user.token), None).await;
                assert_eq!(status, StatusCode::OK);
                answer["status"].as_str().unwrap().to_owned()
            })
        })
        .collect();
    let mut going = 0;
    for racer in racing {
        going += usize::from(racer.await.unwrap() == "going");
    }
    assert_eq!(going, 7);
    for (query, found) in [
        ("city=buenos%20aires", 1),
        ("city=Rosario", 0),
        ("eventType=milonga", 1),
        ("eventType=class", 0),
        ("near=-34.6,-58.4,1", 1),
        ("near=0,0,100", 0),
        ("to=2029-01-01T00:00:00Z", 0),
        ("from=2030-01-01T20:00:00Z", 1),
    ] {
        let (status, page) = server.get(&format!("/api/events?{query}"), &host).await;
        assert_eq!((status, page["items"].as_array().unwrap().len()), (StatusCode::OK, found), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_on_the_clocks_of_its_venue() {
    let server = Server::start().await;
    let host = server.user("host", "user");
    let with = |times: Value| {
        let mut event = json!({"title": "Milonga", "location": "La Viruta", "eventType": "milonga"});
        event.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        event
    };
    let zone = "America/Argentina/Buenos_Aires";
    let times = json!({"eventDate": "2030-12-04T21:00", "endDate": "2030-12-05T03:30", "timeZone": zone});
    let (status, event) = server.post("/api/events", &host, with(times)).await;
    assert_eq!(status, StatusCode::CREATED, "{event}");
    for (field, value) in [
        ("eventDate", json!("2030-12-05T00:00:00.000Z")),
        ("endDate", json!("2030-12-05T06:30:00.000Z")),
        ("timeZone", json!(zone)),
        ("localStart", json!("2030-12-04T21:00:00")),
        ("localEnd", json!("2030-12-05T03:30:00")),
    ] {
        assert_eq!(event[field], value, "{field}");
    }
    let (_, mut read) = server.get(&format!("/api/events/{}", event["id"].as_str().unwrap()), &host).await;
    assert_eq!(read.as_object_mut().unwrap().remove("myRsvp"), Some(Value::Null));
    assert_eq!(read, event);
    for (times, wrong) in [
        (json!({"eventDate": "2030-12-04T21:00"}), "eventDate"),
        (json!({"eventDate": "2030-12-04T21:00Z", "endDate": "2030-12-04T20:00Z"}), "endDate"),
        (json!({"eventDate": "2030-12-04T21:00Z", "endDate": "2031-12-04T20:00Z"}), "endDate"),
        (json!({"eventDate": "2030-12-04T21:00Z", "timeZone": "Buenos Aires"}), "timeZone"),
        (json!({"eventDate": "2026-03-29T02:30", "timeZone": "Europe/Berlin"}), "eventDate"),
    ] {
        let (status, problem) = server.post("/api/events", &host, with(times.clone())).await;
        assert_eq!((status, fields(&problem)), (StatusCode::BAD_REQUEST, set(&[wrong])), "{times}");
    }

    let (_, over) = server.post("/api/events", &host, with(json!({"eventDate": "2020-12-04T21:00Z"}))).await;
    let rsvp = format!("/api/events/{}/rsvp", over["id"].as_str().unwrap());
    let (status, problem) = server.post(&rsvp, &host, json!({"status": "going"})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("over")));
    let (_, listed) = server.get("/api/events", &host).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "what is over is not listed: {listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_and_its_page_are_served() {
    let server = Server::start().await;
    let (status, document) = server.call(Method::GET, "/api/docs/json", None, None).await;
    assert_eq!(status, StatusCode::OK);
    for (path, method) in [
        ("/api/auth/register", "post"),
        ("/api/auth/login", "post"),
        ("/api/auth/refresh", "post"),
        ("/api/posts", "get"),
        ("/api/posts/{id}/react", "delete"),
        ("/api/events/{id}/rsvp", "post"),
        ("/api/health/ready", "get"),
        ("/api/admin/system/tree", "get"),
    ] {
        assert!(document["paths"][path][method].is_object(), "{method} {path} is not in the document");
    }
    assert_eq!(document["servers"][0]["url"], "/", "it fits every address");
    assert!(document["components"]["schemas"]["PostMessage"].is_object());
    let page = server.http.get(server.url("/api/docs")).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.text().await.unwrap().contains("swagger-ui"));
}
