//! A proxy that cuts: connections through it end without a word, as when a phone loses its network.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A proxy to one server.
pub struct CuttingProxy {
    address: SocketAddr,
    links: Arc<Mutex<Vec<AbortHandle>>>,
    _accepting: JoinSet<()>,
}

impl CuttingProxy {
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let links = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&links);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let link = tokio::spawn(forward(client, server));
                kept.lock().unwrap().push(link.abort_handle());
            }
        });
        Self { address, links, _accepting: accepting }
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
}

async fn forward(mut client: TcpStream, server: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        // When the two are dropped the kernel resets the connections instead of closing them.
        let _ = stream.set_zero_linger();
        let _ = stream.set_nodelay(true);
    }
    // Either end may be gone at any time.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
