//! Engines that let in only nodes with the right password and certificate: a real NATS and a real Redis with TLS.

use std::fs;
use std::path::Path;
use std::process::Command;

use futures_util::future::join_all;
use tempfile::TempDir;

use crate::cluster::{begin, know_each_other, settings, with};
use crate::process::{Process, free_port, nats_server};
use crate::server::{Server, until};

/// A password with what a URL may not hold plainly.
const PASSWORD: &str = "s/cr@t:1";
/// The same in a URL.
const PASSWORD_IN_URL: &str = "s%2Fcr%40t%3A1";
/// The seed of an nkey, and the key that a server knows it by.
const NKEY: (&str, &str) = (
    "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y",
    "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK",
);

/// An authority of the test's own, and a certificate for 127.0.0.1 that servers and nodes show each other.
struct Certificates(TempDir);

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        for arguments in [
            "req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
            "req -newkey ed25519 -nodes -subj /CN=node -keyout key.pem -out request.pem",
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
        ] {
            let made = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
        }
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

/// The servers, and the settings of a node that they let in.
struct Secured {
    settings: Vec<(String, String)>,
    certificates: Certificates,
    _servers: [Process; 2],
}

impl Secured {
    fn start() -> Self {
        let certificates = Certificates::make();
        let file = |name: &str| certificates.file(name);
        let (nats_port, redis_port) = (free_port(), free_port());
        let nats = Process::start(
            nats_server(&nats_port)
                .args(["--user", "ana", "--pass", PASSWORD])
                .args(["--tlsverify", "--tlscert", &file("cert.pem"), "--tlskey", &file("key.pem")])
                .args(["--tlscacert", &file("ca.pem")]),
        );
        let redis = Process::start(
            Command::new("redis-server")
                .args([
                    "--port",
                    "0",
                    "--tls-port",
                    &redis_port,
                    "--bind",
                    "127.0.0.1",
                    "--requirepass",
                    PASSWORD,
                ])
                .args(["--tls-cert-file", &file("cert.pem"), "--tls-key-file", &file("key.pem")])
                .args(["--tls-ca-cert-file", &file("ca.pem"), "--tls-auth-clients", "yes", "--save", ""])
                .current_dir(certificates.0.path()),
        );
        let mut changed = vec![
            ("CLUSTER__NATS".to_owned(), format!("tls://ana:{PASSWORD_IN_URL}@127.0.0.1:{nats_port}")),
            ("CLUSTER__REDIS".to_owned(), format!("rediss://:{PASSWORD_IN_URL}@127.0.0.1:{redis_port}")),
        ];
        for section in ["NATS_TLS", "REDIS_TLS"] {
            for (option, name) in [("CA", "ca.pem"), ("CERTIFICATE", "cert.pem"), ("KEY", "key.pem")] {
                changed.push((format!("CLUSTER__{section}__{option}"), file(name)));
            }
        }
        let settings = changed.iter().fold(settings(), |all, (name, value)| with(&all, name, value));
        Self { settings, certificates, _servers: [nats, redis] }
    }
}

/// Waits until a starting node says why it waits, and returns what its health says.
async fn reason(node: &mut Server, wanted: &str) -> String {
    node.wait_until_it_listens().await;
    until(wanted, async || {
        let answer = node.http.get(node.url("/api/health/ready")).send().await.ok()?;
        let text = answer.text().await.ok()?;
        text.contains(wanted).then_some(text)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_sign_in_over_tls_and_a_wrong_password_is_named() {
    let secured = Secured::start();
    let mut nodes = [begin(&secured.settings, &[]), begin(&secured.settings, &[])];
    join_all(nodes.iter_mut().map(Server::wait_until_ready)).await;
    know_each_other(&nodes).await;

    let at = |name: &str| &secured.settings.iter().find(|(known, _)| known == name).unwrap().1;
    let wrong = |name: &str| at(name).replace(PASSWORD_IN_URL, "wrong-secret");
    let mut stranger = begin(&secured.settings, &[("CLUSTER__NATS", &wrong("CLUSTER__NATS"))]);
    reason(&mut stranger, "authorization violation").await;
    assert!(!stranger.log().contains("wrong-secret"), "{}", stranger.log());

    let mut stranger = begin(&secured.settings, &[("CLUSTER__REDIS", &wrong("CLUSTER__REDIS"))]);
    let health = reason(&mut stranger, "uthentication failed").await;
    assert!(!health.contains("did not say") && !stranger.log().contains("wrong-secret"), "{health}");
    drop(secured.certificates);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_signs_in_to_nats_by_its_nkey_and_by_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let seed = write("seed", NKEY.0);
    let config = write("nats.conf", &format!("authorization {{ users = [ {{ nkey: {} }} ] }}\n", NKEY.1));
    let port = free_port();
    let _nats = Process::start(nats_server(&port).args(["--config", &config]));
    let nats = format!("nats://127.0.0.1:{port}");
    let mut node = begin(&settings(), &[("CLUSTER__NATS", &nats), ("CLUSTER__NATS_NKEY", &seed)]);
    node.wait_until_ready().await;

    let port = free_port();
    let _nats = Process::start(nats_server(&port).args(["--auth", "a-token"]));
    let nats = format!("nats://a-token@127.0.0.1:{port}");
    let mut node = begin(&settings(), &[("CLUSTER__NATS", &nats)]);
    node.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_cluster_needs_no_disk() {
    // Nothing can be made there, not even by root.
    let data_dir = Path::new("/proc/nowhere");
    let port = free_port();
    let mut node = crate::server::mundotango(data_dir, &["serve", "--listen", &format!("127.0.0.1:{port}")]);
    for (name, value) in settings() {
        node.env(format!("MUNDOTANGO__{name}"), value);
    }
    let _node = Process::start(&mut node);
    let http = reqwest::Client::new();
    until("a node without a disk is ready", async || {
        let answer = http.get(format!("http://127.0.0.1:{port}/api/health/ready")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}
