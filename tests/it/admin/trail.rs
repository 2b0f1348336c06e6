//! The audit trail, as admins read it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{acts, done, id, read, staff};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_admins_did_before_there_were_queues_is_in_the_trail_too() {
    let server = Server::start().await;
    let (eva, ana) = (staff(&server, "eva", "admin").await, server.register("ana").await);
    let queue = "/api/admin/jobs/queues/analytics";
    let (status, _) =
        server.call(Method::PATCH, queue, Some(&eva.token), Some(json!({"paused": true}))).await;
    assert_eq!(status, StatusCode::OK);
    let changed = acts(&server, "analytics", 1).await;
    assert_eq!((&changed[0]["act"], &changed[0]["actorId"]), (&json!("queue.changed"), &json!(eva.id)));
    // An admin changes what is somebody else's; the owner's own changes are nobody's business.
    let event = json!({"title": "Milonga", "eventDate": "2030-01-01T20:00:00Z", "location": "L", "eventType": "milonga"});
    let event = done(&server, "/api/events", &ana, event).await;
    let path = format!("/api/events/{}", id(&event));
    for user in [&ana, &eva] {
        let body = Some(json!({"title": "Gala"}));
        let (status, _) = server.call(Method::PATCH, &path, Some(&user.token), body).await;
        assert_eq!(status, StatusCode::OK);
    }
    let changed = acts(&server, &id(&event), 1).await;
    assert_eq!((&changed[0]["act"], &changed[0]["actorId"]), (&json!("event.changed"), &json!(eva.id)));

    let by_eva = read(&server, &format!("/api/admin/audit?actor={}", eva.id), &eva).await;
    assert_eq!(by_eva["items"].as_array().unwrap().len(), 2, "{by_eva}");
    let none = read(&server, "/api/admin/audit?act=job.dropped", &eva).await;
    assert_eq!(none["items"], json!([]));
    let first = read(&server, "/api/admin/audit?limit=1", &eva).await;
    let rest = format!("/api/admin/audit?limit=1&cursor={}", first["nextCursor"].as_str().unwrap());
    assert_ne!(read(&server, &rest, &eva).await["items"], first["items"]);

    let today = Timestamp::now().to_zoned_datetime(TimeZone::UTC).date();
    let checked = read(&server, &format!("/api/admin/audit/verify?day={today}"), &eva).await;
    assert_eq!((&checked["whole"], &checked["roots"]), (&json!(true), &json!([])), "{checked}");
    let entries: u64 =
        checked["chains"].as_array().unwrap().iter().map(|chain| chain["entries"].as_u64().unwrap()).sum();
    assert_eq!(entries, 3, "with the account that was made: {checked}");
    assert_eq!(read(&server, "/api/admin/audit/roots", &eva).await["items"], json!([]));
    let (status, problem): (_, Value) = server.get("/api/admin/audit/verify?day=x", &eva).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moderators_take_away_is_in_the_trail_and_what_authors_do_is_not() {
    let server = Server::start().await;
    let (mia, ana) = (staff(&server, "mia", "moderator").await, server.register("ana").await);
    for remover in [&ana, &mia] {
        let post = done(&server, "/api/posts", &ana, json!({"content": "x"})).await;
        let post = format!("/api/posts/{}", id(&post));
        let comment = done(&server, &format!("{post}/comments"), &ana, json!({"content": "x"})).await;
        let comment = format!("/api/comments/{}", id(&comment));
        for (path, act) in [(comment, "comment.removed"), (post, "post.removed")] {
            let (status, _) = server.call(Method::DELETE, &path, Some(&remover.token), None).await;
            assert_eq!(status, StatusCode::NO_CONTENT);
            if remover.id == mia.id {
                let acts = acts(&server, path.rsplit('/').next().unwrap(), 1).await;
                assert_eq!((&acts[0]["act"], &acts[0]["actorId"]), (&json!(act), &json!(mia.id)));
            }
        }
    }
    let eva = staff(&server, "eva", "admin").await;
    let by_ana = read(&server, &format!("/api/admin/audit?actor={}", ana.id), &eva).await;
    assert_eq!(by_ana["items"], json!([]));
}
