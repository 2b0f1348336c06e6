//! The accept loop. It has its own time-outs, as clients that say nothing must not hold connections for ever.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mundotango_ops::Seldom;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::body;
use crate::client_address::{ClientAddress, TrustedProxies};
use crate::health;
use crate::options::HttpOptions;
use crate::places::{Admission, Places, Standing};
use crate::proxy_protocol;
use crate::tls::{self, Certificates, Stream, TlsError};

/// Pause after a failed accept: with no file descriptor left the next accept would fail at once, and spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Connections to the internal listener: scrapes, probes, balancers' checks and a few people.
pub const INTERNAL_CONNECTIONS: usize = 64;
/// Time for a request on a connection of the reserve, which others wait for.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the kernel tries to bring data to a client that acknowledges nothing.
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(30);
/// Connections that wait in the kernel to be accepted: a storm of thousands comes within milliseconds.
pub const BACKLOG: i32 = 4096;

/// Listens on an address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM.nonblocking(),
        Some(socket2::Protocol::TCP),
    )?;
    // Connections of the process before may still be closing.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Who may come in at a listener, and how connections of it begin.
pub struct Door {
    places: Places,
    proxies: TrustedProxies,
    proxy_protocol: bool,
    tls: Option<TlsAcceptor>,
    header_timeout: Duration,
}

impl Door {
    /// The door of clients.
    pub fn new(options: &HttpOptions) -> Self {
        Self {
            places: Places::new(options),
            proxies: TrustedProxies::new(options.trusted_proxies.clone(), options.forwarded_header),
            proxy_protocol: options.proxy_protocol,
            tls: None,
            header_timeout: options.header_timeout,
        }
    }

    /// The door of operators: few connections, none of which counts among the clients'.
    pub fn internal(options: &HttpOptions) -> Self {
        Self::new(&HttpOptions {
            max_connections: INTERNAL_CONNECTIONS,
            max_connections_per_address: 0,
            proxy_protocol: false,
            ..options.clone()
        })
    }

    /// Speaks TLS with these certificates.
    pub fn with_tls(mut self, certificates: &Certificates) -> Result<Self, TlsError> {
        self.tls = Some(certificates.acceptor()?);
        Ok(self)
    }
}

/// Accepts connections until `stop` resolves, then waits up to `deadline` for requests under way.
///
/// Sockets that were upgraded are their sessions' and are not waited for.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    door: Door,
    stop: impl Future<Output = ()>,
    deadline: Duration,
) {
    let door = Arc::new(door);
    let under_way = TaskTracker::new();
    let stopping = CancellationToken::new();
    let failures = Seldom::once_a_minute();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(left_out) = failures.may_write() {
                    tracing::warn!(%error, left_out, "connection not accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(admission) = door.places.admit().await else { continue };
        let (router, door) = (router.clone(), Arc::clone(&door));
        under_way.spawn(serve_connection(door, router, stream, peer, admission, stopping.clone()));
    }
    drop(listener);
    stopping.cancel();
    under_way.close();
    if tokio::time::timeout(deadline, under_way.wait()).await.is_err() {
        tracing::warn!("requests were still under way at the deadline");
    }
}

async fn serve_connection(
    door: Arc<Door>,
    router: Router,
    stream: TcpStream,
    peer: SocketAddr,
    admission: Admission,
    stopping: CancellationToken,
) {
    let patience = match admission {
        Admission::Place(_) => door.header_timeout,
        Admission::Reserve(_) => RESERVE_TIMEOUT,
    };
    let begun = tokio::time::timeout(patience, begin(&door, stream, peer, admission)).await;
    let (stream, connection) = match begun {
        Ok(Ok(Some((stream, client, standing)))) => {
            (stream, Arc::new(Connection { door, router, client, standing }))
        }
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "connection did not begin"),
    };
    let ended = if matches!(connection.standing, Standing::Refused(..)) {
        // However slowly such a client reads, its place is free again soon.
        let serving = connection.serve(stream, RESERVE_TIMEOUT, stopping);
        tokio::time::timeout(2 * RESERVE_TIMEOUT, serving).await.unwrap_or(Ok(()))
    } else {
        connection.serve(stream, patience, stopping).await
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Waits for a connection's first byte and finds out whose it is. `None`: it is closed without an answer.
async fn begin(
    door: &Door,
    mut stream: TcpStream,
    peer: SocketAddr,
    admission: Admission,
) -> io::Result<Option<(Stream, IpAddr, Standing)>> {
    // Publications are small, and none waits for the next.
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_FOR))?;
    stream.readable().await?;
    let mut client = peer.ip().to_canonical();
    if door.proxy_protocol && door.proxies.trusts(client) {
        client = proxy_protocol::read_client(&mut stream).await?.unwrap_or(client);
    }
    let is_proxy = door.proxies.trusts(client);
    let Some(standing) = door.places.standing(admission, ClientAddress(client), is_proxy) else {
        return Ok(None);
    };
    Ok(Some((tls::begin(door.tls.as_ref(), stream).await?, client, standing)))
}

/// A connection whose requests are answered.
struct Connection {
    door: Arc<Door>,
    router: Router,
    /// The other end, or the client that a proxy named before the connection's first byte.
    client: IpAddr,
    standing: Standing,
}

impl Connection {
    async fn serve(
        self: Arc<Self>,
        stream: Stream,
        header_timeout: Duration,
        stopping: CancellationToken,
    ) -> hyper::Result<()> {
        let service = service_fn(move |request| {
            let connection = Arc::clone(&self);
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response {
        let Door { proxies, places, .. } = &*self.door;
        let mut request = request.map(Body::new);
        let client = proxies.client_of(self.client, request.headers());
        request.extensions_mut().insert(client);
        match &self.standing {
            Standing::Refused(refusal, place) if !health::is_monitoring(request.uri().path()) => {
                let body = request.into_body();
                // A client that sent a body could not read the refusal if the connection ended over unread bytes.
                if !body.is_end_stream() {
                    // Too many linger: only what has come already is read.
                    let patience = if places.linger(place) { RESERVE_TIMEOUT } else { Duration::ZERO };
                    body::drop_rest(body, patience).await;
                }
                return places.refuse(*refusal);
            }
            Standing::Refused(..) => {}
            Standing::Client(place) => drop(request.extensions_mut().insert(place.clone())),
            // Without a client's address a request is the proxy's own, such as a health check.
            Standing::Proxy(place) if proxies.trusts(client.0) => {
                request.extensions_mut().insert(place.clone());
            }
            Standing::Proxy(place) => {
                let place = match places.of_request(place, client) {
                    Ok(place) => place,
                    Err(refusal) => return places.refuse(refusal),
                };
                request.extensions_mut().insert(place.clone());
                // The client keeps its place until it has the whole answer, as streams are long.
                return self.route(request).await.map(|body| {
                    Body::new(body.map_frame(move |frame| {
                        let _held = &place;
                        frame
                    }))
                });
            }
        }
        self.route(request).await
    }

    async fn route(&self, request: Request<Body>) -> Response {
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
