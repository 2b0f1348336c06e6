//! Reviews of a stay that is over: the data folder is given one that began two weeks ago.

use jiff::SignedDuration;
use mundotango::community::housing::bookings::saga::Bookings;
use mundotango::community::housing::listings::requests::Asked;
use mundotango::community::housing::stay::Stay;
use mundotango::engines::store_path;
use mundotango::schema::schema;
use mundotango_protocol::new_id;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::now;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Town, day, page_of};
use crate::server::{User, until};

/// A stay from so many days ago on, for so many nights, confirmed before it began; while no node runs.
async fn stayed(town: &Town, room: &Value, guest: &User, days_ago: i64, nights: i64) -> Value {
    let folder = store_path(&town.server.data_dir());
    let store = EmbeddedStore::open(&folder, &EmbeddedOptions::default(), &schema()).unwrap();
    let bookings = Bookings::new(&store.stores().db);
    let before = now() - SignedDuration::from_hours(24 * (days_ago + 1));
    let asked = Asked {
        guest_id: guest.id.clone(),
        stay: Stay::new(day(-days_ago), day(nights - days_ago)).unwrap(),
        guests: 1,
        message: None,
        expected: None,
    };
    let (listing, id) = (room["id"].as_str().unwrap(), new_id());
    let booking = bookings.ask(listing, &id, asked, before).await.unwrap().unwrap();
    bookings.confirm(&booking, 0, before).await.unwrap();
    json!({"id": id})
}

async fn with_stays(stays: &[(i64, i64)]) -> (Town, Value, Vec<Value>) {
    let mut town = Town::start().await;
    let room = town.room().await;
    town.server.signal("TERM");
    assert!(town.server.wait_for_end().await.success());
    let mut made = Vec::new();
    for (days_ago, nights) in stays {
        made.push(stayed(&town, &room, &town.ana, *days_ago, *nights).await);
    }
    town.server.start_again().await;
    (town, room, made)
}

/// Traps 32, 33 and 34.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_are_hidden_until_both_are_written() {
    let (town, room, stays) = with_stays(&[(6, 3)]).await;
    let stay = &stays[0];
    let seen = town.get(&page_of(stay), &town.ana).await;
    assert_eq!((&seen["status"], &seen["reviews"]["mayReview"]), (&json!("completed"), &json!(true)));
    let review = json!({"rating": 2, "text": "Loud.", "private": "The neighbour sings."});
    let (status, _) = town.act(stay, "reviews", &town.ben, review.clone()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, written) = town.act(stay, "reviews", &town.ana, review.clone()).await;
    assert_eq!((status, &written["rating"]), (StatusCode::CREATED, &json!(2)));
    let (status, _) = town.act(stay, "reviews", &town.ana, review).await;
    assert_eq!(status, StatusCode::CONFLICT, "a review stays as it is");
    let of_place = format!("/api/housing/{}/reviews", room["id"].as_str().unwrap());
    let of_host = format!("/api/users/{}/reviews?as=host", town.host.id);
    let of_guest = format!("/api/users/{}/reviews", town.ana.id);
    for path in [&of_place, &of_host, &of_guest] {
        assert_eq!(town.get(path, &town.ben).await["items"], json!([]), "{path}");
    }
    let reviews = async |user: &User| town.get(&page_of(stay), user).await["reviews"].clone();
    assert_eq!(reviews(&town.ana).await["mine"]["text"], "Loud.", "an author always sees the own words");
    assert_eq!(reviews(&town.host).await["theirs"], Value::Null);
    let (status, _) = town.act(stay, "reviews/reply", &town.host, json!({"text": "Why?"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "what is not seen is not answered");

    town.done(stay, "reviews", &town.host, json!({"rating": 5, "text": "A good guest."})).await;
    let shown = reviews(&town.host).await;
    assert_eq!(
        (&shown["theirs"]["text"], &shown["theirs"]["private"]),
        (&json!("Loud."), &json!("The neighbour sings."))
    );
    for (path, text) in [(&of_place, "Loud."), (&of_host, "Loud."), (&of_guest, "A good guest.")] {
        let page = town.get(path, &town.ben).await;
        assert_eq!(page["items"][0]["text"], text, "{path}");
        assert_eq!(page["items"][0].get("private"), None, "{path}");
    }
    for expected in [StatusCode::NO_CONTENT, StatusCode::CONFLICT] {
        let (status, _) =
            town.act(stay, "reviews/reply", &town.host, json!({"text": "I have moved him."})).await;
        assert_eq!(status, expected);
    }
    assert_eq!(town.get(&of_place, &town.ben).await["items"][0]["reply"]["text"], "I have moved him.");
    let listing = format!("/api/housing/{}", room["id"].as_str().unwrap());
    let rating = until("the stars are counted", async || {
        let rating = town.get(&listing, &town.ben).await["rating"].clone();
        (rating["count"] == 1).then_some(rating)
    })
    .await;
    assert_eq!(rating["mean"].as_f64(), Some(2.0));
    let told = until("both are told", async || {
        let listed = town.get("/api/notifications", &town.ana).await;
        listed["items"].as_array().unwrap().iter().find(|one| one["kind"] == "reviewsRevealed").cloned()
    })
    .await;
    assert_eq!(told["thing"], stay["id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stay_is_reviewed_within_two_weeks_and_a_no_show_never() {
    let (town, _, stays) = with_stays(&[(20, 3), (4, 3)]).await;
    let review = json!({"rating": 5, "text": "x"});
    let (status, problem) = town.act(&stays[0], "reviews", &town.ana, review.clone()).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let noted = town.done(&stays[1], "no-show", &town.host, json!({})).await;
    assert_eq!(noted["status"], "noShow");
    for user in [&town.ana, &town.host] {
        let (status, problem) = town.act(&stays[1], "reviews", user, review.clone()).await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    }
    let (status, _) = town.act(&stays[0], "no-show", &town.host, json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "too long ago");
    // A job writes down what time has made of the stay.
    until("the stay is completed in the history too", async || {
        let seen = town.get(&page_of(&stays[0]), &town.ana).await;
        seen["history"].as_array().unwrap().iter().any(|one| one["status"] == "completed").then_some(())
    })
    .await;
}
