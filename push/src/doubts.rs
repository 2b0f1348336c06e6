//! Refusals that may be one destination's fault or the node's own.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use parking_lot::Mutex;

use crate::destination::{Destination, Provider};

/// So many different destinations in a row, with no success between them, are the node's own fault.
const LIMIT: usize = 10;
/// Most providers that are watched. Users choose the hosts of endpoints, so there is a bound.
const MAX_PROVIDERS: usize = 256;

/// Counts doubtful refusals. One destination alone never stops a service: users can register any token, and
/// an endpoint that answers whatever they like.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    hasher: RandomState,
    /// Hashes of the destinations that were refused since the last success, [`LIMIT`] at most.
    refused: Mutex<HashMap<Provider, Vec<u64>>>,
}

impl Doubts {
    /// A message was taken: the node's configuration is good.
    pub(crate) fn accepted(&self, provider: &Provider) {
        self.refused.lock().remove(provider);
    }

    /// A message was refused. Returns whether the node itself has to be blamed.
    pub(crate) fn refused(&self, destination: &Destination) -> bool {
        let provider = destination.provider();
        let hash = self.hasher.hash_one(destination);
        let mut refused = self.refused.lock();
        if refused.len() >= MAX_PROVIDERS && !refused.contains_key(&provider) {
            // Counting begins again: a wrong configuration is noticed a little later.
            refused.clear();
        }
        let hashes = refused.entry(provider).or_default();
        if hashes.len() < LIMIT && !hashes.contains(&hash) {
            hashes.push(hash);
        }
        hashes.len() >= LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::example::subscription;

    fn device(number: usize) -> Destination {
        Destination::Apns { token: number.to_string().try_into().unwrap() }
    }

    #[test]
    fn t39_many_devices_in_a_row_are_our_own_fault_and_one_is_not() {
        let doubts = Doubts::default();
        for _ in 0..100 {
            assert!(!doubts.refused(&device(0)));
        }
        for number in 1..LIMIT - 1 {
            assert!(!doubts.refused(&device(number)), "{number}");
        }
        assert!(doubts.refused(&device(LIMIT)));
        assert!(doubts.refused(&device(0)));
        doubts.accepted(&Provider::Apns);
        assert!(!doubts.refused(&device(0)));
    }

    #[test]
    fn the_hosts_that_users_choose_are_bounded() {
        let doubts = Doubts::default();
        for host in 0..3 * MAX_PROVIDERS {
            let web = Destination::Web(subscription(&format!("https://h{host}.example")));
            doubts.refused(&web);
            assert!(doubts.refused.lock().len() <= MAX_PROVIDERS);
        }
    }
}
