//! What stands behind the ports, measured by the crates' own benches against real servers.

use crate::services::TestServices;
use crate::{cargo, run};

/// The benches, by crate.
const BENCHES: [(&str, &str); 2] = [("mundotango-storage", "engines"), ("mundotango-actors", "invalidation")];

/// Starts the embedded store on many rows.
pub(super) fn rows() -> anyhow::Result<()> {
    run(&mut cargo(&["bench", "--quiet", "-p", "mundotango-storage", "--bench", "rows"]))
}

/// Runs them.
pub(super) fn tables() -> anyhow::Result<()> {
    let services = TestServices::start()?;
    services.wait()?;
    for (package, bench) in BENCHES {
        run(cargo(&["bench", "--quiet", "-p", package, "--bench", bench]).envs(services.variables()))?;
    }
    Ok(())
}
