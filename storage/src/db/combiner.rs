//! Who waits to change which partition on this node. Those that wait for the same partition are carried out together.

use std::any::{Any, TypeId};
use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use crate::StoreError;

/// Most changes that wait for one partition; more are refused at once.
const MAX_WAITING: usize = 4096;

/// A partition, and the types by which it is changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The name of its kind.
    pub(super) kind: &'static str,
    /// Those of facts, head and rows: what waits in one queue is of one type.
    pub(super) types: TypeId,
    pub(super) id: String,
}

/// A queue for each partition that is being changed. A queue is there for as long as a worker empties it.
#[derive(Default)]
pub(super) struct Combiner {
    queues: Mutex<HashMap<Place, VecDeque<Box<dyn Any + Send>>>>,
}

impl Combiner {
    /// Lets a change wait; whether the caller has to start the worker.
    pub(super) fn push(&self, place: &Place, waiting: Box<dyn Any + Send>) -> Result<bool, StoreError> {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(place) {
            if queue.len() >= MAX_WAITING {
                return Err(StoreError::Unavailable(format!(
                    "too many wait to change one of {}",
                    place.kind
                )));
            }
            queue.push_back(waiting);
            return Ok(false);
        }
        queues.insert(place.clone(), VecDeque::from([waiting]));
        Ok(true)
    }

    /// Takes the changes that have waited longest. With none the queue is gone, and its worker has to end.
    pub(super) fn take(&self, place: &Place, most: usize) -> Vec<Box<dyn Any + Send>> {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(place) else { return Vec::new() };
        let taken: Vec<_> = queue.drain(..most.min(queue.len())).collect();
        if taken.is_empty() {
            queues.remove(place);
        }
        taken
    }

    /// Puts changes back before all others, in their order.
    pub(super) fn put_back(&self, place: &Place, waiting: Vec<Box<dyn Any + Send>>) {
        let mut queues = self.queues.lock();
        let queue = queues.entry(place.clone()).or_default();
        for one in waiting.into_iter().rev() {
            queue.push_front(one);
        }
    }

    /// How many changes wait for which partitions now. Several entries may be of one.
    pub(super) fn waiting(&self) -> Vec<(&'static str, String, usize)> {
        let queues = self.queues.lock();
        let waiting = queues.iter().filter(|(_, queue)| !queue.is_empty());
        waiting.map(|(place, queue)| (place.kind, place.id.clone(), queue.len())).collect()
    }

    /// Gives up a queue whose worker ended before it was empty; those that wait are told by what they wait on.
    pub(super) fn abandon(&self, place: &Place) {
        drop(self.queues.lock().remove(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_there_while_a_worker_empties_it_and_is_bounded() {
        let combiner = Combiner::default();
        let place = Place { kind: "posts", types: TypeId::of::<usize>(), id: "a".to_owned() };
        assert!(combiner.push(&place, Box::new(0_usize)).unwrap());
        for number in 1..MAX_WAITING {
            assert!(!combiner.push(&place, Box::new(number)).unwrap());
        }
        assert!(matches!(combiner.push(&place, Box::new(0_usize)), Err(StoreError::Unavailable(_))));
        let taken = combiner.take(&place, 3);
        combiner.put_back(&place, taken.into_iter().skip(1).collect());
        let again: Vec<_> =
            combiner.take(&place, 2).into_iter().map(|one| *one.downcast::<usize>().unwrap()).collect();
        assert_eq!(again, [1, 2]);
        assert_eq!(combiner.waiting(), [("posts", "a".to_owned(), MAX_WAITING - 3)]);
        while !combiner.take(&place, 100).is_empty() {}
        assert!(combiner.push(&place, Box::new(0_usize)).unwrap(), "the next one starts a worker");
    }
}
