//! Random use of a shard by several holders: no job is lost, none has two holders, and the counts are those of the rows.

use std::collections::{BTreeMap, BTreeSet};

use mundotango_jobs::rules::{Claimed, End, Lost, Settled};
use mundotango_jobs::{Enqueued, Hint, Priority, State};
use mundotango_storage::now;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::shard::{KIND, Store, claim_of, open};

#[derive(Clone, Debug)]
enum Step {
    Put { group: u8, priority: u8, delay: u16, unique: Option<u8> },
    Claim { holder: u8, most: u8 },
    End { which: u8, end: u8 },
    Rescue { holder: u8 },
    Later { millis: u16 },
    Retry { which: u8 },
    Drop { which: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_u8, 0..3_u8, prop_oneof![3 => Just(0), 1 => 0..500_u16], proptest::option::weighted(0.2, 0..4_u8))
            .prop_map(|(group, priority, delay, unique)| Step::Put { group, priority, delay, unique }),
        3 => (0..3_u8, 1..6_u8).prop_map(|(holder, most)| Step::Claim { holder, most }),
        4 => (any::<u8>(), 0..5_u8).prop_map(|(which, end)| Step::End { which, end }),
        1 => (0..3_u8).prop_map(|holder| Step::Rescue { holder }),
        1 => (0..600_u16).prop_map(|millis| Step::Later { millis }),
        1 => any::<u8>().prop_map(|which| Step::Retry { which }),
        1 => any::<u8>().prop_map(|which| Step::Drop { which }),
    ];
    proptest::collection::vec(step, 1..80)
}

/// What the test knows of the shards.
#[derive(Default)]
struct Known {
    /// Jobs that are not done, as they were put.
    living: BTreeSet<(u64, String)>,
    /// Those with a holder.
    held: BTreeMap<(u64, String), (String, Claimed)>,
    /// Attempts whose holder was lost.
    lost: Vec<(u64, String, Claimed)>,
}

#[expect(clippy::too_many_lines, reason = "one arm for each step")]
async fn walk(store: &Store, steps: Vec<Step>) {
    let mut known = Known::default();
    let mut clock = now().as_millisecond();
    for step in steps {
        match step {
            Step::Put { group, priority, delay, unique } => {
                let priority = [Priority::High, Priority::Normal, Priority::Low][usize::from(priority)];
                let mut job = KIND.job(&0).unwrap().group(group.to_string()).priority(priority);
                if delay > 0 {
                    job = job.due(now() + std::time::Duration::from_millis(delay.into()));
                }
                if let Some(unique) = unique {
                    job = job.unique(unique.to_string());
                }
                match store.jobs.enqueue(job).await.unwrap() {
                    Enqueued::New(id) => assert!(known.living.insert((id.shard, id.id))),
                    Enqueued::Existing(id) => {
                        assert!(known.living.contains(&(id.shard, id.id.clone())), "{id}");
                    }
                }
            }
            Step::Claim { holder, most } => {
                for shard in 0..4 {
                    let holder = format!("h{holder}");
                    let claim = claim_of(&holder, most.into(), clock);
                    let (given, _) = store.jobs.claim("test", shard, claim, &Hint::default()).await.unwrap();
                    for one in given.claimed {
                        let place = (shard, one.id.clone());
                        assert!(known.living.contains(&place), "{place:?} was done");
                        assert!(known.held.insert(place, (holder.clone(), one)).is_none(), "two holders");
                    }
                }
            }
            Step::End { which, end } => {
                let Some(place) =
                    known.held.keys().nth(usize::from(which) % known.held.len().max(1)).cloned()
                else {
                    continue;
                };
                let (holder, Claimed { id, lease, job, .. }) = known.held.remove(&place).unwrap();
                let end = match end {
                    0 | 1 => End::Done,
                    2 => End::Failed { due: clock + 100, why: "why".to_owned() },
                    3 => End::GivenBack,
                    4 => End::PutOff { due: clock + 100, why: "away".to_owned() },
                    _ => End::Hopeless("no".to_owned()),
                };
                let is_done = end == End::Done;
                let settled = vec![Settled { id, lease, job, end }];
                let settlement = store.jobs.settle("test", place.0, &holder, settled).await.unwrap();
                assert_eq!(settlement.lost, 0);
                if is_done {
                    known.living.remove(&place);
                }
            }
            Step::Rescue { holder } => {
                let holder = format!("h{holder}");
                for shard in 0..4 {
                    // All but the other two, one after the other, is all of the one.
                    let head = store.jobs.head("test", shard).await.unwrap();
                    let beats = serde_json::to_value(&head).unwrap()["holders"][&holder].as_u64();
                    let silent = beats.map(|beats| (holder.clone(), beats)).into_iter().collect();
                    store
                        .jobs
                        .rescue("test", shard, Lost::Silent { holders: silent, late: vec![] })
                        .await
                        .unwrap();
                }
                let lost: Vec<_> = known
                    .held
                    .iter()
                    .filter(|(_, (own, _))| *own == holder)
                    .map(|(place, _)| place.clone())
                    .collect();
                for place in lost {
                    let (holder, claimed) = known.held.remove(&place).unwrap();
                    known.lost.push((place.0, holder, claimed));
                }
            }
            Step::Later { millis } => clock += i64::from(millis),
            Step::Retry { which } => {
                if let Some((shard, id)) =
                    known.living.iter().nth(usize::from(which) % known.living.len().max(1))
                {
                    let id = format!("test.{shard}.{id}").parse().unwrap();
                    assert!(store.jobs.retry(&id).await.unwrap().is_some(), "{id} is not found");
                }
            }
            Step::Drop { which } => {
                let Some(place) =
                    known.living.iter().nth(usize::from(which) % known.living.len().max(1)).cloned()
                else {
                    continue;
                };
                let id = format!("test.{}.{}", place.0, place.1).parse().unwrap();
                let gone = store.jobs.drop_job(&id).await.unwrap();
                assert_eq!(gone, Some(!known.held.contains_key(&place)), "{id}");
                if gone == Some(true) {
                    known.living.remove(&place);
                }
            }
        }
        // An attempt that was lost changes nothing.
        for (shard, holder, Claimed { id, lease, job, .. }) in known.lost.drain(..) {
            let settled = vec![Settled { id, lease, job, end: End::Done }];
            assert_eq!(store.jobs.settle("test", shard, &holder, settled).await.unwrap().lost, 1);
        }
        check(store, &known).await;
    }
}

/// Holds the shards against what is known of them.
async fn check(store: &Store, known: &Known) {
    let report = store.jobs.report("test").await.unwrap();
    assert_eq!(report.running, known.held.len() as u64);
    let mut listed = BTreeSet::new();
    let mut counted = [0; 4];
    for (state, counted) in
        [State::Waiting, State::Delayed, State::Dead, State::Running].into_iter().zip(&mut counted)
    {
        for shard in 0..4 {
            let (page, next) = store.jobs.list("test", shard, state, None, 1_000).await.unwrap();
            assert!(next.is_none());
            for one in page {
                *counted += 1;
                assert!(listed.insert((shard, one.id.id.clone())), "{} is listed twice", one.id);
            }
        }
    }
    assert_eq!(counted, [report.waiting, report.delayed, report.dead, report.running]);
    assert_eq!(listed, known.living);
}

#[test]
fn no_job_is_lost_and_none_has_two_holders() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 60, ..Config::default() });
    runner
        .run(&steps(), |steps| {
            let store = open();
            runtime.block_on(walk(&store, steps));
            Ok(())
        })
        .unwrap();
}
