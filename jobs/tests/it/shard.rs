//! What a shard promises, call by call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mundotango_jobs::rules::{Claim, Claimed, End, Lost, Settled};
use mundotango_jobs::{
    Ended, Enqueued, Hint, JobError, JobId, JobKind, Jobs, NewJob, Priority, Queue, State,
};
use mundotango_storage::db::{Schema, shard_of};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::now;
use tempfile::TempDir;

pub static QUEUE: Queue = Queue::new("test", 5);
pub static KIND: JobKind<u64> = JobKind::new("number", &QUEUE, 1).attempts(3);
static LATER: JobKind<u64> = JobKind::new("number", &QUEUE, 2);
static STRANGE: JobKind<u64> = JobKind::new("strange", &QUEUE, 1);
static FRESH: JobKind<u64> = JobKind::new("number", &QUEUE, 1).useless_after(Duration::from_millis(1));

/// A store with nothing but queues.
pub struct Store {
    _folder: TempDir,
    _engine: EmbeddedStore,
    pub jobs: Jobs,
}

pub fn open() -> Store {
    let folder = tempfile::tempdir().unwrap();
    let schema = Schema { kinds: vec![mundotango_jobs::JOBS.spec()], indexes: vec![] };
    let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &schema).unwrap();
    let jobs = Jobs::new(store.stores().db, |_, _| {});
    Store { _folder: folder, _engine: store, jobs }
}

pub fn claim_of(holder: &str, most: usize, now: i64) -> Claim {
    let known = Arc::new(BTreeMap::from([("number", (1, 1_000))]));
    Claim { holder: holder.to_owned(), most, now, known }
}

fn millis() -> i64 {
    now().as_millisecond()
}

impl Store {
    /// Puts a job into the one shard of these tests, by its unique key.
    async fn put(&self, job: NewJob) -> JobId {
        match self.jobs.enqueue(job.unique(mundotango_protocol::new_id())).await.unwrap() {
            Enqueued::New(id) => id,
            Enqueued::Existing(id) => panic!("{id} was there"),
        }
    }

    /// Claims from all shards.
    async fn take(&self, holder: &str, most: usize) -> Vec<(u64, Claimed)> {
        self.take_at(holder, most, millis()).await
    }

    async fn take_at(&self, holder: &str, most: usize, now: i64) -> Vec<(u64, Claimed)> {
        let mut all = Vec::new();
        for shard in 0..4 {
            let claim = claim_of(holder, most - all.len(), now);
            let (given, _) = self.jobs.claim("test", shard, claim, &Hint::default()).await.unwrap();
            all.extend(given.claimed.into_iter().map(|one| (shard, one)));
        }
        all
    }

    async fn end(&self, holder: &str, (shard, claimed): &(u64, Claimed), end: End) -> usize {
        let Claimed { id, lease, job, .. } = claimed.clone();
        let settled = vec![Settled { id, lease, job, end }];
        self.jobs.settle("test", *shard, holder, settled).await.unwrap().lost
    }

    async fn counts(&self) -> (u64, u64, u64, u64) {
        let report = self.jobs.report("test").await.unwrap();
        (report.waiting, report.delayed, report.running, report.dead)
    }
}

fn failed(why: &str) -> End {
    End::Failed { due: millis() - 1, why: why.to_owned() }
}

#[tokio::test]
async fn a_job_is_done_once_and_leaves_nothing() {
    let store = open();
    let id = store.put(KIND.job(&7).unwrap()).await;
    let taken = store.take("a", 10).await;
    assert_eq!((taken.len(), &taken[0].1.id, taken[0].1.job.payload.get()), (1, &id.id, "7"));
    assert!(store.take("b", 10).await.is_empty(), "it has a holder");
    assert_eq!(store.counts().await, (0, 0, 1, 0));
    assert_eq!(store.end("a", &taken[0], End::Done).await, 0);
    assert_eq!(store.counts().await, (0, 0, 0, 0));
    assert!(store.jobs.show(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn t12_a_unique_job_is_refused_while_it_lives_and_not_after() {
    let store = open();
    let job = || KIND.job(&1).unwrap().unique("digest of ana");
    let Enqueued::New(first) = store.jobs.enqueue(job()).await.unwrap() else { panic!() };
    assert_eq!(store.jobs.enqueue(job()).await.unwrap(), Enqueued::Existing(first.clone()));
    let taken = store.take("a", 1).await;
    assert_eq!(store.jobs.enqueue(job()).await.unwrap(), Enqueued::Existing(first.clone()));
    store.end("a", &taken[0], failed("later")).await;
    assert_eq!(store.jobs.enqueue(job()).await.unwrap(), Enqueued::Existing(first));
    for end in [End::Done, End::Hopeless("no".to_owned()), End::Cancelled] {
        let taken = store.take("a", 1).await;
        store.end("a", &taken[0], end).await;
        assert!(matches!(store.jobs.enqueue(job()).await.unwrap(), Enqueued::New(_)));
    }
}

#[tokio::test]
async fn t13_a_job_that_failed_keeps_its_priority_and_its_story() {
    let store = open();
    let id = store.put(KIND.job(&1).unwrap().priority(Priority::High)).await;
    for attempt in 1..=3 {
        let taken = store.take("a", 1).await;
        assert_eq!((taken[0].1.attempt, taken[0].1.job.priority), (attempt, Priority::High));
        store.end("a", &taken[0], failed(&format!("reason {attempt}"))).await;
    }
    assert!(store.take("a", 1).await.is_empty());
    let shown = store.jobs.show(&id).await.unwrap().unwrap();
    assert_eq!((shown.state, shown.job.ended, shown.job.attempts), (State::Dead, Some(Ended::Failed), 3));
    let story: Vec<_> = shown.job.tries.iter().map(|one| one.why.as_str()).collect();
    assert_eq!(story, ["reason 1", "reason 2", "reason 3"]);
    assert_eq!(store.jobs.retry(&id).await.unwrap(), Some(true));
    let taken = store.take("a", 1).await;
    assert_eq!(taken[0].1.attempt, 1, "an operator gives it all its attempts again");
    store.end("a", &taken[0], End::Done).await;
    assert_eq!(store.counts().await, (0, 0, 0, 0));
}

#[tokio::test]
async fn t14_the_burst_of_one_group_does_not_hold_up_another() {
    let store = open();
    let mut all = Vec::new();
    for _ in 0..2_000 {
        all.push(store.put(KIND.job(&1).unwrap().group("many")));
    }
    futures_util::future::join_all(all).await;
    store.put(KIND.job(&2).unwrap().group("one")).await;
    let taken = store.take("a", 16).await;
    // Each shard gives what it has, and in the one of the other group it is among the first two.
    let other = taken.iter().filter(|(_, one)| one.job.group == "one").count();
    let mut more = Vec::new();
    for shard in 0..4 {
        let (given, _) =
            store.jobs.claim("test", shard, claim_of("a", 2, millis()), &Hint::default()).await.unwrap();
        more.extend(given.claimed);
    }
    assert_eq!(other + more.iter().filter(|one| one.job.group == "one").count(), 1);
}

#[tokio::test]
async fn t13_the_lowest_priority_goes_on_under_any_load() {
    let store = open();
    for _ in 0..200 {
        store.put(KIND.job(&1).unwrap().priority(Priority::High)).await;
    }
    for _ in 0..8 {
        store.put(KIND.job(&2).unwrap().priority(Priority::Low)).await;
    }
    let mut low = 0;
    for shard in 0..4 {
        let (given, _) =
            store.jobs.claim("test", shard, claim_of("a", 20, millis()), &Hint::default()).await.unwrap();
        low += given.claimed.iter().filter(|one| one.job.priority == Priority::Low).count();
    }
    assert!((1..=8).contains(&low), "{low} of the lowest among 80");
}

#[tokio::test]
async fn t5_what_a_node_does_not_know_is_left_for_others() {
    let store = open();
    store.put(LATER.job(&1).unwrap()).await;
    store.put(STRANGE.job(&2).unwrap()).await;
    assert!(store.take("a", 10).await.is_empty());
    assert_eq!(store.counts().await, (0, 2, 0, 0));
    let later = millis() + 60_000;
    let known = Arc::new(BTreeMap::from([("number", (2, 1_000)), ("strange", (1, 1_000))]));
    let mut taken = 0;
    for shard in 0..4 {
        let claim = Claim { known: Arc::clone(&known), ..claim_of("b", 10, later) };
        let (given, _) = store.jobs.claim("test", shard, claim, &Hint::default()).await.unwrap();
        assert!(given.claimed.iter().all(|one| one.attempt == 1), "no attempt was used up");
        taken += given.claimed.len();
    }
    assert_eq!(taken, 2);
}

#[tokio::test]
async fn t8_what_comes_too_late_ends_as_expired() {
    let store = open();
    let id = store.put(FRESH.job(&1).unwrap()).await;
    assert!(store.take_at("a", 10, millis() + 1_000).await.is_empty());
    let shown = store.jobs.show(&id).await.unwrap().unwrap();
    assert_eq!((shown.state, shown.job.ended), (State::Dead, Some(Ended::Expired)));
}

#[tokio::test]
async fn t2_t3_a_holder_that_was_lost_is_not_believed() {
    let store = open();
    store.put(KIND.job(&1).unwrap()).await;
    let taken = store.take("a", 1).await;
    let shard = taken[0].0;
    // Whoever saw one more beat than the rescuer did keeps its work.
    store.jobs.beat("test", shard, "a").await.unwrap();
    let silent = |beats| Lost::Silent { holders: vec![("a".to_owned(), beats)], late: vec![] };
    let stale = silent(1);
    assert_eq!(store.jobs.rescue("test", shard, stale).await.unwrap(), 0);
    let lost = silent(2);
    assert_eq!(store.jobs.rescue("test", shard, lost.clone()).await.unwrap(), 1);
    let again = store.take("b", 1).await;
    assert_eq!((again.len(), again[0].1.job.rescues, again[0].1.attempt), (1, 1, 1));
    assert_eq!(store.end("a", &taken[0], End::Done).await, 1, "the late end is refused");
    assert_eq!(store.counts().await, (0, 0, 1, 0));
    assert_eq!(store.end("b", &again[0], End::Done).await, 0);
    // A rescue that was decided before sees that it is done.
    assert_eq!(store.jobs.rescue("test", shard, lost).await.unwrap(), 0);
    assert_eq!(store.counts().await, (0, 0, 0, 0));
}

#[tokio::test]
async fn t9_a_job_whose_workers_die_is_quarantined() {
    let store = open();
    let id = store.put(KIND.job(&1).unwrap()).await;
    for death in 0..=5 {
        // The next time it waits longer, apart from those that were lost with it.
        let taken = store.take_at("a", 1, millis() + death * 60_000).await;
        assert_eq!(taken[0].1.attempt, 1, "no attempt is used up by a death");
        store.jobs.rescue("test", taken[0].0, Lost::AllBut("z".to_owned())).await.unwrap();
    }
    let shown = store.jobs.show(&id).await.unwrap().unwrap();
    assert_eq!((shown.state, shown.job.ended), (State::Dead, Some(Ended::Poisonous)));
}

#[tokio::test]
async fn t10_an_attempt_that_does_not_end_is_taken_from_a_holder_that_beats() {
    let store = open();
    let id = store.put(KIND.job(&1).unwrap()).await;
    let taken = store.take("a", 1).await;
    let (shard, hung) = &taken[0];
    assert_eq!(store.jobs.beat("test", *shard, "a").await.unwrap().len(), 1, "it beats, and does nothing");
    let late = |lease| Lost::Silent { holders: vec![], late: vec![(hung.id.clone(), lease)] };
    assert_eq!(store.jobs.rescue("test", *shard, late(hung.lease + 1)).await.unwrap(), 0, "not that attempt");
    assert_eq!(store.jobs.rescue("test", *shard, late(hung.lease)).await.unwrap(), 1);
    assert_eq!(store.end("a", &taken[0], End::Done).await, 1, "what it says later does not count");
    let shown = store.jobs.show(&id).await.unwrap().unwrap();
    assert_eq!((shown.state, shown.job.attempts), (State::Delayed, 1), "an attempt is used up");
    assert_eq!(shown.job.tries[0].why, "did not end in time");
    let again = store.take_at("b", 1, millis() + 10_000).await;
    assert_eq!(store.end("b", &again[0], End::Done).await, 0);
}

#[tokio::test]
async fn t7_what_is_given_back_uses_up_no_attempt_and_keeps_its_place() {
    let store = open();
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(store.jobs.enqueue_as(format!("0-{number}"), KIND.job(&number).unwrap()).await.unwrap());
    }
    let taken = store.take("a", 10).await;
    assert_eq!(taken.len(), 3);
    for one in &taken {
        store.end("a", one, End::GivenBack).await;
    }
    let again = store.take("b", 10).await;
    let order = |taken: &[(u64, Claimed)]| taken.iter().map(|(_, one)| one.id.clone()).collect::<Vec<_>>();
    assert_eq!(order(&again), order(&taken));
    assert!(again.iter().all(|(_, one)| one.attempt == 1));
}

#[tokio::test]
async fn delayed_jobs_get_their_turn_in_the_order_of_their_times() {
    let store = open();
    let start = now();
    for seconds in [30_u64, 10, 20] {
        let due = start + Duration::from_secs(seconds);
        store.put(KIND.job(&seconds).unwrap().due(due).group(seconds.to_string())).await;
    }
    assert!(store.take("a", 10).await.is_empty());
    for seconds in [10, 20, 30_i64] {
        let at = start.as_millisecond() + seconds * 1_000;
        assert!(store.take_at("a", 10, at - 1).await.is_empty(), "{seconds}");
        let taken = store.take_at("a", 10, at).await;
        assert_eq!(
            taken.iter().map(|(_, one)| one.job.payload.get().to_owned()).collect::<Vec<_>>(),
            [seconds.to_string()]
        );
    }
}

#[tokio::test]
async fn operators_pause_show_list_and_drop() {
    let store = open();
    let mut ids = Vec::new();
    for number in 0..25_u64 {
        ids.push(store.put(KIND.job(&number).unwrap().group((number % 3).to_string())).await);
    }
    store.jobs.pause("test", true).await.unwrap();
    assert!(store.take("a", 10).await.is_empty());
    let why = store.jobs.show(&ids[0]).await.unwrap().unwrap().why.unwrap();
    assert!(why.contains("paused"), "{why}");
    store.jobs.pause("test", false).await.unwrap();
    let taken = store.take("a", 4).await;
    let mut listed = Vec::new();
    for (shard, state) in (0..4).flat_map(|shard| [(shard, State::Waiting), (shard, State::Running)]) {
        let mut after = None;
        loop {
            let (page, next) = store.jobs.list("test", shard, state, after, 2).await.unwrap();
            assert!(page.len() <= 2);
            listed.extend(page.into_iter().map(|one| (one.id.to_string(), one.running.is_some())));
            if next.is_none() {
                break;
            }
            after = next;
        }
    }
    assert_eq!(listed.iter().filter(|(_, running)| *running).count(), taken.len());
    let mut names: Vec<_> = listed.into_iter().map(|(id, _)| id).collect();
    names.sort_unstable();
    let mut all: Vec<_> = ids.iter().map(ToString::to_string).collect();
    all.sort_unstable();
    assert_eq!(names, all);
    for id in &ids {
        let is_running = taken.iter().any(|(_, one)| one.id == id.id);
        assert_eq!(store.jobs.drop_job(id).await.unwrap(), Some(!is_running));
    }
    for one in &taken {
        let held = store.jobs.beat("test", one.0, "a").await.unwrap();
        assert!(held.iter().any(|held| held.id == one.1.id && held.cancelled), "{held:?}");
    }
    for one in &taken {
        store.end("a", one, End::Cancelled).await;
    }
    assert_eq!(store.counts().await, (0, 0, 0, taken.len() as u64));
}

#[tokio::test]
async fn more_lanes_than_a_claim_reads_all_get_their_turn() {
    let store = open();
    for number in 0..200_u64 {
        store.put(KIND.job(&number).unwrap().group(number.to_string())).await;
    }
    let mut done = 0;
    while done < 200 {
        let taken = store.take("a", 50).await;
        assert!(!taken.is_empty(), "{done} were done");
        for one in &taken {
            store.end("a", one, End::Done).await;
        }
        done += taken.len();
    }
    assert_eq!(store.counts().await, (0, 0, 0, 0));
}

#[tokio::test]
async fn t14_many_groups_of_one_job_do_not_hold_up_one_of_many() {
    let store = open();
    for number in 0..100_u64 {
        store.put(KIND.job(&number).unwrap().group("many")).await;
    }
    let (mut many, mut newcomers) = (0, 0);
    // There always is a group that has just come.
    for number in 0..50_u64 {
        for extra in 0..8 {
            store.put(KIND.job(&number).unwrap().group(format!("new {number} {extra}"))).await;
        }
        for one in store.take("a", 8).await {
            if one.1.job.group == "many" {
                many += 1;
            } else {
                newcomers += 1;
            }
            store.end("a", &one, End::Done).await;
        }
    }
    assert!(many >= 40, "{many} of the group of many, {newcomers} of others");
}

#[tokio::test]
async fn t16_what_comes_back_is_read_by_its_key_and_the_mark_of_its_lane_stays() {
    let store = open();
    let shard = 1;
    let mark = async || {
        let head = store.jobs.head("test", shard).await.unwrap();
        let head = serde_json::to_value(&head).unwrap();
        head["lanes"]["1"]["low"].as_str().map(str::to_owned)
    };
    let unique = (0..100).map(|number| number.to_string()).filter(|unique| shard_of(unique, 4) == shard);
    let unique: Vec<_> = unique.take(20).collect();
    for unique in &unique[..10] {
        store.jobs.enqueue(KIND.job(&0).unwrap().unique(unique.as_str())).await.unwrap();
    }
    let taken = store.take("a", 9).await;
    store.end("a", &taken[0], failed("later")).await;
    store.end("a", &taken[1], End::GivenBack).await;
    store.jobs.rescue("test", shard, Lost::AllBut("b".to_owned())).await.unwrap();
    let before = mark().await.unwrap();
    let again = store.take("b", 20).await;
    assert_eq!(again.len(), 10, "one waited, nine came back");
    for unique in &unique[10..] {
        store.jobs.enqueue(KIND.job(&0).unwrap().unique(unique.as_str())).await.unwrap();
    }
    assert!(mark().await.unwrap() > before, "the mark never goes back");
}

#[tokio::test]
async fn the_same_effect_makes_one_job_however_often_it_is_carried_out() {
    let store = open();
    // What was due hours ago is remembered from when it was done.
    let late = "0198c0de-0000-7000-8000-000000000000.0";
    for state in 0..6 {
        let id = || if state == 5 { late.to_owned() } else { format!("{}.0", mundotango_protocol::new_id()) };
        let id = id();
        let put = async || store.jobs.enqueue_as(id.clone(), KIND.job(&0).unwrap()).await.unwrap();
        assert!(matches!(put().await, Enqueued::New(_)));
        if state > 0 {
            let taken = store.take("a", 1).await;
            match state {
                1 => {}
                2 => drop(
                    store
                        .end("a", &taken[0], End::Failed { due: millis() + 60_000, why: String::new() })
                        .await,
                ),
                3 => drop(store.end("a", &taken[0], End::Hopeless(String::new())).await),
                _ => drop(store.end("a", &taken[0], End::Done).await),
            }
        }
        assert!(matches!(put().await, Enqueued::Existing(_)), "{state}");
        if state >= 4 {
            let shard = shard_of(&id, 4);
            assert_eq!(store.jobs.forget("test", shard, now() - Duration::from_mins(1)).await.unwrap(), 0);
            assert!(matches!(put().await, Enqueued::Existing(_)), "it is remembered");
            assert_eq!(store.jobs.forget("test", shard, now() + Duration::from_hours(1)).await.unwrap(), 1);
            assert!(matches!(put().await, Enqueued::New(_)), "nobody knows of it any more");
        }
        store
            .jobs
            .drop_job(&format!("test.{}.{id}", shard_of(&id, 4)).parse().unwrap())
            .await
            .unwrap()
            .unwrap();
        if state == 1 {
            let settled = store.jobs.beat("test", shard_of(&id, 4), "a").await.unwrap();
            assert!(settled[0].cancelled);
            store.jobs.rescue("test", shard_of(&id, 4), Lost::AllBut("b".to_owned())).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_payload_that_is_too_large_is_refused() {
    static LARGE: JobKind<String> = JobKind::new("large", &QUEUE, 1);
    let store = open();
    let error = store.jobs.enqueue(LARGE.job(&"x".repeat(20_000)).unwrap()).await.unwrap_err();
    assert!(matches!(error, JobError::TooLarge(20_002)), "{error}");
}

#[tokio::test]
async fn t14_a_group_begins_no_more_in_a_minute_than_it_may() {
    let store = open();
    store.jobs.set_group_rate("test", Some(8)).await.unwrap();
    for number in 0..30 {
        let greedy = KIND.job(&number).unwrap().group("greedy");
        store.jobs.enqueue(greedy.unique(format!("g{number}"))).await.unwrap();
        store.jobs.enqueue(KIND.job(&number).unwrap().unique(format!("n{number}"))).await.unwrap();
    }
    // As whoever gives out the jobs of a shard does: each claim goes on from the one before.
    let mut hints: Vec<Hint> = (0..4).map(|_| Hint::default()).collect();
    let begin = millis();
    let mut take = async |now: i64| {
        let (mut greedy, mut others, mut next) = (0, 0, i64::MAX);
        for (shard, hint) in (0..).zip(&mut hints) {
            for _ in 0..20 {
                let claim = claim_of("a", 7, now);
                let (given, after) = store.jobs.claim("test", shard, claim, hint).await.unwrap();
                *hint = after;
                greedy += given.claimed.iter().filter(|one| one.job.group == "greedy").count();
                others += given.claimed.iter().filter(|one| one.job.group.is_empty()).count();
            }
            next = next.min(hint.due.unwrap_or(i64::MAX));
        }
        (greedy, others, next)
    };
    let (greedy, others, next) = take(begin).await;
    assert_eq!(others, 30, "what is in no group has no limit");
    assert_eq!(greedy, 8, "a minute's jobs at once, a quarter of them in each shard");
    assert_eq!(next, begin + 30_000, "then the shards are looked at again");
    assert_eq!(take(next - 1).await.0, 0);
    let mut all = greedy;
    for minute in 1..=10 {
        let (more, ..) = take(begin + minute * 60_000).await;
        assert!(more <= 8, "{more} in a minute");
        all += more;
    }
    assert_eq!(all, 30, "none is forgotten");
    store.jobs.set_group_rate("test", None).await.unwrap();
    assert_eq!(store.jobs.report("test").await.unwrap().group_rate, None);
}
