//! How many connections there may be, in all and from one address, and what those past a limit are answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use mundotango_ops::Seldom;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::client_address::ClientAddress;
use crate::options::HttpOptions;
use crate::problem::Problem;

/// Connections beyond `http.max_connections` that get answers about the node's health, and are told that the node is full.
const RESERVED_CONNECTIONS: usize = 32;
/// Refused connections whose request body is read before the answer. They have no place of the reserve, so that slow
/// bodies of refused requests do not delay answers about the node's health.
const LINGERING_CONNECTIONS: usize = 32;
/// Connections beyond `http.max_connections`, each an open file.
pub const EXTRA_CONNECTIONS: usize = RESERVED_CONNECTIONS + LINGERING_CONNECTIONS;
/// How long a connection waits for a place when the reserve is used up too.
const RESERVE_WAIT: Duration = Duration::from_millis(250);

/// A connection's or a request's place among those of its address.
struct AddressPlace {
    address: IpAddr,
    addresses: Arc<Addresses>,
}

struct Addresses {
    /// 0 for no limit.
    most: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl Addresses {
    fn enter(self: &Arc<Self>, client: ClientAddress) -> Result<Option<Arc<AddressPlace>>, Refusal> {
        if self.most == 0 {
            return Ok(None);
        }
        let address = client.limited_as();
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return Err(Refusal::Address);
        }
        *count += 1;
        Ok(Some(Arc::new(AddressPlace { address, addresses: Arc::clone(self) })))
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A connection's place among all, and its address' place. An upgraded socket keeps both after its HTTP connection.
#[derive(Clone)]
#[expect(dead_code, reason = "held, never read")]
pub(crate) struct ConnectionPlace {
    connection: Arc<OwnedSemaphorePermit>,
    of_address: Option<Arc<AddressPlace>>,
}

/// Why a connection or a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There are as many connections as may be.
    Full,
    /// Its address has as many as one may have.
    Address,
}

/// What an accepted connection may do.
pub(crate) enum Admission {
    /// Everything.
    Place(OwnedSemaphorePermit),
    /// Ask for the node's health.
    Reserve(OwnedSemaphorePermit),
}

/// What the requests of a connection may do.
pub(crate) enum Standing {
    /// All of them are one client's.
    Client(ConnectionPlace),
    /// A proxy sends many clients' requests: each takes its client's place.
    Proxy(ConnectionPlace),
    /// They are refused, but for those about the node's health.
    Refused(Refusal, Mutex<RefusedPlace>),
}

/// What a refused connection holds until its end.
#[expect(dead_code, reason = "the permits are held, never read")]
pub(crate) enum RefusedPlace {
    /// A place of the reserve.
    Reserve(OwnedSemaphorePermit),
    /// A place among those whose request body is read.
    Lingering(OwnedSemaphorePermit),
}

/// The places of a listener.
pub(crate) struct Places {
    connections: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    lingering: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    refused: Seldom,
}

impl Places {
    pub(crate) fn new(options: &HttpOptions) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(options.max_connections)),
            reserve: Arc::new(Semaphore::new(RESERVED_CONNECTIONS)),
            lingering: Arc::new(Semaphore::new(LINGERING_CONNECTIONS)),
            addresses: Arc::new(Addresses {
                most: options.max_connections_per_address,
                counts: Mutex::default(),
            }),
            refused: Seldom::once_a_minute(),
        }
    }

    /// A place for a connection that was just accepted. `None`: everything is taken, so it has to be closed.
    pub(crate) async fn admit(&self) -> Option<Admission> {
        if let Ok(place) = Arc::clone(&self.connections).try_acquire_owned() {
            return Some(Admission::Place(place));
        }
        let either = async {
            tokio::select! {
                biased;
                place = Arc::clone(&self.connections).acquire_owned() => place.ok().map(Admission::Place),
                place = Arc::clone(&self.reserve).acquire_owned() => place.ok().map(Admission::Reserve),
            }
        };
        let admission = tokio::time::timeout(RESERVE_WAIT, either).await.ok().flatten();
        if admission.is_none() {
            self.report("unanswered");
        }
        admission
    }

    /// What the requests of a connection may do, once it is known whose it is. `None`: it has to be closed.
    pub(crate) fn standing(
        &self,
        admission: Admission,
        client: ClientAddress,
        is_proxy: bool,
    ) -> Option<Standing> {
        let place = match admission {
            Admission::Place(place) => place,
            Admission::Reserve(place) => {
                return Some(Standing::Refused(Refusal::Full, Mutex::new(RefusedPlace::Reserve(place))));
            }
        };
        if is_proxy {
            return Some(Standing::Proxy(ConnectionPlace { connection: Arc::new(place), of_address: None }));
        }
        match self.addresses.enter(client) {
            Ok(of_address) => {
                Some(Standing::Client(ConnectionPlace { connection: Arc::new(place), of_address }))
            }
            Err(refusal) => {
                // One address must not use up everybody's places by being refused.
                drop(place);
                let reserved = Arc::clone(&self.reserve).try_acquire_owned().ok();
                if reserved.is_none() {
                    self.report("unanswered");
                }
                reserved.map(|place| Standing::Refused(refusal, Mutex::new(RefusedPlace::Reserve(place))))
            }
        }
    }

    /// The place of one request on a proxy's connection.
    pub(crate) fn of_request(
        &self,
        connection: &ConnectionPlace,
        client: ClientAddress,
    ) -> Result<ConnectionPlace, Refusal> {
        Ok(ConnectionPlace { of_address: self.addresses.enter(client)?, ..connection.clone() })
    }

    /// Gives a refused connection's place in the reserve back and lets the connection linger instead. `false`: too many
    /// linger already, so this connection has to be answered at once.
    pub(crate) fn linger(&self, place: &Mutex<RefusedPlace>) -> bool {
        let Ok(lingering) = Arc::clone(&self.lingering).try_acquire_owned() else { return false };
        *place.lock() = RefusedPlace::Lingering(lingering);
        true
    }

    /// Counts a refusal and gives its answer.
    pub(crate) fn refuse(&self, refusal: Refusal) -> Response {
        let (problem, reason) = match refusal {
            Refusal::Full => (
                Problem::unavailable("the node has as many connections as it may (http.max_connections)"),
                "connections",
            ),
            Refusal::Address => (
                Problem::too_many_requests(
                    "your address has as many connections as it may (http.max_connections_per_address)",
                ),
                "address",
            ),
        };
        self.report(reason);
        let mut response = problem.into_response();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }

    fn report(&self, reason: &'static str) {
        mundotango_ops::metrics().connections_refused_total.with_label_values(&[reason]).inc();
        if let Some(left_out) = self.refused.may_write() {
            tracing::warn!(
                reason,
                left_out,
                "connections refused (http.max_connections, http.max_connections_per_address)"
            );
        }
    }
}
