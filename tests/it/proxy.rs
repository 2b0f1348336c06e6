//! A proxy that fails: it cuts connections without a word, as when a phone loses its network, refuses new ones, as when a
//! server was killed, or lets nothing through, as when it is frozen.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What a proxy does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passes it on.
    Open,
    /// Ends connections at once.
    Dead,
    /// Takes connections and bytes, and passes nothing on.
    Frozen,
    /// Passes on what clients send, and holds what the server answers.
    Mute,
}

/// A proxy to one server.
pub struct CuttingProxy {
    address: SocketAddr,
    links: Arc<Mutex<Vec<AbortHandle>>>,
    mode: watch::Sender<Mode>,
    _accepting: JoinSet<()>,
}

impl CuttingProxy {
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let links = Arc::new(Mutex::new(Vec::new()));
        let mode = watch::Sender::new(Mode::Open);
        let (kept, modes) = (Arc::clone(&links), mode.subscribe());
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                if *modes.borrow() == Mode::Dead {
                    let _ = client.set_zero_linger();
                    continue;
                }
                let link = tokio::spawn(forward(client, server, modes.clone()));
                kept.lock().unwrap().push(link.abort_handle());
            }
        });
        Self { address, links, mode, _accepting: accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections; how many there were.
    pub fn cut(&self) -> usize {
        let links = std::mem::take(&mut *self.links.lock().unwrap());
        let open = links.iter().filter(|link| !link.is_finished()).count();
        links.iter().for_each(AbortHandle::abort);
        open
    }

    /// From now on does something else with what comes.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
        if mode == Mode::Dead {
            self.cut();
        }
    }
}

async fn forward(client: TcpStream, server: SocketAddr, modes: watch::Receiver<Mode>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        // When the two are dropped the kernel resets the connections instead of closing them.
        let _ = stream.set_zero_linger();
        let _ = stream.set_nodelay(true);
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // Either end may be gone at any time.
    tokio::select! {
        () = pump(from_client, to_server, modes.clone(), &[Mode::Frozen]) => {}
        () = pump(from_server, to_client, modes, &[Mode::Frozen, Mode::Mute]) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    holding: &[Mode],
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if modes.wait_for(|mode| !holding.contains(mode)).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}
