//! The CQL server: Apache Cassandra, which speaks the protocol of ScyllaDB and needs only Java.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::{parts, root, run};

use super::cql_client::CqlClient;
use super::java::Java;
use super::kind::{Kind, Place};
use super::ports;
use super::process::{self, Lifetime, Process};

/// See the module.
pub(crate) struct Cql;

/// The servers' places on the ring: its start alone, or its thirds.
const TOKENS: [i64; 3] = [i64::MIN, -3_074_457_345_618_258_603, 3_074_457_345_618_258_602];
/// Longest time in which the server that makes the archive of classes gets ready, and in which it writes the archive.
const ARCHIVE_PATIENCE: Duration = Duration::from_mins(4);
/// The capability to lock memory (`CAP_IPC_LOCK`, capability.h): with it the server holds its whole heap at once.
const MAY_LOCK_MEMORY: u64 = 1 << 14;

/// What the server uses of Java's insides.
const OPENED: &[&str] = &[
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
];
const EXPORTED: &[&str] = &[
    "java.base/java.lang.ref",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
];
/// Small and quick to start, rather than quick for long. The heap may grow: every table takes some of it, and a run of the
/// tests makes hundreds.
const OPTIONS: &[&str] = &[
    "-Xms256m",
    "-Xmx1536m",
    "-Xss512k",
    "-XX:MaxDirectMemorySize=256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:+AllowArchivingWithJavaAgent",
    "-Djdk.attach.allowAttachSelf=true",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    // Half a minute by default, for rings in which others live already.
    "-Dcassandra.ring_delay_ms=1000",
    "-Dcassandra.superuser_setup_delay_ms=0",
    // Or the log ends after the start.
    "-Dcassandra-foreground=yes",
];
/// What the server that makes the archive does, so that its classes are in there too.
const EXERCISES: &[&str] = &[
    "CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 1}",
    "CREATE TABLE k.t (a int, b int, c text, PRIMARY KEY (a, b))",
    "INSERT INTO k.t (a, b, c) VALUES (1, 1, 'x')",
    "INSERT INTO k.t (a, b, c) VALUES (1, 2, 'x') IF NOT EXISTS",
    "UPDATE k.t SET c = 'y' WHERE a = 1 AND b = 2 IF c = 'x'",
    "BEGIN BATCH INSERT INTO k.t (a, b) VALUES (2, 1); INSERT INTO k.t (a, b) VALUES (3, 1); APPLY BATCH",
    "SELECT * FROM k.t WHERE a = 1 AND b > 0 ORDER BY b DESC LIMIT 1",
    "DROP KEYSPACE k",
];

impl Kind for Cql {
    fn name(&self) -> &'static str {
        "cql"
    }

    fn install(&self) -> anyhow::Result<()> {
        Java::install()?;
        parts::need("mvn", "maven")?;
        let list = source().join("pom.xml");
        parts::unless_done(&libraries().join(".installed"), &list, || {
            // An older version's libraries would be found first.
            let _ = fs::remove_dir_all(libraries());
            fs::create_dir_all(libraries())?;
            let output = format!("-DoutputDirectory={}", libraries().display());
            let arguments = ["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", &output];
            run(Command::new("mvn").args(arguments).current_dir(source()))
        })?;
        let java = Java::find()?;
        let made_from = format!("{}{}", fs::read_to_string(list)?, java.version);
        parts::unless_done_from(&folder().join("classes.installed"), &made_from, make_archive)
    }

    fn servers(&self, nodes: u16) -> u16 {
        nodes
    }

    /// Drivers want one port for all servers, so it is the address that differs.
    fn ports(&self, _index: u16) -> std::ops::Range<u16> {
        10..12
    }

    fn ip(&self, index: u16, nodes: u16) -> Ipv4Addr {
        let last = u8::try_from(index + 1).unwrap_or(u8::MAX);
        if nodes == 1 { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(127, 0, 9, last) }
    }

    fn command(&self, place: &Place) -> anyhow::Result<Command> {
        let archive = archive();
        let with_archive = archive.exists().then(|| format!("-XX:SharedArchiveFile={}", archive.display()));
        command(place, with_archive)
    }

    /// Waits for the others too: ports answer before the ring is whole.
    fn ready(&self, place: &Place) -> anyhow::Result<()> {
        let mut client = CqlClient::connect(place.address())?;
        let others = client.number("SELECT count(*) FROM system.peers_v2")?;
        anyhow::ensure!(others + 1 == i64::from(place.nodes), "knows {others} others");
        Ok(())
    }

    fn test_variable(&self) -> &'static str {
        "MUNDOTANGO_TEST_CQL"
    }

    fn test_value(&self, addresses: &[SocketAddr]) -> String {
        addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
    }

    fn settings(&self, addresses: &[SocketAddr]) -> Vec<(&'static str, String)> {
        let nodes: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        vec![
            ("cluster.cql.nodes", format!("[{}]", nodes.join(", "))),
            ("cluster.cql.keyspace", "\"mundotango\"".to_owned()),
            ("cluster.cql.replication_factor", addresses.len().to_string()),
        ]
    }
}

fn source() -> PathBuf {
    root().join("ops/services/cql")
}

fn folder() -> PathBuf {
    let folder = parts::folder().join("cql");
    // The server runs in another folder.
    std::path::absolute(&folder).unwrap_or(folder)
}

fn libraries() -> PathBuf {
    folder().join("lib")
}

/// Classes read and checked once, for later starts; good for the Java and the libraries that made it.
fn archive() -> PathBuf {
    folder().join("classes.jsa")
}

fn command(place: &Place, archive: Option<String>) -> anyhow::Result<Command> {
    let configuration = place.folder.join("cassandra.yaml");
    fs::write(&configuration, fill_in(place)?)?;
    let java = Java::find()?;
    let mut command = if may_lock_memory() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock", "--"]).arg(java.program);
        command
    } else {
        Command::new(java.program)
    };
    let (classes, agent) = class_path()?;
    command.current_dir(&place.folder).args(OPTIONS).args(archive).arg(format!("-javaagent:{agent}"));
    for (option, packages) in [("--add-opens", OPENED), ("--add-exports", EXPORTED)] {
        for package in packages {
            command.arg(option).arg(format!("{package}=ALL-UNNAMED"));
        }
    }
    let own = place.folder.display();
    command
        .arg(format!("-Dcassandra.config=file://{}", configuration.display()))
        .args([format!("-Dcassandra.storagedir={own}/data"), format!("-Dcassandra.logdir={own}")])
        .arg(format!(
            "-Dlogback.configurationFile={}",
            source().canonicalize()?.join("logback.xml").display()
        ))
        .args(["-cp", &classes, "org.apache.cassandra.service.CassandraDaemon"]);
    Ok(command)
}

/// The libraries in a settled order, as an archive of classes wants it, and the one that is an agent.
fn class_path() -> anyhow::Result<(String, String)> {
    let names = fs::read_dir(libraries()).with_context(|| format!("no {}", libraries().display()))?;
    let mut jars: Vec<_> = names
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jar"))
        .map(|path| path.display().to_string())
        .collect();
    jars.sort();
    let agent =
        jars.iter().find(|jar| jar.contains("/jamm-")).context("no jamm among the libraries")?.clone();
    Ok((jars.join(":"), agent))
}

fn fill_in(place: &Place) -> anyhow::Result<String> {
    let text = fs::read_to_string(source().join("cassandra.yaml.in"))?;
    // All are seeds: a server that starts at the same moment as its only seed ends.
    let seeds: Vec<_> = (0..place.nodes).map(|index| Cql.ip(index, place.nodes).to_string()).collect();
    let token = TOKENS.get(usize::from(place.index)).context("no place on the ring")?;
    Ok(text
        .replace("@TOKEN@", &token.to_string())
        .replace("@ADDRESS@", &place.ip.to_string())
        .replace("@SEEDS@", &seeds.join(","))
        .replace("@STORAGE_PORT@", &place.port(1).to_string())
        .replace("@PORT@", &place.port(0).to_string()))
}

fn may_lock_memory() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default() & MAY_LOCK_MEMORY != 0
}

/// Runs a server once and lets it write down the classes it used.
fn make_archive() -> anyhow::Result<()> {
    let folder = folder().join("archive-run");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let _ = fs::remove_file(archive());
    let place = Place {
        name: "cql".to_owned(),
        index: 0,
        nodes: 1,
        ip: Ipv4Addr::LOCALHOST,
        first_port: ports::free_block(&folder)?,
        ports: Cql.ports(0),
        folder: folder.clone(),
    };
    let command = command(&place, Some(format!("-XX:ArchiveClassesAtExit={}", archive().display())))?;
    let server = Process::start(&command, &folder.join("log"), Lifetime::WithStarter)?;
    let outcome = exercise(&place, &server);
    process::end(std::slice::from_ref(&server), ARCHIVE_PATIENCE)?;
    outcome.with_context(|| format!("see {}", folder.join("log").display()))?;
    anyhow::ensure!(archive().exists(), "no archive of classes: see {}", folder.join("log").display());
    Ok(fs::remove_dir_all(&folder)?)
}

fn exercise(place: &Place, server: &Process) -> anyhow::Result<()> {
    let start = Instant::now();
    while let Err(error) = Cql.ready(place) {
        anyhow::ensure!(server.runs(), "the CQL server ended");
        anyhow::ensure!(start.elapsed() < ARCHIVE_PATIENCE, "the CQL server did not start: {error}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut client = CqlClient::connect(place.address())?;
    for statement in EXERCISES {
        client.query(statement)?;
    }
    Ok(())
}
