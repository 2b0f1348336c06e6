//! Nobody chooses the cost of somebody else's request: while one client abuses the node, others are served as before.
//!
//! Each abuse runs for ten seconds against a node of its own. A canary publishes to itself over a socket and asks for
//! the node's health over new connections; the slowest hundredth of both, and the node's memory, stay below a bound.
//! `cargo xtask test` runs this alone, because tests beside it would take the processor from the canary.

mod abuse;
mod canary;

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::server::{API_KEY, ROOM, Server};
use abuse::{ABUSES, Abuse};
use canary::{Canary, Latencies};

/// How long each abuse goes on.
const DURATION: Duration = Duration::from_secs(10);
/// How long the canary's slowest hundredth may take while the node is abused: an answer below this feels immediate.
const CANARY_P99: Duration = Duration::from_millis(250);
/// How much an abuse may add to the node's resident memory: a few times what the outboxes of its sessions may hold.
const MEMORY_GROWTH_MIB: i64 = 64;
/// Signs the tokens of all clients in these tests.
const SECRET: &str = "a secret that the clients of the fairness suite share";

/// What an abuse is given.
#[derive(Clone, Copy)]
struct Arena {
    /// The node.
    address: SocketAddr,
    /// Where a JWKS endpoint listens that takes requests and never answers.
    stalled: SocketAddr,
}

/// One row of the table.
struct Row {
    name: &'static str,
    messages: Latencies,
    health: Latencies,
    memory_mib: i64,
}

impl Row {
    /// Which bounds the row breaks.
    fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for (what, latencies) in [("messages", &self.messages), ("health", &self.health)] {
            if latencies.p99() > CANARY_P99 {
                violations.push(format!("{}: the canary's {what} take {latencies}", self.name));
            }
            if latencies.failed > 0 {
                violations.push(format!("{}: {} of the canary's {what} failed", self.name, latencies.failed));
            }
        }
        if self.memory_mib > MEMORY_GROWTH_MIB {
            violations.push(format!("{}: {} MiB more memory", self.name, self.memory_mib));
        }
        violations
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abuse_of_one_client_does_not_reach_others() {
    let wanted = std::env::var("MUNDOTANGO_FAIRNESS_ONLY").ok();
    let mut rows = Vec::new();
    for abuse in
        ABUSES.iter().filter(|abuse| wanted.as_deref().is_none_or(|wanted| abuse.name.contains(wanted)))
    {
        rows.push(measure(abuse).await);
    }
    println!("| abuse | canary's message p50 / p99 / max ms | canary's health p50 / p99 / max ms | memory |");
    println!("|---|---|---|---|");
    for row in &rows {
        println!("| {} | {} | {} | {:+} MiB |", row.name, row.messages, row.health, row.memory_mib);
    }
    let violations: Vec<_> = rows.iter().flat_map(Row::violations).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

async fn measure(abuse: &Abuse) -> Row {
    let stalled = abuse::stalled_server();
    let jwks = format!("http://{stalled}/keys");
    let mut settings: Vec<_> = ROOM.iter().filter(|(name, _)| *name != "HTTP__API_KEY").copied().collect();
    settings.extend([
        ("HTTP__API_KEY", API_KEY),
        ("AUTH__SECRET", SECRET),
        ("AUTH__TOKEN__JWKS_PUBLIC_ENDPOINT", jwks.as_str()),
    ]);
    settings.extend_from_slice(abuse.settings);
    let server = Server::start_with(&settings).await;
    let arena = Arena { address: server.address(), stalled };
    let canary = Canary::perch(&server, &abuse::token("canary", None)).await;

    let (ready, is_ready) = oneshot::channel();
    let (go, may_go) = oneshot::channel::<()>();
    let prepare = abuse.prepare;
    // The abuser has a thread of its own, as a client on another machine would have.
    let abuser = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let rampage: BoxFuture<'static, ()> = prepare(arena).await;
            ready.send(()).unwrap();
            may_go.await.unwrap();
            // The end of the time is the usual end.
            let _ = tokio::time::timeout(DURATION, rampage).await;
        });
    });
    is_ready.await.expect("the abuse was not prepared");
    let before = resident_mib(server.pid());
    go.send(()).unwrap();
    let (messages, health) = canary.watch(Instant::now() + DURATION).await;
    let after = resident_mib(server.pid());
    tokio::task::spawn_blocking(move || abuser.join()).await.unwrap().expect("the abuser failed");
    Row { name: abuse.name, messages, health, memory_mib: after - before }
}

/// A process' resident memory.
fn resident_mib(pid: u32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<i64>().unwrap() / 1024
}
