//! A Firefox without a screen, driven by WebDriver BiDi. It has a home and a profile of its own, and connects
//! to this machine alone.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::server::until;

/// The program: as Debian calls it, and as others do.
const PROGRAMS: [&str; 2] = ["firefox-esr", "firefox"];
/// Longest wait for the answer to a command. The first one waits for the browser's window, which opens
/// slowly on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);
/// How much of a browser's log is shown when its test fails, in lines.
const LINES_OF_A_FAILURE: usize = 20;

/// A running browser. It ends with its value.
pub struct Firefox {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The number of the last command.
    last: u64,
    _process: Process,
}

/// An open tab.
pub struct Tab(String);

impl Firefox {
    /// Starts a browser that lets pages show notifications, with more preferences. It opens one empty tab,
    /// which keeps it running when others are closed.
    pub async fn start(preferences: &[(&str, Value)]) -> Self {
        let own = [
            // Else it takes the preferences that are recommended for tests, and those turn off push.
            ("remote.prefs.recommended", json!(false)),
            ("permissions.default.desktop-notification", json!(1)),
            // It shows notifications itself: there may be no desktop that does so.
            ("alerts.useSystemBackend", json!(false)),
            // Whatever it wants to look up or to report elsewhere stays on this machine.
            ("network.dns.forceResolve", json!("127.0.0.1")),
            // No tab about privacy opens beside.
            ("datareporting.policy.dataSubmissionEnabled", json!(false)),
        ];
        let mut process = Process::start(&[&own, preferences].concat());
        let url = until("Firefox listens", async || process.url()).await;
        let connected = timeout(PATIENCE, connect_async(url)).await;
        let (socket, _) = connected.expect("Firefox accepts connections").unwrap();
        let mut firefox = Self { socket, last: 0, _process: process };
        firefox.call("session.new", json!({"capabilities": {}})).await;
        firefox
    }

    /// Opens a page in a new tab, and waits until it is loaded.
    pub async fn open(&mut self, url: &str) -> Tab {
        let created = self.call("browsingContext.create", json!({"type": "tab"})).await;
        let tab = created["context"].as_str().unwrap().to_owned();
        let navigation = json!({"context": tab, "url": url, "wait": "complete"});
        self.call("browsingContext.navigate", navigation).await;
        Tab(tab)
    }

    /// Closes a tab, and waits until it is gone.
    pub async fn close(&mut self, Tab(tab): &Tab) {
        self.call("browsingContext.close", json!({"context": tab})).await;
        let open = self.call("browsingContext.getTree", json!({})).await;
        let mut open = open["contexts"].as_array().unwrap().iter();
        assert!(open.all(|other| other["context"] != *tab), "the tab is still open");
    }

    /// What the promise that an expression gives comes to, in a tab's page.
    pub async fn run(&mut self, Tab(tab): &Tab, promise: &str) -> Value {
        let script = json!({
            "expression": format!("({promise}).then(JSON.stringify)"),
            "target": {"context": tab},
            "awaitPromise": true,
        });
        let outcome = self.call("script.evaluate", script).await;
        assert_eq!(outcome["type"], "success", "{promise}: {}", outcome["exceptionDetails"]["text"]);
        serde_json::from_str(outcome["result"]["value"].as_str().unwrap()).unwrap()
    }

    /// The result of a command.
    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let command = json!({"id": self.last, "method": method, "params": parameters});
        self.socket.send(Message::text(command.to_string())).await.unwrap();
        let answered = async {
            loop {
                let message = self.socket.next().await.expect("Firefox ended").unwrap();
                let Message::Text(text) = message else { continue };
                let mut answer: Value = serde_json::from_str(&text).unwrap();
                if answer["id"] == self.last {
                    assert_eq!(answer["type"], "success", "{command}: {answer}");
                    return answer["result"].take();
                }
            }
        };
        timeout(PATIENCE, answered)
            .await
            .unwrap_or_else(|_| panic!("no answer within {PATIENCE:?}: {command}"))
    }
}

/// The processes of a browser, and its files.
struct Process {
    /// The first one, after which their group is named.
    child: Child,
    /// Its home, which is the profile too.
    home: TempDir,
}

impl Process {
    fn start(preferences: &[(&str, Value)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let lines = preferences.iter().map(|(name, value)| format!("user_pref(\"{name}\", {value});\n"));
        fs::write(home.path().join("user.js"), lines.collect::<String>()).unwrap();
        let started = PROGRAMS.iter().find_map(|program| match command(program, home.path()).spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            started => Some(started.unwrap()),
        });
        let child = started.expect("Firefox is missing: cargo xtask parts installs it");
        Self { child, home }
    }

    /// Where it takes commands, once it does.
    fn url(&mut self) -> Option<String> {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("Firefox ended with {status}");
        }
        let written = fs::read(self.home.path().join("WebDriverBiDiServer.json")).ok()?;
        let server: Value = serde_json::from_slice(&written).ok()?;
        Some(format!("ws://{}:{}/session", server["ws_host"].as_str()?, server["ws_port"]))
    }
}

fn command(program: &str, home: &Path) -> Command {
    let log = File::create(home.join("log")).unwrap();
    let mut command = Command::new(program);
    command
        .args(["--headless", "--no-remote", "--remote-debugging-port=0", "--profile"])
        .arg(home)
        .arg("about:blank")
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", home)
        // The process that keeps reports of crashes would outlive the others.
        .env("MOZ_CRASHREPORTER_DISABLE", "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0);
    command
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once the first process was waited for, another group may have its number.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES_OF_A_FAILURE)..];
            eprintln!("the end of the log of Firefox:\n{}", last.join("\n"));
        }
    }
}
