//! Proposals and safety reviews.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{acts, counted, done, id, ids, read, refused, staff};
use crate::server::{Server, until};

fn proposal(area: &str) -> Value {
    json!({"title": "A map of milongas", "description": "Where one dances tonight.", "area": area, "needsTwo": false})
}

/// Traps 65 and four eyes: who decides is in the trail, and the proposer learns what, why and by which role alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_is_decided_by_others_and_its_proposer_is_told() {
    let server = Server::start().await;
    let (ana, mia, eva) = (
        server.register("ana").await,
        staff(&server, "mia", "moderator").await,
        staff(&server, "eva", "admin").await,
    );
    let made = done(&server, "/api/founder-approval", &ana, proposal("payments")).await;
    assert_eq!(
        (&made["needsTwo"], &made["state"], &made["version"]),
        (&json!(true), &json!("open"), &json!(0))
    );
    let path = format!("/api/founder-approval/{}", id(&made));
    assert_eq!(ids(&read(&server, "/api/founder-approval/pending", &mia).await), [id(&made)]);
    assert_eq!(ids(&read(&server, "/api/founder-approval/mine", &ana).await), [id(&made)]);

    done(&server, &format!("{path}/assign"), &mia, json!({"version": 0})).await;
    let stale = json!({"version": 0, "assigneeId": eva.id});
    let problem = refused(&server, &format!("{path}/assign"), &eva, stale, StatusCode::CONFLICT).await;
    assert_eq!(problem["code"], "changed");
    let now = problem["errors"].as_array().unwrap();
    let now: Vec<_> = now.iter().map(|one| (one["field"].as_str().unwrap(), &one["allowed"][0])).collect();
    assert_eq!(
        now,
        [("version", &json!("1")), ("state", &json!("assigned")), ("assigneeId", &json!(mia.id))]
    );

    let first = done(&server, &format!("{path}/approve"), &mia, json!({"reason": "Good."})).await;
    assert_eq!((&first["state"], &first["outcome"]), (&json!("assigned"), &Value::Null));
    let again = done(&server, &format!("{path}/approve"), &mia, json!({})).await;
    assert_eq!(again["version"], first["version"], "the same person is not two");
    let second = done(&server, &format!("{path}/approve"), &eva, json!({"reason": "Yes."})).await;
    assert_eq!((&second["state"], &second["outcome"]), (&json!("done"), &json!("approved")));
    let late = json!({"reason": "No."});
    let problem = refused(&server, &format!("{path}/reject"), &mia, late, StatusCode::CONFLICT).await;
    assert_eq!(problem["errors"][1]["allowed"], json!(["done"]));
    assert!(ids(&read(&server, "/api/founder-approval/pending", &mia).await).is_empty());

    let seen = read(&server, &path, &ana).await;
    assert_eq!(
        seen["approvals"][0],
        json!({"by": null, "at": seen["approvals"][0]["at"], "reason": "Good."})
    );
    assert_eq!(seen["assigneeId"], Value::Null);
    let told = until("the proposer is told", async || {
        let list = read(&server, "/api/notifications", &ana).await;
        list["items"].as_array()?.iter().find(|one| one["kind"] == "approvalDecided").cloned()
    })
    .await;
    assert_eq!((&told["actorId"], &told["thing"]), (&Value::Null, &json!(id(&made))));
    let acts = acts(&server, &id(&made), 3).await;
    let done_by: Vec<_> =
        acts.iter().map(|act| (act["act"].as_str().unwrap(), &act["actorId"], &act["role"])).collect();
    assert_eq!(
        done_by,
        [
            ("proposal.assigned", &json!(mia.id), &json!("moderator")),
            ("proposal.approved", &json!(mia.id), &json!("moderator")),
            ("proposal.approved", &json!(eva.id), &json!("admin")),
        ]
    );
    assert_eq!(acts[2]["reason"], "Yes.");
    assert_eq!(counted(&server, "feature", "approved").await, 2);
    assert_eq!(counted(&server, "feature", "opened").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_has_bounds_and_nobody_decides_the_own() {
    let server = Server::start().await;
    let mia = staff(&server, "mia", "moderator").await;
    let own = done(&server, "/api/founder-approval", &mia, proposal("events")).await;
    for action in ["approve", "reject"] {
        let path = format!("/api/founder-approval/{}/{action}", id(&own));
        refused(&server, &path, &mia, json!({"reason": "x"}), StatusCode::FORBIDDEN).await;
    }
    let ana = server.register("ana").await;
    for _ in 0..10 {
        done(&server, "/api/founder-approval", &ana, proposal("events")).await;
    }
    let problem =
        refused(&server, "/api/founder-approval", &ana, proposal("events"), StatusCode::CONFLICT).await;
    assert_eq!(problem["code"], "full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_review_goes_from_one_moderator_to_admins_and_ends() {
    let server = Server::start().await;
    let ben = server.register("ben").await;
    let mia = staff(&server, "mia", "moderator").await;
    let (max, eva) = (staff(&server, "max", "moderator").await, staff(&server, "eva", "admin").await);
    let review = json!({"kind": "user", "thingId": ben.id, "reason": "Spam."});
    let made = done(&server, "/api/safety-reviews", &mia, review).await;
    let path = format!("/api/safety-reviews/{}", id(&made));
    assert_eq!((&made["userId"], &made["openedBy"]), (&json!(ben.id), &json!(mia.id)));

    // Of two who take it at the same moment, one has it, and the other is told who.
    let assign = format!("{path}/assign");
    let (one, two) =
        tokio::join!(server.post(&assign, &mia, json!({})), server.post(&assign, &max, json!({})));
    let (holder, other, problem) =
        if one.0 == StatusCode::OK { (&mia, &max, two) } else { (&max, &mia, one) };
    assert_eq!(problem.0, StatusCode::CONFLICT, "{}", problem.1);
    assert_eq!(problem.1["errors"][2]["allowed"], json!([holder.id]));
    let resolve = json!({"action": "warn", "reason": "It is spam."});
    refused(&server, &format!("{path}/resolve"), other, resolve.clone(), StatusCode::CONFLICT).await;

    let handed = done(&server, &format!("{path}/escalate"), holder, json!({"reason": "Again."})).await;
    assert_eq!((&handed["state"], &handed["escalated"]["reason"]), (&json!("open"), &json!("Again.")));
    refused(&server, &assign, holder, json!({}), StatusCode::FORBIDDEN).await;
    refused(&server, &format!("{path}/resolve"), holder, resolve.clone(), StatusCode::FORBIDDEN).await;
    let ended = done(&server, &format!("{path}/resolve"), &eva, resolve).await;
    assert_eq!((&ended["state"], &ended["action"]), (&json!("done"), &json!("warn")));
    assert!(ids(&read(&server, "/api/safety-reviews/pending", &mia).await).is_empty());

    let acts = acts(&server, &id(&made), 4).await;
    let names: Vec<_> = acts.iter().map(|act| act["act"].as_str().unwrap()).collect();
    assert_eq!(names, ["review.opened", "review.assigned", "review.escalated", "review.resolved"]);
    assert_eq!((&acts[3]["reason"], &acts[3]["details"]["action"]), (&json!("It is spam."), &json!("warn")));
    assert_eq!(counted(&server, "safety", "escalated").await, 1);
    assert_eq!(counted(&server, "safety", "closed").await, 1);
}
