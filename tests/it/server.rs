//! A server of the test's own: the real binary on a data folder that goes with it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use mundotango::node_file::NodeFile;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

/// The key of the server API in tests.
pub const API_KEY: &str = "the key of a test";
/// A namespace `room` in which users do what they like where they are subscribed.
pub const ROOM: &[(&str, &str)] = &[
    ("HTTP__API_KEY", API_KEY),
    ("CHANNELS__NAMESPACES__ROOM__HISTORY_SIZE", "1000"),
    ("CHANNELS__NAMESPACES__ROOM__HISTORY_TTL", "10m"),
    ("CHANNELS__NAMESPACES__ROOM__FORCE_RECOVERY", "true"),
    ("CHANNELS__NAMESPACES__ROOM__PRESENCE", "true"),
    ("CHANNELS__NAMESPACES__ROOM__ALLOW_SUBSCRIBE_FOR_CLIENT", "true"),
    ("CHANNELS__NAMESPACES__ROOM__ALLOW_PUBLISH_FOR_SUBSCRIBER", "true"),
    ("CHANNELS__NAMESPACES__ROOM__ALLOW_HISTORY_FOR_SUBSCRIBER", "true"),
    ("CHANNELS__NAMESPACES__ROOM__ALLOW_PRESENCE_FOR_SUBSCRIBER", "true"),
    ("CHANNELS__NAMESPACES__ROOM__ALLOWED_DELTA_TYPES", r#"["fossil"]"#),
    ("CHANNELS__NAMESPACES__ROOM__DELTA_PUBLISH", "true"),
];

/// All users of a test come from one address.
const NO_RATES: &[(&str, &str)] = &[
    ("AUTH__RATES__REGISTRATIONS_PER_ADDRESS", "0"),
    ("AUTH__RATES__LOGINS_PER_ADDRESS", "0"),
    ("AUTH__RATES__REFRESHES_PER_ADDRESS", "0"),
    ("AUTH__RATES__LINKS_PER_ADDRESS", "0"),
];
/// No test asks servers elsewhere.
const NO_PREVIEWS: &[(&str, &str)] = &[("LINK_PREVIEWS__ENABLED", "false")];
/// The build of the server that the tests are of.
const BINARY: &str = env!("CARGO_BIN_EXE_mundotango");
/// Longest wait for a server to start or to end.
const PATIENCE: Duration = Duration::from_mins(1);

/// How much of a server's log is shown when its test fails, in lines.
const LINES_OF_A_FAILURE: usize = 40;

/// Waits until something holds, looking again every few milliseconds.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look).await
}

/// The same for what may take another time.
async fn until_within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < patience, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A running server.
pub struct Server {
    binary: PathBuf,
    folder: TempDir,
    environment: Vec<(String, String)>,
    child: Child,
    address: SocketAddr,
    pub http: Client,
}

/// A registered user and the token of its login.
#[derive(Clone, Debug)]
pub struct User {
    pub id: String,
    pub token: String,
    pub refresh_token: String,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with variables of the configuration, such as `("HTTP__MAX_BODY_BYTES", "100")`.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let mut server = Self::begin_with(settings);
        server.wait_until_ready().await;
        server
    }

    /// The same without waiting until it is ready.
    pub fn begin_with(settings: &[(&str, &str)]) -> Self {
        Self::begin_of(Path::new(BINARY), &[NO_RATES, NO_PREVIEWS, settings].concat())
    }

    /// The same with variables of the environment that are no settings.
    pub fn begin_in(environment: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        Self::begin(Path::new(BINARY), environment, settings)
    }

    /// The same with another build of the server.
    pub fn begin_of(binary: &Path, settings: &[(&str, &str)]) -> Self {
        Self::begin(binary, &[], settings)
    }

    fn begin(binary: &Path, environment: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        // reqwest wants to know whose cryptography it is to use, though nothing here speaks TLS.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let own = [("MUNDOTANGO_TEST_HOOKS", "1")].iter().chain(environment);
        let own = own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = settings.iter();
        let settings = settings.map(|(name, value)| (format!("MUNDOTANGO__{name}"), (*value).to_owned()));
        let environment: Vec<_> = own.chain(settings).collect();
        let child = spawn(binary, folder.path(), &environment, "127.0.0.1:0");
        let http = Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        let binary = binary.to_owned();
        Self { binary, folder, environment, child, address: ([127, 0, 0, 1], 0).into(), http }
    }

    /// Waits until the node's process listens, ready or not.
    pub async fn wait_until_it_listens(&mut self) {
        let data_dir = self.data_dir();
        let pid = self.child.id();
        let start = Instant::now();
        self.address = loop {
            if let Some(node) = NodeFile::read(&data_dir).filter(|node| node.pid == pid) {
                break node.listen;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            assert!(start.elapsed() < PATIENCE, "the server did not start:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
    }

    /// Waits until the node is ready.
    pub async fn wait_until_ready(&mut self) {
        self.wait_until_it_listens().await;
        // A busy CQL server takes its time for the tables of a new keyspace.
        until_within(4 * PATIENCE, "the server is ready", async || {
            let answer = self.http.get(self.url("/api/health/ready")).send().await.ok()?;
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What has reached the log. A thread of its own writes it, so the newest lines may still be on
    /// their way: ask until they are there, or take `whole_log`.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The log with everything that the server said until now: lines are written in order, so all
    /// of them are there once the line about a signal sent now is.
    pub async fn whole_log(&self) -> String {
        let told = || self.log().matches("SIGHUP").count();
        let before = told();
        self.signal("HUP");
        until("the signal is in the log", async || (told() > before).then_some(())).await;
        self.log()
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn websocket_url(&self) -> String {
        format!("ws://{}/connection/websocket", self.address)
    }

    /// Sends the server a signal by name.
    pub fn signal(&self, name: &str) {
        let killed = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(killed.unwrap().success());
    }

    pub async fn wait_for_end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// From its next start on the server is this test's own build.
    pub fn upgrade(&mut self) {
        self.binary = PathBuf::from(BINARY);
    }

    /// Starts the server again on its data folder, at the address that it had.
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.binary, self.folder.path(), &self.environment, &self.address.to_string());
        self.wait_until_ready().await;
    }

    /// Calls the API; the status and the JSON of the answer.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        self.try_call(method, path, token, body).await.unwrap()
    }

    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> reqwest::Result<(StatusCode, Value)> {
        let mut request = self.http.request(method, self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let bytes = answer.bytes().await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    pub async fn get(&self, path: &str, user: &User) -> (StatusCode, Value) {
        self.call(Method::GET, path, Some(&user.token), None).await
    }

    pub async fn post(&self, path: &str, user: &User, body: Value) -> (StatusCode, Value) {
        self.call(Method::POST, path, Some(&user.token), Some(body)).await
    }

    pub async fn register(&self, username: &str) -> User {
        let body = json!({
            "email": format!("{username}@example.com"),
            "password": "abrazo-1234",
            "username": username,
            "fullName": username,
        });
        let (status, answer) = self.call(Method::POST, "/api/auth/register", None, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        User {
            id: answer["user"]["id"].as_str().unwrap().to_owned(),
            token: answer["token"].as_str().unwrap().to_owned(),
            refresh_token: answer["refreshToken"].as_str().unwrap().to_owned(),
        }
    }

    /// A user without an account, from a token of the command line: hashing a password for each of many users is slow.
    pub fn user(&self, id: &str, role: &str) -> User {
        self.user_for(id, role, "1h")
    }

    /// The same, with a token that is good for a time.
    pub fn user_for(&self, id: &str, role: &str, ttl: &str) -> User {
        let arguments = ["token", "--user", id, "--role", role, "--ttl", ttl];
        let mut command = mundotango(&self.data_dir(), &arguments);
        let output = command.envs(self.environment.iter().cloned()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let token = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        User { id: id.to_owned(), token, refresh_token: String::new() }
    }

    /// The result of a subscription on a socket of its own, which is closed again.
    pub async fn subscribe_once(&self, user: &User, subscribe: Value) -> Value {
        self.try_subscribe_once(user, subscribe).await.unwrap()
    }

    /// The same, or the error.
    pub async fn try_subscribe_once(&self, user: &User, subscribe: Value) -> Result<Value, Value> {
        let (mut socket, _) = connect_async(self.websocket_url()).await.unwrap();
        let connect = json!({"id": 1, "connect": {"token": user.token}});
        let commands = format!("{connect}\n{}", json!({"id": 2, "subscribe": subscribe}));
        socket.send(Message::text(commands)).await.unwrap();
        loop {
            let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
            for reply in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                let mut reply = reply.unwrap();
                if !reply["error"].is_null() {
                    return Err(reply["error"].take());
                }
                if reply["subscribe"].is_object() {
                    return Ok(reply["subscribe"].take());
                }
            }
        }
    }

    /// Calls the server API, which the server was started with `API_KEY` for; the whole answer.
    pub async fn api(&self, method: &str, body: Value) -> Value {
        let request = self.http.post(self.url(&format!("/api/{method}"))).header("x-api-key", API_KEY);
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES_OF_A_FAILURE)..];
            eprintln!("the end of the log of {}:\n{}", self.address, last.join("\n"));
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command on a data folder.
pub fn mundotango(data_dir: &Path, arguments: &[&str]) -> Command {
    command_of(Path::new(BINARY), data_dir, arguments)
}

fn command_of(binary: &Path, data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).arg("--data-dir").arg(data_dir).stdin(Stdio::null());
    command
}

fn spawn(binary: &Path, folder: &Path, environment: &[(String, String)], listen: &str) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    command_of(binary, &folder.join("data"), &["serve", "--listen", listen])
        .envs(environment.iter().cloned())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}
