//! `cargo xtask services hold`: servers for one test, which kills and freezes them.
//!
//! It first writes a line that says where the servers will be. For each line that it reads it starts those that do not
//! run, and writes such a line once all serve. They end with it, and it ends with its standard input, so no server is left
//! behind by a test that was killed.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::Services;
use super::process::Lifetime;

/// What is said of a server.
#[derive(Serialize)]
struct Told {
    /// Where clients find it.
    address: SocketAddr,
    /// Its process, if it runs.
    pid: Option<u32>,
}

/// See the module.
pub(super) fn hold(folder: &Path, nodes: u16) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    let mut services = Services::open(&folder, Some(nodes), None)?;
    tell(&services)?;
    for line in std::io::stdin().lock().lines() {
        line?;
        services.start(Lifetime::WithStarter)?;
        services.wait_quietly()?;
        tell(&services)?;
    }
    services.end(Duration::ZERO)?;
    Ok(())
}

fn tell(services: &Services) -> anyhow::Result<()> {
    let told: BTreeMap<_, _> = services
        .places()
        .iter()
        .map(|(_, place)| {
            let pid = services.state.running(&place.name).map(|process| process.pid);
            (place.name.clone(), Told { address: place.address(), pid })
        })
        .collect();
    println!("{}", serde_json::to_string(&told)?);
    Ok(())
}
