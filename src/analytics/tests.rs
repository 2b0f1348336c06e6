//! What analytics promises, from an event's arrival to an admin's answer.

use axum::http::{Request, StatusCode};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mundotango_storage::now;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

use super::counts::{Class, Kind};
use super::events::{Event, Sender};
use super::slots::Slot;
use super::testing::{World, event, id, sender};
use super::{buckets, days, members};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn midnight(days_ago: i64) -> Timestamp {
    Slot::of(now() - HOUR * i32::try_from(days_ago * 24).unwrap()).day().slot(0).begin()
}

/// A day of events, each with its sender: 40 users and others on many pages, one in five of them a bot.
fn day_of(begin: Timestamp) -> Vec<(Sender, Event)> {
    let one = |number: u64| {
        let (who, class) = (number % 40, if number.is_multiple_of(5) { Class::Bot } else { Class::Human });
        let list = if who < 20 { "u" } else { "a" };
        let time = begin + SignedDuration::from_secs(i64::try_from(number * 171 % 86_400).unwrap());
        let kind =
            [Kind::PageView, Kind::UserAction, Kind::FeatureUsage][usize::try_from(number % 3).unwrap()];
        let mut event = event(time, number, kind, &format!("name-{}", number % 7));
        event.path = Some(format!("/page-{}", number % 11));
        (sender(&format!("{list}:{who}"), class), event)
    };
    (0..500).map(one).collect()
}

/// What all kinds of answers say of a day, but for which slots are behind.
async fn answers(world: &World, from: Timestamp) -> Vec<Value> {
    let to = from + HOUR * 24;
    let mut answers = Vec::new();
    for query in [
        "series?metric=events&step=hour",
        "series?metric=events&step=day&kind=page_view",
        "series?metric=events&step=15m&kind=user_action&name=name-1",
        "series?metric=visitors&step=hour",
        "series?metric=visitors&step=day",
        "series?metric=members&step=month",
        "series?metric=visitors&step=day&zone=Asia/Kathmandu&kind=page_view",
        "top?kind=page_view&by=path",
        "top?kind=user_action&by=name&limit=3",
        "features?",
        "funnel?steps=name-1,name-2,name-3",
    ] {
        let (status, answer) = world.get(&format!("{query}&from={from}&to={to}")).await;
        assert_eq!(status, StatusCode::OK, "{query}: {answer}");
        assert_eq!(answer.get("behind").unwrap_or(&json!(0)), 0, "{query}");
        assert!(answer["definition"].as_str().unwrap().len() > 40, "{query}: what is counted is said");
        answers.push(answer);
    }
    answers
}

/// Compares answers one by one.
fn compare(answers: &[Value], expected: &[Value], when: &str) {
    for (answer, expected) in answers.iter().zip(expected) {
        assert_eq!(answer, expected, "{when}");
    }
}

#[tokio::test]
async fn t49_a_day_that_comes_twice_shuffled_and_late_counts_once() {
    let begin = midnight(5);
    let day = day_of(begin);
    let expected = {
        let world = World::at(now());
        for (sender, event) in &day {
            world.count(sender, std::slice::from_ref(event)).await;
        }
        answers(&world, begin).await
    };
    let sum = |answer: &Value, field: &str| -> u64 {
        answer["points"].as_array().unwrap().iter().map(|point| point[field].as_u64().unwrap()).sum()
    };
    assert_eq!((sum(&expected[0], "value"), sum(&expected[0], "bots")), (400, 100), "bots are counted apart");

    let mut world = World::at(begin + HOUR * 24);
    let mut twice: Vec<_> = day.iter().chain(&day).cloned().collect();
    twice.shuffle(&mut StdRng::seed_from_u64(7));
    let (first, late) = twice.split_at(600);
    for (sender, event) in first {
        world.count(sender, std::slice::from_ref(event)).await;
    }
    world.fold(begin, begin).await;
    // The rest comes three days later, when the day has long been folded, by several clients at the same
    // time.
    world.now = begin + HOUR * 96;
    let late = late.iter().map(|(sender, event)| world.count(sender, std::slice::from_ref(event)));
    futures_util::future::join_all(late).await;
    compare(&answers(&world, begin).await, &expected, "before the late ones are folded");
    world.fold(begin, begin).await;
    compare(&answers(&world, begin).await, &expected, "after that");
    for (sender, event) in &day {
        world.count(sender, std::slice::from_ref(event)).await;
    }
    world.fold(begin, begin).await;
    compare(&answers(&world, begin).await, &expected, "a third time changes nothing");
}

#[tokio::test]
async fn t49_an_id_is_counted_once_whatever_else_is_sent_with_it() {
    let begin = midnight(2);
    let world = World::at(now());
    let first = event(begin, 1, Kind::PageView, "home");
    let again = Event { name: "another".to_owned(), ..first.clone() };
    world.count(&sender("a:1", Class::Human), &[first.clone(), first, again.clone()]).await;
    world.count(&sender("u:2", Class::Bot), &[again]).await;
    let (counts, _) = buckets::totals(&world.db(), Slot::of(begin)).await.unwrap();
    assert_eq!((counts.of("all").human, counts.of("all").bot), (1, 0));
    assert_eq!(counts.below("n/page_view/").count(), 1);
}

#[tokio::test]
async fn t53_a_late_event_is_not_lost_to_a_fold_under_way() {
    let begin = midnight(3);
    let world = World::at(now());
    let (db, slot) = (world.db(), Slot::of(begin));
    let human = sender("a:1", Class::Human);
    world.count(&human, &[event(begin, 1, Kind::PageView, "home")]).await;
    let mark = days::dirty(&db, slot.day()).await.unwrap()[&0];
    // Comes when the mark has been read.
    world.count(&human, &[event(begin, 2, Kind::PageView, "home")]).await;
    assert!(!days::fold(&db, slot, mark).await.unwrap(), "what came since has to be folded");
    let newer = days::dirty(&db, slot.day()).await.unwrap()[&0];
    assert!(newer > mark);
    assert!(days::fold(&db, slot, newer).await.unwrap());
    // A mark is never used again, so a fold that was held up takes no other mark away.
    world.count(&human, &[event(begin, 3, Kind::PageView, "home")]).await;
    assert!(days::dirty(&db, slot.day()).await.unwrap()[&0] > newer);
    assert!(!days::clear(&db, slot, newer).await.unwrap());
}

#[tokio::test]
async fn names_beyond_the_limit_are_counted_together_with_their_visitors() {
    let begin = midnight(1);
    let world = World::at(now());
    for number in 0..600 {
        let human = sender(&format!("u:{number}"), Class::Human);
        world.count(&human, &[event(begin, number, Kind::UserAction, &format!("n{number}"))]).await;
    }
    world.fold(begin, begin).await;
    let query = format!("top?kind=user_action&by=name&from={begin}&to={}", begin + HOUR);
    let (_, answer) = world.get(&query).await;
    let group = &answer["groups"][0];
    assert_eq!((&group["group"], answer["groups"].as_array().unwrap().len()), (&json!("(other)"), 1));
    assert_eq!(group["events"]["human"], 600 - 4 * 64);
    assert_eq!(group["members"], 600 - 4 * 64);
    assert_eq!(answer["hidden"], 4 * 64, "names of one person are not shown");
}

#[tokio::test]
async fn t52_days_of_a_zone_are_put_together_when_they_are_read() {
    let new_york = TimeZone::get("America/New_York").unwrap();
    // The last time that clocks there were put forward or back.
    let change = new_york.preceding(now() - HOUR * 48).next().unwrap().timestamp();
    let date = change.to_zoned_datetime(new_york.clone()).date();
    let begin = date.to_zoned_datetime(new_york.clone()).unwrap().timestamp();
    let end = date.tomorrow().unwrap().to_zoned_datetime(new_york).unwrap().timestamp();
    let hours = end.duration_since(begin).as_hours();
    assert!(hours == 23 || hours == 25);
    let world = World::at(end);
    // An event in each quarter of an hour of three UTC days.
    let first = Slot::of(begin).day().slot(0).begin() - HOUR * 24;
    for quarter in 0..3 * 96_u32 {
        let time = first + MINUTE * (15 * i32::try_from(quarter).unwrap());
        let human = sender(&format!("u:{}", quarter % 50), Class::Human);
        world.count(&human, &[event(time, u64::from(quarter), Kind::PageView, "home")]).await;
    }
    let world = &world;
    for is_folded in [false, true] {
        if is_folded {
            world.fold(first, first + HOUR * 71).await;
        }
        let of_day = |metric: &str, step: &str, zone: &str| {
            let query = format!(
                "series?metric={metric}&step={step}&zone={zone}&from={date}&to={}",
                date.tomorrow().unwrap()
            );
            async move { world.get(&query).await.1["points"].take() }
        };
        let day = of_day("events", "day", "America/New_York").await;
        assert_eq!(
            day,
            json!([{"start": format!("{begin:.3}"), "label": date.to_string(), "value": hours * 4, "bots": 0, "unknown": 0}])
        );
        assert_eq!(of_day("members", "day", "America/New_York").await[0]["value"], 50);
        let of_hours = of_day("events", "hour", "America/New_York").await;
        let of_hours: Vec<_> =
            of_hours.as_array().unwrap().iter().map(|point| point["value"].clone()).collect();
        assert_eq!(of_hours, vec![json!(4); usize::try_from(hours).unwrap()]);
        for zone in ["Asia/Tehran", "Asia/Kathmandu"] {
            assert_eq!(of_day("events", "day", zone).await[0]["value"], 96, "{zone}");
        }
    }
}

#[tokio::test]
async fn t50_visitors_are_not_added_up() {
    let begin = midnight(10);
    let world = World::at(now());
    for day in 0..10_u64 {
        for who in 0..30_u64 {
            let time = begin + HOUR * i32::try_from(day * 24).unwrap();
            let view = event(time, day * 100 + who, Kind::PageView, "home");
            world.count(&sender(&format!("u:{}", who + day), Class::Human), &[view]).await;
        }
    }
    let query = |metric: &str, step: &str| {
        format!("series?metric={metric}&step={step}&from={begin}&to={}", begin + HOUR * 240)
    };
    let (_, weeks) = world.get(&query("members", "month")).await;
    let points = weeks["points"].as_array().unwrap();
    let most = points.iter().map(|point| point["value"].as_u64().unwrap()).max().unwrap();
    assert!((30..=39).contains(&most), "39 different ones in all: {weeks}");
    let (status, problem) = world.get(&query("visitors", "month")).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("metric")));
}

#[tokio::test]
async fn t55_few_people_are_hidden_where_they_are_told_apart() {
    let begin = midnight(8);
    let world = World::at(now());
    let views = |who: String, page: &'static str, from: u64| {
        let world = &world;
        async move {
            // One person who is not logged in comes every day, under another id each.
            for day in 0..6_u64 {
                let time = begin + HOUR * i32::try_from(day * 24).unwrap();
                let view = event(time, from + day, Kind::PageView, page);
                let who = if who.starts_with('a') { format!("{who}.{day}") } else { who.clone() };
                world.count(&sender(&who, Class::Human), &[view]).await;
            }
        }
    };
    views("a:1".to_owned(), "secret", 1_000).await;
    for who in 0..5 {
        views(format!("u:{who}"), "home", 2_000 + who * 10).await;
    }
    for who in 0..4 {
        views(format!("u:{who}"), "four", 3_000 + who * 10).await;
    }
    world.fold(begin, begin + HOUR * 24 * 4).await;
    let range = format!("from={begin}&to={}", begin + HOUR * 24 * 7);
    let (_, answer) = world.get(&format!("top?kind=page_view&by=name&{range}")).await;
    let names: Vec<_> = answer["groups"].as_array().unwrap().iter().map(|group| &group["group"]).collect();
    assert_eq!((names, &answer["hidden"]), (vec![&json!("home")], &json!(2)), "{answer}");
    for (name, shown) in [("home", json!(5)), ("four", Value::Null), ("nobody-comes-here", json!(0))] {
        let query = format!("series?metric=members&step=month&kind=page_view&name={name}&{range}");
        let (_, answer) = world.get(&query).await;
        let values = answer["points"].as_array().unwrap().iter().map(|point| point["value"].clone());
        assert!(values.clone().any(|value| value == shown), "{name}: {answer}");
        assert!(values.into_iter().all(|value| value.as_u64().is_none_or(|value| value == 0 || value > 4)));
    }
}

#[tokio::test]
async fn a_funnel_counts_users_who_did_the_steps_in_their_order() {
    let begin = midnight(2);
    let world = World::at(now());
    let mut number = 0;
    let mut does = async |who: String, steps: &[(i32, &str)]| {
        for (minute, step) in steps {
            number += 1;
            let action = event(begin + MINUTE * *minute, number, Kind::UserAction, step);
            let class = if who.contains("bot") { Class::Bot } else { Class::Human };
            world.count(&sender(&who, class), &[action]).await;
        }
    };
    for who in 0..6 {
        does(format!("u:all-{who}"), &[(5, "pay"), (1, "open"), (2, "going"), (300, "pay")]).await;
        does(format!("u:backwards-{who}"), &[(1, "pay"), (2, "going"), (3, "open")]).await;
        does(format!("a:anonymous-{who}"), &[(1, "open"), (2, "going")]).await;
        does(format!("u:bot-{who}"), &[(1, "open"), (2, "going"), (3, "pay")]).await;
    }
    does("u:one".to_owned(), &[(1, "open"), (2, "going")]).await;
    let query = format!("funnel?steps=open,going,pay,nothing&from={begin}&to={}", begin + HOUR * 24);
    let (status, answer) = world.get(&query).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let reached: Vec<_> = answer["steps"].as_array().unwrap().iter().map(|step| &step["members"]).collect();
    assert_eq!(reached, [13, 7, 6, 0]);
    let (status, _) = world.get(&format!("funnel?steps=open&from={begin}&to={}", begin + HOUR)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn those_who_come_back_are_counted_once_a_week() {
    let monday = Slot::of(now()).day().week().0 - 3;
    let monday = super::slots::Week(monday).monday().slot(0).begin();
    let world = World::at(now());
    for repeat in 0..2_u64 {
        for who in 0..10_u64 {
            // All come in the first week, six in the one after, and two in the third.
            for week in
                (0..3_i32).filter(|week| *week == 0 || who < [0, 6, 2][usize::try_from(*week).unwrap()])
            {
                let time = monday + HOUR * (week * 168 + 30);
                let number = who + repeat * 100;
                world
                    .count(
                        &sender(&format!("u:{who}"), Class::Human),
                        &[event(time, number, Kind::PageView, "home")],
                    )
                    .await;
            }
        }
    }
    let (status, answer) = world.get(&format!("retention?from={}&weeks=4", monday + HOUR)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let cohorts = answer["cohorts"].as_array().unwrap();
    assert_eq!(cohorts.len(), 4);
    assert_eq!(cohorts[0]["members"], json!([10, 6, null, 0]), "{answer}");
    assert_eq!(cohorts[3]["members"], json!([0]));
}

#[tokio::test]
async fn t55_who_is_forgotten_leaves_no_events_and_is_counted_no_more() {
    let begin = midnight(4);
    let world = World::at(now());
    let (ana, beto) = (sender("u:ana", Class::Human), sender("u:beto", Class::Human));
    for number in 0..300_u64 {
        let time = begin + MINUTE * i32::try_from(number * 7).unwrap();
        world.count(&ana, &[event(time, number, Kind::PageView, "home")]).await;
        world.count(&beto, &[event(time, 1_000 + number, Kind::PageView, "home")]).await;
    }
    assert_eq!(members::forget(&world.db(), "u:ana").await.unwrap(), 300);
    world
        .count(&ana, &[event(begin, 5_000, Kind::PageView, "home"), event(begin, 1, Kind::PageView, "home")])
        .await;
    let mut left = 0;
    for slot in (0..200).map(|number| Slot(Slot::of(begin).0 + number)) {
        for shard in 0..buckets::SHARDS {
            let page = buckets::events(&world.db(), slot, shard, None).await.unwrap();
            assert!(page.items.iter().all(|kept| kept.sender == beto), "{page:?}");
            left += page.items.len();
        }
    }
    assert_eq!(left, 300);
    let (_, answer) =
        world.get(&format!("series?metric=events&step=month&from={begin}&to={}", begin + HOUR * 48)).await;
    let events: u64 =
        answer["points"].as_array().unwrap().iter().map(|point| point["value"].as_u64().unwrap()).sum();
    assert_eq!(events, 600, "numbers stay");
    assert_eq!(members::forget(&world.db(), "u:ana").await.unwrap(), 0, "doing it again harms nothing");
}

#[tokio::test]
async fn a_batch_is_answered_event_by_event_and_objections_are_kept_to() {
    let world = World::at(now());
    let post = || Request::post("/api/analytics/events").header("content-type", "application/json");
    let of = |time| json!({"id": id(time, 1), "kind": "page_view", "name": "home", "path": "/users/42"});
    let batch = json!({"events": [
        of(now()), of(now() - HOUR * 24 * 36), of(now() + HOUR), {"kind": "feature_usage", "name": "map"},
    ]});
    let (status, answer) = world.call(post(), &batch.to_string(), None).await;
    assert_eq!((status, &answer["accepted"]), (StatusCode::ACCEPTED, &json!(2)), "{answer}");
    let refused: Vec<_> =
        answer["refused"].as_array().unwrap().iter().map(|one| (&one["index"], &one["code"])).collect();
    assert_eq!(refused, [(&json!(1), &json!("too_old")), (&json!(2), &json!("in_future"))]);
    let (_, answer) = world.call(post().header("sec-gpc", "1"), &batch.to_string(), Some("user")).await;
    assert_eq!(answer, json!({"accepted": 0, "refused": [], "notKept": "signal"}));
    for bad in [r#"{"events": [{"kind": "page_view", "name": "home", "ip": "x"}]}"#, "{", "[]"] {
        assert_eq!(world.call(post(), bad, None).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
    let waiting = world.analytics.jobs.report(super::work::ANALYTICS.name).await.unwrap().waiting;
    assert_eq!(waiting, 1, "one job for the batch, and none for the one that is not kept");
}

#[tokio::test]
async fn what_would_read_too_much_or_means_nothing_is_refused() {
    let world = World::at(now());
    let (from, to) = (midnight(30), midnight(0));
    for (query, field) in [
        (format!("series?metric=events&step=15m&from={from}&to={to}"), "to"),
        (format!("series?metric=events&step=hour&from={from}&to={to}"), "to"),
        (format!("series?metric=events&step=day&from={to}&to={from}"), "to"),
        (format!("series?metric=events&step=day&from={from}&to={to}&name=x"), "kind"),
        (format!("series?metric=events&step=day&from={from}&to={to}&zone=Mars/Olympus"), "zone"),
        (format!("series?metric=people&step=day&from={from}&to={to}"), "metric"),
        (format!("series?metric=events&step=day&from=yesterday&to={to}"), "from"),
        (format!("series?metric=events&step=day&from=1999-01-01&to={to}"), "from"),
        (format!("series?metric=events&step=day&from={from}&to=9999-12-31"), "to"),
        (format!("series?metric=events&step=day&form={from}&to={to}"), "form"),
        (format!("top?kind=page_view&by=name&from={}&to={to}", midnight(100)), "to"),
        (format!("top?kind=page_view&by=name&from={from}&to={to}&limit=51"), "limit"),
        (format!("funnel?steps=a,b&from={}&to={}", midnight(60), midnight(50)), "from"),
        (format!("funnel?steps=a,b%20c&from={from}&to={to}"), "steps"),
        (format!("retention?from={}", midnight(-3)), "to"),
        (format!("retention?from={from}&weeks=27"), "weeks"),
    ] {
        let (status, problem) = world.get(&query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {problem}");
        assert!(
            problem["errors"].as_array().unwrap().iter().any(|error| error["field"] == field),
            "{query}: {problem}"
        );
    }
    for path in ["series", "top", "funnel", "features", "retention"] {
        let query = format!(
            "/api/admin/analytics/{path}?metric=events&step=day&kind=page_view&by=name&steps=a,b&from={from}&to={to}"
        );
        let allowed: &[&str] = match path {
            "series" => &["metric", "step", "from", "to"],
            "top" => &["kind", "by", "from", "to"],
            "funnel" => &["steps", "from", "to"],
            "features" => &["from", "to"],
            _ => &["from"],
        };
        let (path, parameters) = query.split_once('?').unwrap();
        let own = |one: &&str| allowed.contains(&one.split('=').next().unwrap());
        let query = parameters.split('&').filter(own).collect::<Vec<_>>().join("&");
        let uri = format!("{path}?{query}");
        assert_eq!(world.call(Request::get(&uri), "", Some("admin")).await.0, StatusCode::OK, "{uri}");
        assert_eq!(world.call(Request::get(&uri), "", Some("moderator")).await.0, StatusCode::FORBIDDEN);
        assert_eq!(world.call(Request::get(&uri), "", None).await.0, StatusCode::UNAUTHORIZED);
    }
}
