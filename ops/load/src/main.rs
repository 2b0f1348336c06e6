//! A load maker for any server of the client protocol: many sessions, one connection each, spread over processes.
//!
//! `mundotango-load --help` tells what it can do. Each run ends by itself.

mod client;
mod dialect;
mod process;
mod raw;
mod report;
mod requests;
mod scenario;
mod token;
mod worker;
mod zipf;

use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    match scenario::Command::parse() {
        scenario::Command::Worker => worker::run(),
        scenario::Command::RawReader { address, sockets } => raw::read(address, sockets),
        scenario::Command::Raw { sockets, bytes, rounds } => {
            println!("{:.0}", raw::sends_per_cpu_second(sockets, bytes, rounds)?);
            Ok(())
        }
        scenario::Command::Requests(plan) => requests::run(&plan),
        command => scenario::run(&command),
    }
}
