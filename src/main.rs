//! The `mundotango` command.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use mundotango::cli::Cli;

// Gives most memory back after a burst of sessions, and is the quickest for the actors' small messages.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mundotango: {error:#}");
            ExitCode::FAILURE
        }
    }
}
