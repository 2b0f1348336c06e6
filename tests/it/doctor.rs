//! The operator's check-up, on a node that is well and on parts that are not.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use reqwest::StatusCode;
use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::cluster::{settings, with};
use crate::mail::{SmtpServer, by_smtp};
use crate::process::{Process, free_port, nats_server};
use crate::server::{Server, mundotango, until};

/// A port of this machine on which nobody listens.
const CLOSED: &str = "127.0.0.1:1";

/// What the command said, and how it ended.
struct Told {
    code: Option<i32>,
    text: String,
}

impl Told {
    fn findings(&self) -> Vec<Value> {
        let told: Value = serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}", self.text));
        told["findings"].as_array().unwrap().clone()
    }

    fn ids(&self) -> Vec<String> {
        self.findings().iter().map(|finding| finding["id"].as_str().unwrap().to_owned()).collect()
    }

    fn broken(&self) -> Vec<String> {
        let findings = self.findings();
        let broken = findings.iter().filter(|finding| finding["severity"] == "broken");
        broken.map(|finding| finding["id"].as_str().unwrap().to_owned()).collect()
    }

    fn has(&self, id: &str) -> bool {
        self.ids().iter().any(|found| found == id)
    }

    /// That all of these were found, and that this makes the command fail.
    fn assert_broken(&self, ids: &[&str]) {
        for id in ids {
            assert!(self.broken().iter().any(|found| found == id), "{id}: {}", self.text);
        }
        assert_eq!(self.code, Some(1), "{}", self.text);
    }
}

fn run(data_dir: &Path, arguments: &[&str], settings: &[(String, String)]) -> Told {
    let mut command = mundotango(data_dir, &[&["doctor"], arguments].concat());
    let variables = settings.iter().map(|(name, value)| (format!("MUNDOTANGO__{name}"), value));
    let output = command.envs(variables).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(!text.is_empty(), "{output:?}");
    Told { code: output.status.code(), text }
}

fn check_up(data_dir: &Path, settings: &[(String, String)]) -> Told {
    run(data_dir, &["--json", "--listen", CLOSED], settings)
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_well_is_told_to_be_and_one_that_is_gone_too() {
    let mut server = Server::start().await;
    let data_dir = server.data_dir();
    let well = check_up(&data_dir, &[]);
    assert_eq!((well.broken(), well.code), (Vec::new(), Some(0)), "{}", well.text);
    assert!(!well.has("node.not-running") && !well.has("store.no-data"), "{}", well.text);
    for finding in well.findings() {
        for field in ["id", "severity", "part", "says", "why", "do"] {
            assert!(finding[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {finding}");
        }
    }
    let in_words = run(&data_dir, &[], &[]);
    assert!(in_words.text.ends_with("hints") && in_words.text.contains("  do:  "), "{}", in_words.text);
    let probed = run(&data_dir, &["--probe"], &[]);
    assert_eq!((probed.code, probed.text.lines().count()), (Some(0), 1), "{}", probed.text);
    assert!(probed.text.starts_with("ready: ok on "), "{}", probed.text);

    // A configuration that was spoilt while the node runs is broken, and the node is not.
    let spoilt = owned(&[("SESSION__PING_INTERVAL", "never")]);
    check_up(&data_dir, &spoilt).assert_broken(&["config.refused"]);
    assert_eq!(run(&data_dir, &["--probe"], &spoilt).code, Some(0));

    server.signal("KILL");
    server.wait_for_end().await;
    assert!(check_up(&data_dir, &[]).has("node.not-running"));
    let probed = run(&data_dir, &["--probe", "--listen", CLOSED], &[]);
    assert_eq!((probed.code, probed.text.lines().count()), (Some(1), 1), "{}", probed.text);
    assert!(probed.text.starts_with("not ready: "), "{}", probed.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_not_ready() {
    let server = Server::start().await;
    server.signal("STOP");
    let (probed, checked) = (run(&server.data_dir(), &["--probe"], &[]), check_up(&server.data_dir(), &[]));
    server.signal("CONT");
    assert_eq!(probed.code, Some(1), "{}", probed.text);
    checked.assert_broken(&["node.not-ready"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_well_is_told_to_be() {
    let folder = tempfile::tempdir().unwrap();
    // A keyspace that no other test makes meanwhile.
    let settings = with(&settings(), "CLUSTER__CQL__KEYSPACE", "nobodys");
    let told = check_up(&folder.path().join("data"), &settings);
    assert_eq!((told.broken(), told.code), (Vec::new(), Some(0)), "{}", told.text);
    assert!(told.has("cql.one-server") && told.has("cql.migrations-pending"), "{}", told.text);
    assert!(!told.has("store.no-data"), "what lasts is in the engines: {}", told.text);
    let by_hand = with(&settings, "CLUSTER__CQL__MIGRATE", "false");
    check_up(folder.path(), &by_hand).assert_broken(&["cql.migrations-missing"]);
    let three = with(&settings, "CLUSTER__CQL__REPLICATION_FACTOR", "3");
    check_up(folder.path(), &three).assert_broken(&["cql.too-few-servers"]);
}

/// The health check of a container whose root file system is read-only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_data_folder_is_probed() {
    let nowhere = Path::new("/proc/nowhere");
    let listen = format!("0.0.0.0:{}", free_port());
    let settings = settings();
    let mut node = mundotango(nowhere, &["serve", "--listen", &listen]);
    node.envs(settings.iter().map(|(name, value)| (format!("MUNDOTANGO__{name}"), value)));
    let _node = Process::start(&mut node);
    until("the node is ready", async || {
        (run(nowhere, &["--probe", "--listen", &listen], &settings).code == Some(0)).then_some(())
    })
    .await;
}

#[test]
fn parts_that_are_not_there_are_all_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut gone = with(&settings(), "CLUSTER__NATS", &format!("nats://{CLOSED}"));
    gone = with(&gone, "CLUSTER__REDIS", &format!("redis://{CLOSED}"));
    gone = with(&gone, "CLUSTER__CQL__NODES", &json!([CLOSED]).to_string());
    gone.extend(owned(&by_smtp("1", "2s")));
    let told = check_up(folder.path(), &gone);
    told.assert_broken(&["nats.unreachable", "redis.unreachable", "cql.unreachable", "mail.unreachable"]);
}

#[test]
fn a_wrong_password_is_told_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (nats_port, redis_port) = (free_port(), free_port());
    let _nats = Process::start(nats_server(&nats_port).args(["--user", "ana", "--pass", "right"]));
    wait_for(&nats_port);
    let _redis = redis(&redis_port, &["--requirepass", "right"], folder.path());
    let wrong = |url: String| url.replace("PASSWORD", "wrong-password");
    let nats = wrong(format!("nats://ana:PASSWORD@127.0.0.1:{nats_port}"));
    let redis = wrong(format!("redis://:PASSWORD@127.0.0.1:{redis_port}"));
    let settings = with(&with(&settings(), "CLUSTER__NATS", &nats), "CLUSTER__REDIS", &redis);
    let told = check_up(folder.path(), &settings);
    told.assert_broken(&["nats.refused", "redis.refused"]);
    assert!(!told.text.contains("wrong-password"), "{}", told.text);
}

/// Waits until somebody listens on a port.
fn wait_for(port: &str) {
    let start = Instant::now();
    while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(start.elapsed() < Duration::from_mins(1), "nobody listens on {port}");
        sleep(Duration::from_millis(20));
    }
}

/// A Redis of the test's own that is there when this returns.
fn redis(port: &str, arguments: &[&str], folder: &Path) -> Process {
    let common = ["--port", port, "--bind", "127.0.0.1"];
    let process =
        Process::start(Command::new("redis-server").args(common).args(arguments).current_dir(folder));
    wait_for(port);
    process
}

#[test]
fn a_redis_that_forgets_or_brings_back_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let arguments = ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru", "--save", "3600 1"];
    let _redis = redis(&port, &arguments, folder.path());
    let told =
        check_up(folder.path(), &with(&settings(), "CLUSTER__REDIS", &format!("redis://127.0.0.1:{port}")));
    told.assert_broken(&["redis.evicts"]);
    assert!(told.has("redis.persists"), "{}", told.text);
}

#[test]
fn servers_of_nats_that_do_not_know_each_other_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port()];
    let _servers = ports.each_ref().map(|port| {
        let server = Process::start(&mut nats_server(port));
        wait_for(port);
        server
    });
    let nats = ports.map(|port| format!("nats://127.0.0.1:{port}")).join(",");
    check_up(folder.path(), &with(&settings(), "CLUSTER__NATS", &nats)).assert_broken(&["nats.split"]);
}

/// A mail server that wants this user and password; it ends with this.
struct Strict(Child, String);

impl Strict {
    fn start(user: &str, password: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp");
        let mut child = Command::new("node")
            .arg(folder.join("server.mjs"))
            .arg(json!({"user": user, "password": password}).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let started: Value = serde_json::from_str(&line).unwrap();
        Self(child, started["port"].to_string())
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_mail_server_is_looked_at_as_far_as_the_first_letter() {
    let folder = tempfile::tempdir().unwrap();
    let server = SmtpServer::start();
    let plain = owned(&by_smtp(&server.port, "2s"));
    let well = check_up(folder.path(), &plain);
    assert!(well.ids().iter().all(|id| !id.starts_with("mail.")), "{}", well.text);
    let encrypted = with(&plain, "MAIL__SMTP__TLS", "starttls");
    check_up(folder.path(), &encrypted).assert_broken(&["mail.no-starttls"]);
    let user = |port: &str, password: &str| {
        let mut settings = owned(&by_smtp(port, "2s"));
        settings.extend(owned(&[("MAIL__SMTP__USER", "ana"), ("MAIL__SMTP__PASSWORD", password)]));
        check_up(folder.path(), &settings)
    };
    user(&server.port, "right").assert_broken(&["mail.no-sign-in"]);
    let strict = Strict::start("ana", "right");
    let well = user(&strict.1, "right");
    assert!(well.ids().iter().all(|id| !id.starts_with("mail.")), "{}", well.text);
    let refused = user(&strict.1, "wrong-password");
    refused.assert_broken(&["mail.refused"]);
    assert!(!refused.text.contains("wrong-password"), "{}", refused.text);
    assert_eq!(server.letters(), []);
}

/// Writes a certificate for 127.0.0.1 that ends in a year, and its key; the settings of a node with them.
fn certificate(folder: &Path, year: i32) -> Vec<(String, String)> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    fs::write(file("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(file("key.pem"), key.serialize_pem()).unwrap();
    fs::set_permissions(file("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    owned(&[("HTTP__TLS__CERTIFICATE", &file("cert.pem")), ("HTTP__TLS__KEY", &file("key.pem"))])
}

#[test]
fn a_certificate_that_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().unwrap();
    check_up(folder.path(), &certificate(folder.path(), 2021)).assert_broken(&["tls.expired"]);
    let settings = certificate(folder.path(), 2150);
    let ids = check_up(folder.path(), &settings).ids();
    assert!(ids.iter().all(|id| !id.starts_with("tls.")), "{ids:?}");
    fs::write(folder.path().join("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    check_up(folder.path(), &settings).assert_broken(&["tls.unusable"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_speaks_tls_is_probed_with_and_without_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path(), 2150);
    let settings: Vec<_> = tls.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut server = Server::begin_with(&settings);
    server.wait_until_it_listens().await;
    until("by the folder", async || {
        (run(&server.data_dir(), &["--probe"], &tls).code == Some(0)).then_some(())
    })
    .await;
    let elsewhere = folder.path().join("elsewhere");
    let listen = server.address().to_string();
    let probed = run(&elsewhere, &["--probe", "--listen", &listen], &tls);
    assert_eq!(probed.code, Some(0), "{}", probed.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_others_and_a_full_disk_are_told() {
    let mut server = Server::start().await;
    let data_dir = server.data_dir();
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    let full = owned(&[("STORE__RESERVE_BYTES", &i64::MAX.to_string())]);
    check_up(&data_dir, &full).assert_broken(&["store.no-room"]);
    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o755)).unwrap();
    let open = check_up(&data_dir, &[]);
    assert!(open.has("store.open-folder") && open.code == Some(0), "{}", open.text);
    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(data_dir.join("store/format"), "999").unwrap();
    check_up(&data_dir, &[]).assert_broken(&["store.format"]);
    // Only root can give a file away.
    if geteuid().is_root() {
        chown(data_dir.join("store/lock"), Some(10001), Some(10001)).unwrap();
        check_up(&data_dir, &[]).assert_broken(&["store.foreign-files"]);
    }
}

#[test]
fn a_file_that_is_not_there_cannot_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let told = run(folder.path(), &["--config", "/nowhere.toml"], &[]);
    assert_eq!(told.code, Some(2), "{}", told.text);
    assert!(told.text.contains("/nowhere.toml"), "{}", told.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admins_see_the_findings_of_a_running_node() {
    let secret = "changeme-changeme-changeme-changeme";
    let server = Server::start_with(&[("AUTH__SECRET", secret)]).await;
    let path = "/api/admin/system/findings";
    let (status, _) = server.get(path, &server.user("ana", "user")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let admin = server.user("root", "admin");
    let (status, found) = server.get(path, &admin).await;
    assert_eq!(status, StatusCode::OK, "{found}");
    let weak = found["findings"].as_array().unwrap().iter().find(|one| one["id"] == "config.weak-secret");
    let weak = weak.unwrap_or_else(|| panic!("{found}"));
    assert!(weak["do"].is_string() && weak["severity"] == "warning", "{weak}");
    assert!(!found.to_string().contains(secret), "{found}");
    // The same look is told until it is a minute old.
    assert_eq!(server.get(path, &admin).await.1["at"], found["at"]);
}
