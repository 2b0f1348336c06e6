//! What is shown to everybody at once goes out a few times a second, however often it changes.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use mundotango_actors::Vitals;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Least time between two times that a thing goes out: four times a second.
const PERIOD: Duration = Duration::from_millis(250);
/// Pause before a thing that could not go out is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Things that go out at the same time.
const AT_ONCE: usize = 64;
/// Most things that wait; what changes past them goes out with its next change.
const MAX_WAITING: usize = 10_000;
/// How often the loop reports progress without work.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Things that changed, each of which goes out at once, then again after [`PERIOD`] if it changed since. The last change
/// always goes out. What waits outlives a crash of the loop.
#[derive(Default)]
pub(super) struct Coalescer {
    things: Mutex<Things>,
    woken: Notify,
}

#[derive(Default)]
struct Things {
    by_id: HashMap<String, Thing>,
    /// When to look at each thing that is not going out just now.
    due: BTreeSet<(Instant, String)>,
}

struct Thing {
    /// Whether it changed since it went out last.
    changed: bool,
    /// Whether it is going out.
    going_out: bool,
}

impl Things {
    /// The next thing that is due and changed. Those that are due and did not change are forgotten.
    fn next(&mut self, now: Instant) -> Option<String> {
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let (_, id) = self.due.pop_first()?;
            match self.by_id.get_mut(&id) {
                Some(thing) if thing.changed => {
                    *thing = Thing { changed: false, going_out: true };
                    return Some(id);
                }
                _ => drop(self.by_id.remove(&id)),
            }
        }
        None
    }

    fn gone_out(&mut self, id: String, is_done: bool, look_at: Instant) {
        if let Some(thing) = self.by_id.get_mut(&id) {
            thing.changed |= !is_done;
            thing.going_out = false;
            self.due.insert((look_at, id));
        }
    }

    /// What was going out when the loop crashed may not have gone out.
    fn recover(&mut self, now: Instant) {
        for (id, thing) in self.by_id.iter_mut().filter(|(_, thing)| thing.going_out) {
            *thing = Thing { changed: true, going_out: false };
            self.due.insert((now, id.clone()));
        }
    }
}

impl Coalescer {
    /// Says that a thing changed.
    pub(super) fn changed(&self, id: &str) {
        let mut things = self.things.lock();
        if let Some(thing) = things.by_id.get_mut(id) {
            thing.changed = true;
            return;
        }
        if things.by_id.len() >= MAX_WAITING {
            tracing::warn!(id, "too many things changed at once: this one is told with its next change");
            return;
        }
        things.by_id.insert(id.to_owned(), Thing { changed: true, going_out: false });
        things.due.insert((Instant::now(), id.to_owned()));
        drop(things);
        self.woken.notify_one();
    }

    /// Lets things go out by a function that says whether it did so; what it could not do is tried again. Never returns.
    pub(super) async fn run<F: Future<Output = bool>>(&self, vitals: &Vitals, go_out: impl Fn(String) -> F) {
        self.things.lock().recover(Instant::now());
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < AT_ONCE {
                let now = Instant::now();
                let Some(id) = self.things.lock().next(now) else { break };
                let going_out = go_out(id.clone());
                under_way.push(async move { (id, now, going_out.await) });
            }
            let due = self.things.lock().due.first().map(|(at, _)| *at);
            let idle = Instant::now() + IDLE_TICK;
            // With all places taken, only the end of one makes room.
            let wake = due.filter(|_| under_way.len() < AT_ONCE).map_or(idle, |due| due.min(idle));
            tokio::select! {
                Some((id, began, is_done)) = under_way.next(), if !under_way.is_empty() => {
                    let look_at = if is_done { began + PERIOD } else { Instant::now() + TRY_AGAIN };
                    self.things.lock().gone_out(id, is_done, look_at);
                }
                () = tokio::time::sleep_until(wake) => {}
                () = self.woken.notified() => {}
            }
            vitals.handled();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    /// When things went out, and what they were then.
    type Out = Arc<Mutex<Vec<(Instant, u64)>>>;

    /// Runs a coalescer for as long as the test does.
    fn start(coalescer: &Arc<Coalescer>, value: &Arc<AtomicU64>, fails: &Arc<AtomicBool>) -> Out {
        let out = Out::default();
        let (coalescer, value, fails) = (Arc::clone(coalescer), Arc::clone(value), Arc::clone(fails));
        let noted = Arc::clone(&out);
        tokio::spawn(async move {
            let go_out = |_| {
                let seen = value.load(Ordering::Relaxed);
                let is_done = !fails.load(Ordering::Relaxed);
                if is_done {
                    noted.lock().push((Instant::now(), seen));
                }
                std::future::ready(is_done)
            };
            coalescer.run(&Vitals::default(), go_out).await;
        });
        out
    }

    #[tokio::test(start_paused = true)]
    async fn a_thing_goes_out_four_times_a_second_and_the_last_change_always() {
        let (coalescer, value) = (Arc::new(Coalescer::default()), Arc::new(AtomicU64::new(0)));
        let out = start(&coalescer, &value, &Arc::default());
        for _ in 0..1000 {
            value.fetch_add(1, Ordering::Relaxed);
            coalescer.changed("a");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        tokio::time::sleep(PERIOD * 2).await;
        let out = out.lock().clone();
        assert!((12..=14).contains(&out.len()), "{}", out.len());
        assert!(out.windows(2).all(|pair| pair[1].0 - pair[0].0 >= PERIOD), "{out:?}");
        assert_eq!((out[0].1, out[out.len() - 1].1), (1, 1000));
        assert!(coalescer.things.lock().by_id.is_empty(), "what is quiet is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_go_out_is_tried_again() {
        let (coalescer, value, fails) =
            (Arc::new(Coalescer::default()), Arc::new(AtomicU64::new(7)), Arc::new(AtomicBool::new(true)));
        let out = start(&coalescer, &value, &fails);
        coalescer.changed("a");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(out.lock().is_empty());
        fails.store(false, Ordering::Relaxed);
        tokio::time::sleep(TRY_AGAIN * 2).await;
        assert_eq!(out.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_going_out_when_the_loop_ended_goes_out_by_the_next() {
        let coalescer = Arc::new(Coalescer::default());
        coalescer.changed("a");
        let hanging = Arc::clone(&coalescer);
        let first =
            tokio::spawn(async move { hanging.run(&Vitals::default(), |_| std::future::pending()).await });
        tokio::time::sleep(PERIOD).await;
        first.abort();
        let _ = first.await;
        let out = start(&coalescer, &Arc::default(), &Arc::default());
        tokio::time::sleep(PERIOD).await;
        assert_eq!(out.lock().len(), 1);
    }
}
