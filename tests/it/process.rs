//! Programs of a test's own, which it ends without asking anybody: those that all tests share have to stay.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::cluster::service;

/// A program that ends with this, by `kill -9`.
pub struct Process(Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// The NATS server that the tests' parts hold, on a port of loopback.
pub fn nats_server(port: &str) -> Command {
    let mut command = Command::new(PathBuf::from(service("MUNDOTANGO_PARTS")).join("nats/bin/nats-server"));
    command.args(["--addr", "127.0.0.1", "--port", port]);
    command
}
