//! One node beside its peers, each a fresh server, all by one load maker in one run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{parts, root, target_folder};

use super::server::{SECRET, Server, load};
use super::{Columns, DELIVERY, print_head, print_row, program};

/// A server to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer<'a> {
    Ours,
    OursProtobuf,
    /// An earlier build of ours.
    Before(&'a Path),
    BeforeProtobuf(&'a Path),
    OursTls,
    Nchan,
    SocketIo,
}

impl<'a> Peer<'a> {
    fn all(before: Option<&'a Path>) -> Vec<Self> {
        let before =
            before.into_iter().flat_map(|binary| [Self::Before(binary), Self::BeforeProtobuf(binary)]);
        [Self::Ours, Self::OursProtobuf, Self::OursTls]
            .into_iter()
            .chain(before)
            .chain([Self::Nchan, Self::SocketIo])
            .collect()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "MundoTango, JSON",
            Self::OursProtobuf => "MundoTango, Protobuf",
            Self::Before(_) => "before, JSON",
            Self::BeforeProtobuf(_) => "before, Protobuf",
            Self::OursTls => "MundoTango, JSON over TLS",
            Self::Nchan => "nchan",
            Self::SocketIo => "Socket.IO 4",
        }
    }

    fn dialect(self) -> &'static str {
        match self {
            Self::Ours | Self::OursTls | Self::Before(_) => "json",
            Self::OursProtobuf | Self::BeforeProtobuf(_) => "protobuf",
            Self::Nchan => "nchan",
            Self::SocketIo => "socketio",
        }
    }

    fn start(self) -> anyhow::Result<Server> {
        match self {
            Self::Ours | Self::OursProtobuf => Server::ours("node", &[]),
            Self::Before(binary) | Self::BeforeProtobuf(binary) => Server::ours_of(binary, "node", &[]),
            Self::OursTls => {
                let [certificate, key] = certificate()?;
                let settings = [("CERTIFICATE", &certificate), ("KEY", &key)].map(|(name, path)| {
                    (format!("MUNDOTANGO__HTTP__TLS__{name}"), path.display().to_string())
                });
                Server::ours_over_tls("node", &settings, certificate)
            }
            Self::Nchan => Server::start("nchan", nchan),
            Self::SocketIo => Server::start("socketio", |_, port| {
                let mut command = Command::new("node");
                command.arg(peers().join("socketio/server.mjs")).arg(port.to_string()).arg(SECRET);
                Ok(command)
            }),
        }
    }
}

fn peers() -> PathBuf {
    root().join("ops/load/peers")
}

fn nchan(folder: &Path, port: u16) -> anyhow::Result<Command> {
    let directory = folder.display().to_string();
    let text = fs::read_to_string(peers().join("nchan.conf"))?;
    let text = text.replace("__PORT__", &port.to_string()).replace("__DIR__", &directory);
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(file).args(["-p", "/usr/share/nginx"]);
    Ok(command)
}

/// A certificate that the load maker trusts as it is, and its key.
fn certificate() -> anyhow::Result<[PathBuf; 2]> {
    let folder = target_folder().join("bench-data").join("tls");
    fs::create_dir_all(&folder)?;
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    command.args(["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]);
    // Clients refuse a server whose certificate is an authority's.
    command.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]);
    command.arg(&key).arg("-out").arg(&certificate);
    let output = command.output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok([certificate, key])
}

/// Installs the peers.
pub(super) fn install() -> anyhow::Result<()> {
    parts::need_package("nginx", "-v", &["nginx-light", "libnginx-mod-nchan"])?;
    parts::npm_packages(&peers().join("socketio"))
}

/// A table: what is done, and which figures of the report stand in it.
struct Table {
    name: &'static str,
    /// What the load maker is told.
    load: &'static str,
    columns: Columns,
}

const TABLES: &[Table] = &[
    Table {
        name: "a: 15,000 idle sessions, one subscription each",
        load: "idle --sessions 15000 --channel bench:all",
        columns: &[
            ("RSS bytes / session", "/resident_bytes_per_session"),
            ("p99 ms to all", "/latency_millis/p99"),
        ],
    },
    Table {
        name: "b: 1 channel, 5,000 subscribers, 4 publications/s",
        load: "fanout --channel bench:one --subscribers 5000 --rate 4 --seconds 10",
        columns: DELIVERY,
    },
    Table {
        name: "c: 500 channels, 10 subscribers each, 10 publishers, 1,500 publications/s",
        load: "fanout --channel bench:many --channels 500 --subscribers 10 --publishers 10 --rate 1500 --seconds 10",
        columns: DELIVERY,
    },
    Table {
        name: "d: 5,000 connects with a JWT and a subscription",
        load: "connect --sessions 5000 --channel bench:all",
        columns: &[("µs CPU each", "/connect_cpu_micros"), ("connects / s", "/connects_per_second")],
    },
];

/// Measures every table's load on every peer, and on an earlier build if there is one.
pub(super) fn tables(before: Option<&Path>) -> anyhow::Result<()> {
    for table in TABLES {
        print_head(table.name, "server", table.columns);
        for peer in Peer::all(before) {
            let server = peer.start()?;
            let arguments: Vec<_> = table.load.split(' ').collect();
            let report = load(&[&server], &[&server], peer.dialect(), &arguments);
            print_row(peer.name(), table.columns, &report);
        }
    }
    println!("\nthe machine: sends of 250 bytes a second of CPU, one thread, to loopback sockets\n");
    let output = Command::new(program("mundotango-load")).args(["raw", "--sockets", "5000"]).output()?;
    println!("| 5,000 sockets | {} |", String::from_utf8_lossy(&output.stdout).trim());
    Ok(())
}
