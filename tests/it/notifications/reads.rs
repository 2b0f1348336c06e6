//! Three devices that read at random, while more and more happens: all of them know how much is unread.

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Connected, READ_ALL, Site, member};
use crate::server::{User, until};

/// What a run begins with, unless `MUNDOTANGO_READS_SEED` says otherwise.
const SEED: u64 = 10;
/// Rounds, and what happens at the same time in each.
const ROUNDS: usize = 20;
const TOGETHER: usize = 10;
#[derive(Clone, Debug)]
enum Step {
    /// The user gets a place at an event.
    Tell(u32),
    Read(Value),
    ReadAll(Value),
    Shown(Value),
    Remove(Value),
}

/// A step of a device that knows these ids; it may be late.
fn step(random: &mut StdRng, known: &[Value], number: u32) -> Step {
    let kind = if known.is_empty() { 0 } else { random.random_range(0..10) };
    let id = |random: &mut StdRng| known[random.random_range(0..known.len())].clone();
    match kind {
        0..4 => Step::Tell(number),
        4..7 => Step::Read(id(random)),
        7 => Step::ReadAll(if random.random_ratio(1, 3) { Value::Null } else { id(random) }),
        8 => Step::Shown(id(random)),
        _ => Step::Remove(id(random)),
    }
}

async fn carry_out(site: &Site, user: &User, step: &Step) {
    match step {
        Step::Tell(number) => drop(site.promote(user, &format!("Milonga {number}")).await),
        Step::Read(id) => drop(site.read(user, id).await),
        Step::ReadAll(id) => drop(site.post(READ_ALL, user, json!({"upTo": id})).await),
        Step::Shown(id) => drop(site.post("/api/notifications/shown", user, json!({"upTo": id})).await),
        Step::Remove(id) => {
            let path = format!("/api/notifications/{}", id.as_str().unwrap());
            let (status, _) = site.server.call(Method::DELETE, &path, Some(&user.token), None).await;
            // Another device may have been faster.
            assert!(matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_FOUND), "{status}");
        }
    }
}

/// Waits until the user was told so often.
async fn all_told(site: &Site, times: usize) {
    until("all is told", async || {
        if site.done("notify").await < times as u64 {
            return None;
        }
        let (_, queues) = site.server.get("/api/admin/jobs/queues", &site.root).await;
        let queue = queues.as_array().unwrap().iter().find(|queue| queue["name"] == "notification").unwrap();
        (queue["waiting"] == 0 && queue["running"] == 0).then_some(())
    })
    .await;
}

/// A10: what is unread is counted alike everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_the_count_of_what_is_unread_does_not_drift() {
    let seed = std::env::var("MUNDOTANGO_READS_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let site = Site::start().await;
    let ana = member("ana");
    let devices = join_all((0..3).map(|_| Connected::new(&site, &ana))).await;
    let (mut known, mut told, mut number) = (Vec::new(), 0, 0);
    for round in 0..ROUNDS {
        let steps: Vec<_> = (0..TOGETHER)
            .map(|_| {
                number += 1;
                step(&mut random, &known, number)
            })
            .collect();
        told += steps.iter().filter(|step| matches!(step, Step::Tell(_))).count();
        join_all(steps.iter().map(|step| carry_out(&site, &ana, step))).await;
        all_told(&site, told).await;
        let listed = site.list(&ana).await;
        let unread = listed.iter().filter(|one| one["read"] == false).count() as u64;
        let what = format!("seed {seed}, round {round}: {unread} are unread");
        assert_eq!(site.unread_count(&ana).await, unread, "{what}");
        for device in &devices {
            until(&what, async || (device.unread() == unread).then_some(())).await;
        }
        known = listed.into_iter().map(|one| one["id"].clone()).collect();
    }
    assert!(told > ROUNDS && !known.is_empty(), "something happened");
}
