//! A load maker for any server of the client protocol: many sessions, one connection each, spread over processes.
//!
//! `mundotango-load --help` tells what it can do. Each run ends by itself.

mod client;
mod process;
mod report;
mod scenario;
mod worker;

use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    match scenario::Command::parse() {
        scenario::Command::Worker => worker::run(),
        command => scenario::run(&command),
    }
}
