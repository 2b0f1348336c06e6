//! What the node tells the service manager that started it, such as systemd (`sd_notify(3)`). Without a manager nothing
//! is told to anybody.

use std::env;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Where the manager listens.
const SOCKET: &str = "NOTIFY_SOCKET";
/// After how many microseconds without a sign of life the manager restarts the node.
const WATCHDOG_MICROS: &str = "WATCHDOG_USEC";

/// The manager, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct ServiceManager {
    socket: Option<Arc<UnixDatagram>>,
}

impl ServiceManager {
    /// The manager that the environment names.
    pub(crate) fn of_environment() -> Self {
        let socket = env::var_os(SOCKET).and_then(|name| {
            let address = match name.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
                path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
            };
            let connect = || {
                let socket = UnixDatagram::unbound()?;
                socket.connect_addr(&address?)?;
                // A manager that reads nothing must not hold the node.
                socket.set_nonblocking(true)?;
                std::io::Result::Ok(Arc::new(socket))
            };
            connect().inspect_err(|error| tracing::warn!(%error, "service manager not reached")).ok()
        });
        Self { socket }
    }

    /// The node takes work.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The node reads its files again; [`ready`](Self::ready) says that this is done.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}{:06}", now.tv_sec, now.tv_nsec / 1000));
    }

    /// The node goes away.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Gives signs of life for ever, where the manager waits for them: a runtime that hangs gives none.
    pub(crate) async fn keep_watch(&self) {
        let micros = env::var(WATCHDOG_MICROS).ok().and_then(|micros| micros.parse().ok());
        let Some(period) = micros.map(Duration::from_micros).filter(|period| !period.is_zero()) else {
            return std::future::pending().await;
        };
        loop {
            self.tell("WATCHDOG=1");
            tokio::time::sleep(period / 2).await;
        }
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::debug!(%error, state, "service manager not told");
        }
    }
}
