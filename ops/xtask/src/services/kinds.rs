//! Every kind of server.

use super::cql::Cql;
use super::kind::Kind;
use super::nats::Nats;
use super::redis::Redis;

/// Every kind, in the order in which they are told of.
pub(crate) const KINDS: [&dyn Kind; 3] = [&Nats, &Redis, &Cql];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::services::kind::BLOCK;

    #[test]
    fn no_two_servers_have_an_address_in_common() {
        for nodes in [1, 3] {
            let mut taken = HashSet::new();
            for kind in KINDS {
                for index in 0..kind.servers(nodes) {
                    for port in kind.ports(index) {
                        assert!(port < BLOCK);
                        assert!(taken.insert((kind.ip(index, nodes), port)), "{} {index}", kind.name());
                    }
                }
            }
        }
    }
}
