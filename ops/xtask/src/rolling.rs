//! A rolling upgrade under load: from the build of an earlier commit to the one at hand.

use std::path::Path;

use crate::services::TestServices;
use crate::{cargo, parts, run};

/// The test that upgrades, and counts what fails.
const TEST: &str = "rolling::g8_a_rolling_restart_loses_nothing";

/// Runs the upgrade from a binary to this commit's own.
pub(crate) fn upgrade(from: &Path) -> anyhow::Result<()> {
    let services = TestServices::start()?;
    services.wait()?;
    run(cargo(&["test", "--test", "it", TEST, "--", "--nocapture"])
        .env("MUNDOTANGO_PARTS", parts::folder())
        .env("MUNDOTANGO_OLD_BINARY", from)
        .envs(services.variables()))
}
