//! A node that has more than its share of the cluster's sessions asks some of their clients to connect anew: after a rolling
//! restart the node that came last has none, and sockets would stay where they are for days.

use std::time::Duration;

use tokio::time::Instant;

use super::{Cluster, Perform};
use crate::vitals::Vitals;

/// How often a node looks. What it sheds at one look is spread over the time until the next.
const LOOK: Duration = Duration::from_secs(1);
/// How long nobody may have come, gone or drained before sessions are moved: clients of a node that went are still on their
/// way to the others, and balancers have to see a node that came.
const SETTLED: Duration = Duration::from_secs(10);
/// A node with fewer sessions sheds none: so few are no load.
const FEW: usize = 100;
/// How much of the mean a node may have, in percent.
const MOST_PERCENT: usize = 110;
/// How much of the mean each node is to have, in percent. While one has less, all that are above the mean give.
const LEAST_PERCENT: usize = 80;
/// How many sessions are moved for each that is too many. A balancer that does not look at how many a node has brings most
/// of them back; one that always brings them back, as by the client's address, must not make them move for ever.
const MOVES_FOR_ONE: usize = 4;

/// What a node knows of another one.
struct Other {
    id: String,
    sessions: usize,
    draining: bool,
    accepts: bool,
}

/// How many of its sessions a node has above its share: those above the mean of all by more than a tenth, and above the
/// mean itself while another node has less than four fifths of it.
fn surplus(own: usize, others: &[usize]) -> usize {
    let Some(least) = others.iter().copied().min().filter(|_| own >= FEW) else { return 0 };
    let (nodes, total) = (others.len() + 1, own + others.iter().sum::<usize>());
    let percent = if least * nodes * 100 < total * LEAST_PERCENT { 100 } else { MOST_PERCENT };
    own.saturating_sub((total * percent).div_ceil(100 * nodes))
}

/// What a node remembers from one look to the next.
struct Balance {
    /// The nodes at the last look.
    nodes: Vec<String>,
    /// Since when nobody came, went or drained.
    settled_at: Instant,
    /// How many more sessions may be moved until the node has no surplus any more.
    left: Option<usize>,
}

impl Balance {
    fn new() -> Self {
        Self { nodes: Vec::new(), settled_at: Instant::now(), left: None }
    }

    /// How many sessions to shed now.
    fn due(&mut self, own: usize, draining: bool, others: &[Other], percent: u32) -> usize {
        let nodes = others.iter().map(|other| other.id.as_str());
        if draining || others.iter().any(|other| other.draining) || !nodes.clone().eq(&self.nodes) {
            self.nodes = nodes.map(str::to_owned).collect();
            self.settled_at = Instant::now();
            self.left = None;
            return 0;
        }
        if self.settled_at.elapsed() < SETTLED {
            return 0;
        }
        // Who does not accept gets none of the sessions, so the share is one of those who do.
        let accepting: Vec<_> =
            others.iter().filter(|other| other.accepts).map(|other| other.sessions).collect();
        let surplus = surplus(own, &accepting);
        if surplus == 0 {
            self.left = None;
            return 0;
        }
        let left = self.left.get_or_insert_with(|| {
            tracing::info!(sessions = own, surplus, "more sessions than this node's share: some are moved");
            surplus * MOVES_FOR_ONE
        });
        let at_once = (own * usize::try_from(percent).unwrap_or(usize::MAX).min(100) / 100).max(1);
        let due = if percent == 0 { 0 } else { surplus.min(at_once).min(*left) };
        if due > 0 && due == *left {
            tracing::warn!(sessions = own, surplus, "sessions that were moved came back to this node");
        }
        *left -= due;
        due
    }
}

impl Cluster {
    /// Sheds what the node has too much, slowly.
    pub(super) async fn keep_balance(&self, node: &dyn Perform, vitals: &Vitals) {
        let mut balance = Balance::new();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            vitals.handled();
            let others = self.others().into_iter().map(|other| Other {
                id: other.id,
                sessions: other.sessions,
                draining: other.draining,
                accepts: other.accepts,
            });
            let others: Vec<_> = others.collect();
            let due = balance.due(node.load().sessions, self.is_draining(), &others, node.shed_percent());
            if due > 0 {
                node.shed(due, LOOK).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(sessions: &[usize]) -> Vec<Other> {
        let other = |(number, sessions): (usize, &usize)| Other {
            id: number.to_string(),
            sessions: *sessions,
            draining: false,
            accepts: true,
        };
        sessions.iter().enumerate().map(other).collect()
    }

    /// A node that has been among the others for long enough.
    async fn settled(others: &[Other]) -> Balance {
        let mut balance = Balance::new();
        assert_eq!(balance.due(1000, false, others, 1), 0, "nodes that were not known");
        tokio::time::advance(SETTLED).await;
        balance
    }

    #[test]
    fn what_is_far_above_the_mean_or_missed_elsewhere_is_too_much() {
        for (own, others, expected) in [
            (150, vec![], 0),
            (150, vec![150, 0], 50),
            (115, vec![100, 85], 5),
            (110, vec![110, 80], 0),
            (111, vec![111, 79], 10),
            (0, vec![150, 150], 0),
            (99, vec![0, 0], 0),
            (1000, vec![0], 500),
            (100, vec![100, 100], 0),
        ] {
            assert_eq!(surplus(own, &others), expected, "{own} {others:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn d4_nodes_are_even_within_a_fifth_a_minute_after_a_rollout() {
        // The last node came back empty, and a balancer brings each session to the node that has fewest.
        let mut nodes = [15_000, 15_000, 0];
        let of = |nodes: &[usize; 3], own: usize| {
            let rest: Vec<_> = (0..3).filter(|node| *node != own).map(|node| nodes[node]).collect();
            others(&rest)
        };
        let mut balances =
            [settled(&of(&nodes, 0)).await, settled(&of(&nodes, 1)).await, settled(&of(&nodes, 2)).await];
        let mut seconds = 0;
        loop {
            let before = nodes;
            for node in 0..3 {
                let due = balances[node].due(before[node], false, &of(&before, node), 1);
                assert!(due <= before[node] / 100, "one in a hundred a second at most");
                nodes[node] -= due;
                nodes[2] += due;
            }
            if nodes == before {
                break;
            }
            tokio::time::advance(LOOK).await;
            seconds += 1;
        }
        assert!(nodes.iter().all(|sessions| (8_000..=11_000).contains(sessions)), "{nodes:?}");
        assert!(seconds < 60, "{seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_moves_while_somebody_comes_goes_or_drains() {
        let mut nodes = others(&[0, 0]);
        let mut balance = settled(&nodes).await;
        assert_eq!(balance.due(1000, false, &nodes, 1), 10);
        assert_eq!(balance.due(1000, true, &nodes, 1), 0, "the node itself drains");
        assert_eq!(balance.due(1000, false, &nodes, 1), 0, "it has just changed");
        tokio::time::advance(SETTLED).await;
        assert_eq!(balance.due(1000, false, &nodes, 1), 10);
        nodes[1].draining = true;
        assert_eq!(balance.due(1000, false, &nodes, 1), 0, "another one drains");
        tokio::time::advance(SETTLED).await;
        nodes.pop();
        assert_eq!(balance.due(1000, false, &nodes, 1), 0, "it is gone");
        tokio::time::advance(SETTLED).await;
        assert_eq!(balance.due(1000, false, &nodes, 1), 10);
        assert_eq!(balance.due(1000, false, &nodes, 0), 0, "turned off");
        nodes[0].accepts = false;
        assert_eq!(balance.due(1000, false, &nodes, 1), 0, "nobody is there to take them");
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_that_always_come_back_do_not_move_for_ever() {
        let nodes = others(&[0, 0]);
        let mut balance = settled(&nodes).await;
        let moved: usize = (0..10_000).map(|_| balance.due(1000, false, &nodes, 1)).sum();
        assert_eq!(moved, surplus(1000, &[0, 0]) * MOVES_FOR_ONE);
    }
}
