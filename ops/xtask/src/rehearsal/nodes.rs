//! The three nodes of a rehearsal as processes, each at an address of its own that it keeps from version to version.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::door::Door;

/// How long a node may take until it is ready, or until it has drained.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What is deployed: a program, and what its configuration says.
#[derive(Clone, Debug)]
pub(super) struct Version {
    /// What it is called here.
    pub(super) name: &'static str,
    pub(super) binary: PathBuf,
    /// Variables of the configuration, the later over the earlier.
    pub(super) settings: Vec<(String, String)>,
}

impl Version {
    /// The same under another name, with a setting otherwise.
    pub(super) fn with(&self, name: &'static str, setting: &str, value: &str) -> Self {
        let mut version = Self { name, ..self.clone() };
        version.settings.push((setting.to_owned(), value.to_owned()));
        version
    }

    /// The program with what every command of it needs.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        // It ends with this process however that ends; `setpriv` turns into the program, so the pid is the program's.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.binary).args(arguments);
        command.envs(self.settings.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// Runs `mundotango migrate`; what it said.
    pub(super) fn migrate(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output =
            self.command(&[&["migrate"], arguments].concat()).output().context("cannot run setpriv")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "migrate of {}: {}", self.name, errors.trim());
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// A port that nobody has at the moment.
pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A process that is killed when this goes.
pub(super) struct Running(Child);

impl Running {
    /// Starts a command with its output added to a file.
    pub(super) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(Self(command.spawn().with_context(|| format!("cannot run {command:?}"))?))
    }

    pub(super) fn must_run(&mut self) -> anyhow::Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("ended with {status}"),
        }
    }

    /// Asks it to end, and waits until it did, well.
    fn end(mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        // The shell's own `kill` is there also where the program is not.
        crate::run(Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &self.0.id().to_string()]))?;
        loop {
            if let Some(status) = self.0.try_wait()? {
                anyhow::ensure!(status.success(), "ended with {status}");
                return Ok(start.elapsed());
            }
            anyhow::ensure!(start.elapsed() < PATIENCE, "not drained within {PATIENCE:?}");
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already if all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node's place, and what runs there.
pub(super) struct Node {
    pub(super) address: SocketAddr,
    folder: PathBuf,
    running: Option<Running>,
    /// By its own address, past the balancer.
    door: Door,
}

impl Node {
    pub(super) fn new(folder: &Path, number: usize) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let folder = folder.join(format!("node-{number}"));
        fs::create_dir_all(&folder)?;
        Ok(Self { address, folder, running: None, door: Door::new(&format!("http://{address}")) })
    }

    /// Starts a version.
    pub(super) fn start(&mut self, version: &Version) -> anyhow::Result<()> {
        let mut command = version.command(&["serve", "--listen", &self.address.to_string(), "--data-dir"]);
        command.arg(self.folder.join("data"));
        self.running = Some(Running::start(command, &self.log())?);
        Ok(())
    }

    /// Waits until it is ready.
    pub(super) fn wait(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let running = self.running.as_mut().context("nothing runs")?;
            running.must_run().with_context(|| self.log().display().to_string())?;
            match self.door.get("/api/health/ready", None) {
                Ok((200, _)) => return Ok(()),
                outcome if start.elapsed() > PATIENCE => {
                    anyhow::bail!("{} is not ready: {outcome:?}", self.address)
                }
                _ => std::thread::sleep(LOOK_INTERVAL),
            }
        }
    }

    /// Drains what runs; how long it took.
    pub(super) fn end(&mut self) -> anyhow::Result<Duration> {
        let Some(running) = self.running.take() else { return Ok(Duration::ZERO) };
        running.end().with_context(|| self.log().display().to_string())
    }

    /// How many sessions it has.
    pub(super) fn sessions(&self) -> anyhow::Result<u64> {
        let (_, health) = self.door.get("/api/health", None)?;
        health["sessions"].as_u64().with_context(|| format!("no sessions in {health}"))
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The letters that it wrote.
    pub(super) fn letters(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.folder.join("data/mail");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        let paths = paths.collect::<anyhow::Result<Vec<_>>>()?;
        let whole = paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "eml"));
        whole.map(|path| Ok(fs::read_to_string(path)?)).collect()
    }
}
