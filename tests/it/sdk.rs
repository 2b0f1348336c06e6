//! The official SDKs as child processes, driven by JSON lines.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::server::{Server, User};

/// Longest wait for an event.
const PATIENCE: Duration = Duration::from_secs(30);

/// An SDK and the transport that it is to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    JavaScriptJson,
    JavaScriptProtobuf,
    JavaScriptSse,
    JavaScriptHttpStream,
    PythonJson,
    PythonProtobuf,
    Java,
}

impl Sdk {
    pub const ALL: [Self; 7] = [
        Self::JavaScriptJson,
        Self::JavaScriptProtobuf,
        Self::JavaScriptSse,
        Self::JavaScriptHttpStream,
        Self::PythonJson,
        Self::PythonProtobuf,
        Self::Java,
    ];

    fn transport(self) -> &'static str {
        match self {
            Self::JavaScriptJson | Self::PythonJson => "json",
            Self::JavaScriptProtobuf | Self::PythonProtobuf | Self::Java => "protobuf",
            Self::JavaScriptSse => "sse",
            Self::JavaScriptHttpStream => "http_stream",
        }
    }

    /// Where this SDK finds a server that listens on `address`.
    pub fn url(self, address: SocketAddr) -> String {
        match self {
            Self::JavaScriptSse | Self::JavaScriptHttpStream => format!("http://{address}"),
            // The subprotocol says Protobuf to a server; this SDK asks by the query.
            Self::Java => format!("ws://{address}/connection/websocket?format=protobuf"),
            _ => format!("ws://{address}/connection/websocket"),
        }
    }

    fn command(self) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
        let (program, script) = match self {
            Self::JavaScriptJson
            | Self::JavaScriptProtobuf
            | Self::JavaScriptSse
            | Self::JavaScriptHttpStream => {
                assert!(scripts.join("javascript/node_modules").exists(), "run `cargo xtask parts` first");
                (PathBuf::from("node"), scripts.join("javascript/client.mjs"))
            }
            Self::PythonJson | Self::PythonProtobuf => (python(), scripts.join("python/client.py")),
            Self::Java => {
                let java = parts().join("java");
                assert!(
                    java.join("classes").exists(),
                    "no {}: run `cargo xtask parts` first",
                    java.display()
                );
                let mut command = Command::new("java");
                // Many of these run beside each other in a test.
                command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp"]);
                command.arg(format!("{0}/classes:{0}/lib/*", java.display())).arg("Driver");
                return command;
            }
        };
        let mut command = Command::new(program);
        command.arg(script);
        command
    }
}

/// Where the tests' parts are.
pub fn parts() -> PathBuf {
    std::env::var_os("MUNDOTANGO_PARTS").map_or_else(default_parts, PathBuf::from)
}

/// The Python that has what the tests need.
pub fn python() -> PathBuf {
    let python = parts().join("python/bin/python");
    assert!(python.exists(), "no {}: run `cargo xtask parts` first", python.display());
    python
}

/// Where `cargo xtask parts` puts what the tests need: beside the build that this test is of.
fn default_parts() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join("parts")
}

/// One client process.
pub struct SdkClient {
    _child: Child,
    commands: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
    seen: Vec<Value>,
}

impl SdkClient {
    pub fn start(sdk: Sdk, address: SocketAddr, user: &User, channel: &str) -> Self {
        Self::start_with(sdk, address, json!({"token": user.token, "channel": channel}))
    }

    /// Starts a client with more of the arguments that its script takes.
    pub fn start_with(sdk: Sdk, address: SocketAddr, arguments: Value) -> Self {
        Self::start_by(sdk, sdk.command(), &sdk.url(address), arguments)
    }

    /// Starts a JavaScript client over TLS that trusts an authority.
    pub fn start_over_tls(sdk: Sdk, address: SocketAddr, authority: &Path, arguments: Value) -> Self {
        let mut command = sdk.command();
        command.env("NODE_EXTRA_CA_CERTS", authority);
        let url = sdk.url(address).replacen("http:", "https:", 1).replacen("ws:", "wss:", 1);
        Self::start_by(sdk, command, &url, arguments)
    }

    fn start_by(sdk: Sdk, mut command: Command, url: &str, mut arguments: Value) -> Self {
        arguments["url"] = json!(url);
        arguments["transport"] = json!(sdk.transport());
        let mut child = command
            .arg(arguments.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let events = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, commands, events, seen: Vec::new() }
    }

    /// Starts a client and waits for its subscription.
    pub async fn subscribed(sdk: Sdk, server: &Server, user: &User, channel: &str) -> Self {
        let mut client = Self::start(sdk, server.address(), user, channel);
        client.event("subscribed").await;
        // What led here is not what the test waits for.
        client.seen.clear();
        client
    }

    /// The next event of a kind; others are kept for later.
    pub async fn event(&mut self, kind: &str) -> Value {
        if let Some(at) = self.seen.iter().position(|event| event["event"] == kind) {
            return self.seen.remove(at);
        }
        let wait = async {
            loop {
                let line = self.events.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("the client ended; it saw {:?}", self.seen));
                let event: Value = serde_json::from_str(&line).unwrap();
                if event["event"] == kind {
                    return event;
                }
                self.seen.push(event);
            }
        };
        let event = tokio::time::timeout(PATIENCE, wait).await;
        event.unwrap_or_else(|_| panic!("no {kind} within {PATIENCE:?}; it saw {:?}", self.seen))
    }

    /// The data of the next publication.
    pub async fn publication(&mut self) -> Value {
        self.event("publication").await["data"].take()
    }

    /// Has the client do something; the reply.
    pub async fn act(&mut self, command: Value) -> Value {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        self.event("reply").await
    }

    /// Has the client do something that works; its result.
    pub async fn result(&mut self, command: Value) -> Value {
        let mut reply = self.act(command).await;
        assert_eq!(reply["ok"], true, "{reply}");
        reply["result"].take()
    }

    /// How many events of a kind came that nobody has waited for yet.
    pub fn seen(&self, kind: &str) -> usize {
        self.seen.iter().filter(|event| event["event"] == kind).count()
    }
}
