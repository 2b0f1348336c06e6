//! The accept loop. It has its own time-outs, as clients that say nothing must not hold connections for ever.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::options::HttpOptions;

/// Pause after a failed accept: out of file descriptors, say, which the next moment will not mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// What a connection past the limit is told, without reading its request.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What a connection past its address' limit is told.
const TOO_MANY_OF_ADDRESS: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// Connections that are told so at the same time; others past a limit are closed without a word, as each holds an open
/// file meanwhile.
const REFUSED_AT_ONCE: usize = 32;
/// How long the kernel tries to bring data to a client that acknowledges nothing.
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(30);

/// A connection's place among `http.max_connections`. An upgraded socket keeps it after its HTTP connection has ended.
#[derive(Clone)]
#[expect(dead_code, reason = "held, never read")]
pub(crate) struct ConnectionPlace(Arc<(OwnedSemaphorePermit, AddressPlace)>);

/// How many connections each address has.
struct Addresses {
    most: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place among those of its address.
struct AddressPlace {
    address: IpAddr,
    addresses: Arc<Addresses>,
}

impl Addresses {
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<AddressPlace> {
        if self.most > 0 {
            let mut counts = self.counts.lock();
            let count = counts.entry(address).or_default();
            if *count >= self.most {
                return None;
            }
            *count += 1;
        }
        Some(AddressPlace { address, addresses: Arc::clone(self) })
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        if self.addresses.most == 0 {
            return;
        }
        let mut counts = self.addresses.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Accepts connections until `stop` resolves, then waits up to `deadline` for requests under way.
///
/// Sockets that were upgraded are their sessions' and are not waited for.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: &HttpOptions,
    stop: impl Future<Output = ()>,
    deadline: Duration,
) {
    let places = Arc::new(Semaphore::new(options.max_connections));
    let addresses =
        Arc::new(Addresses { most: options.max_connections_per_address, counts: Mutex::default() });
    let refusals = Arc::new(Semaphore::new(REFUSED_AT_ONCE));
    let under_way = TaskTracker::new();
    let stopping = CancellationToken::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            refuse(&refusals, stream, TOO_MANY);
            continue;
        };
        let Some(address_place) = addresses.enter(peer.ip()) else {
            refuse(&refusals, stream, TOO_MANY_OF_ADDRESS);
            continue;
        };
        let place = ConnectionPlace(Arc::new((place, address_place)));
        let connection = Connection { stream, peer, router: router.clone(), place };
        under_way.spawn(connection.serve(options.header_timeout, stopping.clone()));
    }
    drop(listener);
    stopping.cancel();
    under_way.close();
    if tokio::time::timeout(deadline, under_way.wait()).await.is_err() {
        tracing::warn!("requests were still under way at the deadline");
    }
}

fn refuse(refusals: &Arc<Semaphore>, mut stream: TcpStream, answer: &'static [u8]) {
    let Ok(permit) = Arc::clone(refusals).try_acquire_owned() else { return };
    tokio::spawn(async move {
        // The client may be gone already.
        let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(answer)).await;
        drop(permit);
    });
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    place: ConnectionPlace,
}

impl Connection {
    async fn serve(self, header_timeout: Duration, stopping: CancellationToken) {
        let Self { stream, peer, router, place } = self;
        // Publications are small, and each waits for nobody.
        let set_up = stream
            .set_nodelay(true)
            .and_then(|()| socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_FOR)));
        if let Err(error) = set_up {
            tracing::debug!(%error, "connection without its options");
        }
        if !matches!(tokio::time::timeout(header_timeout, stream.readable()).await, Ok(Ok(()))) {
            return;
        }
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(place.clone());
            let router = router.clone();
            async move {
                Ok::<_, Infallible>(
                    router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {}),
                )
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}
