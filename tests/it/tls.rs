//! TLS on the node's own listener, with an authority of the test's own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use mundotango::node_file::NodeFile;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reqwest::{Certificate, Client, StatusCode};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::sdk::{Sdk, SdkClient};
use crate::server::{ROOM, Server, mundotango, until};

/// An authority, and the files with the certificate that it gave a node.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        // A certificate whose subject is its issuer would count as signed by itself.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let der = certificate.der().clone();
        let authority = Self { folder, issuer: Issuer::new(params, key), der };
        authority.give_another();
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Gives the node another certificate and key, as the authorities' tools do: each file is replaced by a whole one.
    fn give_another(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        for (name, text) in [("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())] {
            fs::write(self.path("new"), text).unwrap();
            fs::rename(self.path("new"), self.path(name)).unwrap();
        }
        certificate.der().clone()
    }

    async fn node(&self, settings: &[(&str, &str)]) -> Server {
        let (certificate, key) = (self.path("cert.pem"), self.path("key.pem"));
        let own = [
            ("HTTP__TLS__CERTIFICATE", certificate.to_str().unwrap()),
            ("HTTP__TLS__KEY", key.to_str().unwrap()),
        ];
        let mut server = Server::begin_with(&[settings, &own].concat());
        server.wait_until_it_listens().await;
        let client = self.client();
        let url = format!("https://{}/api/health/ready", server.address());
        until("the node is ready", async || {
            let answer = client.get(&url).send().await.ok()?;
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
        server
    }

    fn client(&self) -> Client {
        let ca = Certificate::from_pem(&fs::read(self.path("ca.pem")).unwrap()).unwrap();
        Client::builder().tls_certs_only([ca]).build().unwrap()
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn connected(connector: &TlsConnector, address: SocketAddr, token: &str, channel: &str) -> Socket {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::from(address.ip());
    let stream = connector.connect(name, stream).await.unwrap();
    let url = format!("wss://{address}/connection/websocket");
    let (mut socket, _) = client_async(url, stream).await.unwrap();
    let connect = json!({"id": 1, "connect": {"token": token}});
    let subscribe = json!({"id": 2, "subscribe": {"channel": channel}});
    // Both in one write: a part may be decrypted before the request is answered.
    socket.send(Message::text(format!("{connect}\n{subscribe}"))).await.unwrap();
    let mut seen = String::new();
    while !seen.contains(r#""id":2"#) {
        seen += socket.next().await.unwrap().unwrap().to_text().unwrap();
    }
    socket
}

async fn certificate_of(authority: &Authority, address: SocketAddr) -> CertificateDer<'static> {
    let stream = TcpStream::connect(address).await.unwrap();
    // A connector that was used before would resume, and tell the certificate of that time.
    let connector = authority.connector();
    let stream = connector.connect(ServerName::from(address.ip()), stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

async fn publish(authority: &Authority, server: &Server, channel: &str, data: Value) {
    let url = format!("https://{}/api/publish", server.address());
    let request = authority.client().post(url).header("x-api-key", crate::server::API_KEY);
    let answer = request.json(&json!({"channel": channel, "data": data})).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert!(answer["error"].is_null(), "{answer}");
}

async fn sdk_over_tls(sdk: Sdk) {
    let authority = Authority::new();
    let server = authority.node(ROOM).await;
    let user = server.user("ana", "user");
    let arguments = json!({"token": user.token, "channel": "room:a", "delta": true});
    let mut client = SdkClient::start_over_tls(sdk, server.address(), &authority.path("ca.pem"), arguments);
    client.event("subscribed").await;
    // Larger than a record of TLS, and many at once.
    for number in 0..50 {
        let data = json!({"number": number, "text": "la cumparsita ".repeat(4000)});
        publish(&authority, &server, "room:a", data.clone()).await;
        assert_eq!(client.publication().await, data);
    }
    let health = client.result(json!({"do": "rpc", "method": "GET /api/health", "data": {}})).await;
    assert!(health["status"].is_string(), "{health}");
    client.result(json!({"do": "publish", "channel": "room:a", "data": 5})).await;
    assert_eq!(client.publication().await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_sdk_speaks_wss() {
    sdk_over_tls(Sdk::JavaScriptJson).await;
    sdk_over_tls(Sdk::JavaScriptProtobuf).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_sdk_streams_over_https() {
    sdk_over_tls(Sdk::JavaScriptHttpStream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_changes_under_a_thousand_sessions() {
    const SESSIONS: usize = 1000;
    const PUBLICATIONS: u64 = 40;
    let authority = Authority::new();
    let mut settings = ROOM.to_vec();
    settings.push(("CHANNELS__NAMESPACES__ROOM__PRESENCE", "false"));
    let server = authority.node(&settings).await;
    let token = server.user("ana", "user").token;
    let (connector, address) = (authority.connector(), server.address());
    let delivered = Arc::new(AtomicUsize::new(0));
    let mut sessions = JoinSet::new();
    for _ in 0..SESSIONS {
        let mut socket = connected(&connector, address, &token, "room:a").await;
        let delivered = Arc::clone(&delivered);
        sessions.spawn(async move {
            let mut next = 0;
            while next < PUBLICATIONS {
                let text = socket.next().await.expect("the session ended").unwrap();
                for reply in serde_json::Deserializer::from_str(text.to_text().unwrap()).into_iter::<Value>()
                {
                    let reply = reply.unwrap();
                    if let Some(number) = reply["push"]["pub"]["data"].as_u64() {
                        assert_eq!(number, next);
                        next += 1;
                        delivered.fetch_add(1, Ordering::Relaxed);
                    }
                }
                if text.to_text().unwrap() == "{}" {
                    socket.send(Message::text("{}")).await.unwrap();
                }
            }
        });
    }
    let mut newest = certificate_of(&authority, address).await;
    for number in 0..PUBLICATIONS {
        publish(&authority, &server, "room:a", json!(number)).await;
        if number % 10 == 5 {
            let next = authority.give_another();
            assert_ne!(next, newest);
            // Half of the changes are told, the others are noticed.
            if number % 20 == 5 {
                server.signal("HUP");
            }
            until("the new certificate is used", async || {
                (certificate_of(&authority, address).await == next).then_some(())
            })
            .await;
            newest = next;
        }
    }
    while let Some(session) = sessions.join_next().await {
        session.unwrap();
    }
    assert_eq!(delivered.load(Ordering::Relaxed), SESSIONS * usize::try_from(PUBLICATIONS).unwrap());
}

/// What the kernel does not take lies encrypted in TLS, in the socket and in the outbox, and goes on in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_late_gets_everything_in_order() {
    const PUBLICATIONS: u64 = 200;
    let authority = Authority::new();
    let settings = [ROOM, &[("SESSION__OUTBOX_BYTES", "67108864")]].concat();
    let server = authority.node(&settings).await;
    let token = server.user("ana", "user").token;
    let mut socket = connected(&authority.connector(), server.address(), &token, "room:a").await;
    for number in 0..PUBLICATIONS {
        let data = json!({"number": number, "text": "x".repeat(60_000)});
        publish(&authority, &server, "room:a", data).await;
    }
    let mut next = 0;
    while next < PUBLICATIONS {
        let message = socket.next().await.expect("the session ended").unwrap();
        for reply in serde_json::Deserializer::from_str(message.to_text().unwrap()).into_iter::<Value>() {
            if let Some(number) = reply.unwrap()["push"]["pub"]["data"]["number"].as_u64() {
                assert_eq!(number, next);
                next += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_cannot_be_used_changes_nothing() {
    let authority = Authority::new();
    let server = authority.node(&[]).await;
    let address = server.address();
    let before = certificate_of(&authority, address).await;
    // A key of another certificate.
    fs::write(authority.path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    server.signal("HUP");
    until("it is logged", async || server.log().contains("certificate not usable").then_some(())).await;
    assert_eq!(certificate_of(&authority, address).await, before);
    let next = authority.give_another();
    until("a good one is used", async || (certificate_of(&authority, address).await == next).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_reach_a_node_that_speaks_tls() {
    let authority = Authority::new();
    let server = authority.node(&[]).await;
    let node = NodeFile::read(&server.data_dir()).unwrap();
    assert!(node.commands().ip().is_loopback() && node.commands() != node.listen);
    let arguments = ["user", "create", "--email", "eva@example.com", "--password", "abrazo-1234"];
    let output = mundotango(&server.data_dir(), &arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // What speaks no TLS gets nothing, and a client without the authority does not come in.
    let plain = tokio::time::timeout(Duration::from_secs(20), server.http.get(server.url("/")).send()).await;
    assert!(plain.unwrap().is_err());
    let url = format!("https://{}/api/health", server.address());
    assert!(server.http.get(url).send().await.is_err());
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let start = |certificate: &Path, key: Option<&Path>| {
        let mut command = mundotango(&folder.path().join("data"), &["serve", "--listen", "127.0.0.1:0"]);
        command.env("MUNDOTANGO__HTTP__TLS__CERTIFICATE", certificate);
        if let Some(key) = key {
            command.env("MUNDOTANGO__HTTP__TLS__KEY", key);
        }
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (certificate, key) = (authority.path("cert.pem"), authority.path("key.pem"));
    assert!(start(&certificate, None).contains("certificate and key belong together"));
    assert!(start(&key, Some(&key)).contains("holds no certificate"));
    assert!(start(&authority.path("gone"), Some(&key)).contains("gone: No such file"));
    assert!(start(&authority.path("ca.pem"), Some(&key)).contains("http.tls"));
    assert!(!folder.path().join("data").exists(), "a node that does not start makes no folder");
}
