//! The `mundotango` command.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use mundotango::cli::Cli;

// Gives most memory back after a burst of sessions, and is the quickest for the actors' small messages.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Reading an identity provider's keys needs TLS, also where the configuration is only checked. An error says that a
    // provider is chosen already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            // Nobody may read it any more, and `eprintln!` would panic then.
            let _ = writeln!(std::io::stderr(), "mundotango: {error:#}");
            ExitCode::FAILURE
        }
    }
}
