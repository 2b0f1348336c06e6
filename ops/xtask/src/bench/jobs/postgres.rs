//! A PostgreSQL server for queues that live in one.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::bench::server::Server;
use crate::{parts, run};

/// More than a queue opens for 256 callers and 250 workers, with what the server keeps for itself.
const CONNECTIONS: u16 = 900;
/// Where Debian has the programs of each version, which are in nobody's `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Who may sync later, and who waits for the disk: a connection says which of them it is.
pub(super) const DURABILITIES: [(&str, bool); 2] =
    [("synchronous_commit off", false), ("synchronous_commit on", true)];

/// A running server.
pub(super) struct Postgres {
    // The server ends before its data is removed, as fields are dropped in this order.
    server: Server,
    _data: Data,
}

/// Where its data is: not with the bench's other data, as the server's own user may not get there.
struct Data(PathBuf);

impl Drop for Data {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Installs it, unless it is there.
pub(super) fn install() -> anyhow::Result<()> {
    if newest(Path::new(DEBIAN)).is_some() {
        return Ok(());
    }
    parts::need_package("postgres", "--version", &["postgresql"])
}

/// The programs of the newest version in a folder of versions.
fn newest(versions: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(versions).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let programs = entry.path().join("bin");
        programs.join("postgres").exists().then_some((version, programs))
    });
    versions.max().map(|(_, programs)| programs)
}

/// A program of PostgreSQL's. It refuses to run as root, and so runs as the user that comes with it.
fn program(name: &str) -> anyhow::Result<Command> {
    let path = newest(Path::new(DEBIAN)).map_or_else(|| name.into(), |programs| programs.join(name));
    let mut command = if fs::metadata("/proc/self")?.uid() == 0 {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
        command
    } else {
        Command::new(path)
    };
    // It looks at its working folder, where that user may be a stranger.
    command.current_dir("/");
    Ok(command)
}

impl Postgres {
    /// Starts one that waits for the disk at each commit, unless a connection says otherwise.
    pub(super) fn start() -> anyhow::Result<Self> {
        let name = format!("mundotango-bench-postgres-{}", std::process::id());
        let data = Data(std::env::temp_dir().join(name));
        let server = Server::start("postgres", |_, port| {
            let mut init = program("initdb")?;
            init.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]);
            run(init.arg("--pgdata").arg(&data.0).stdout(Stdio::null()))?;
            let mut command = program("postgres")?;
            command.arg("-D").arg(&data.0).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
            let connections = format!("max_connections={CONNECTIONS}");
            for setting in ["unix_socket_directories=", "fsync=on", "synchronous_commit=on", &connections] {
                command.args(["-c", setting]);
            }
            Ok(command)
        })?;
        Ok(Self { server, _data: data })
    }

    /// The options that say where it is, for a program that makes a database there for itself.
    pub(super) fn options(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("postgres", format!("postgres://postgres@{}", self.server.address()).into()),
            ("postgres_pid", self.server.pid().into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_has_a_server_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["9", "15", "13"] {
            let programs = folder.path().join(version).join("bin");
            fs::create_dir_all(&programs).unwrap();
            fs::write(programs.join("postgres"), "").unwrap();
        }
        // Only a client.
        fs::create_dir_all(folder.path().join("16/bin")).unwrap();
        assert_eq!(newest(folder.path()), Some(folder.path().join("15/bin")));
        assert_eq!(newest(&folder.path().join("none")), None);
    }
}
