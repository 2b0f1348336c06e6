//! The way in: one push to one destination.

use std::path::Path;

use mundotango_ops::traces::{Kind, Span};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::apns::Apns;
use crate::destination::{Destination, Provider};
use crate::doubts::Doubts;
use crate::endpoint::{EndpointError, EndpointRules};
use crate::error::{Failure, PushError, SetupError};
use crate::fcm::Fcm;
use crate::http::Clients;
use crate::options::PushOptions;
use crate::push::{MAX_PAYLOAD, Push};
use crate::subscription::WebSubscription;
use crate::web::{VapidKeys, WebPush};

/// Hands pushes to the services of devices. One serves the whole node; connections and tokens are shared.
pub struct Pusher {
    web: WebPush,
    fcm: Option<Fcm>,
    apns: Option<Apns>,
    doubts: Doubts,
}

impl Pusher {
    /// Checks the options and reads their files. Connects to nobody yet.
    pub fn new(options: &PushOptions, vapid: VapidKeys) -> Result<Self, SetupError> {
        let problems = options.check();
        if !problems.is_empty() {
            return Err(SetupError::Options(problems));
        }
        let authorities = options.ca.as_deref().map_or(Ok(Vec::new()), authorities)?;
        let timeout = options.timeout;
        let clients = Clients::new(authorities, timeout)?;
        let web = WebPush::new(
            clients.for_endpoints(options.private_endpoints)?,
            EndpointRules::new(options.private_endpoints, &options.allowed_hosts),
            vapid,
            &options.subject,
            timeout,
        );
        let fcm = match options.fcm.account()? {
            Some(account) => {
                Some(Fcm::new(clients.for_service()?, &account, &options.fcm.base_url, timeout)?)
            }
            None => None,
        };
        let apns = match options.apns.pem()? {
            Some(pem) => Some(Apns::new(clients.for_apns()?, pem.expose(), &options.apns, timeout)?),
            None => None,
        };
        Ok(Self { web, fcm, apns, doubts: Doubts::default() })
    }

    /// What browsers need as `applicationServerKey`, in base64url.
    pub fn vapid_public_key(&self) -> String {
        self.web.public_key().to_string()
    }

    /// Whether the node would push to a subscription: ask before it is stored. Names are looked up only by a
    /// push.
    pub fn check(&self, subscription: &WebSubscription) -> Result<(), EndpointError> {
        self.web.check(subscription)
    }

    /// Sends one push and waits for the answer of the service. Takes at most one time-out for a browser, two
    /// for APNs and four for FCM, where a refused token is replaced and the push is sent again.
    pub async fn push(&self, to: &Destination, push: &Push) -> Result<(), PushError> {
        if push.payload.get().len() > MAX_PAYLOAD {
            return Err(PushError::TooLarge);
        }
        let mut span = Span::child("push send", Kind::Client);
        if let Some(span) = span.recorded() {
            span.set("push.provider", &to.provider().to_string());
        }
        span.run(self.hand_over(to, push)).await
    }

    async fn hand_over(&self, to: &Destination, push: &Push) -> Result<(), PushError> {
        let sent = match (to, &self.fcm, &self.apns) {
            (Destination::Web(subscription), _, _) => self.web.push(subscription, push).await,
            (Destination::Fcm { token }, Some(fcm), _) => fcm.push(token, push).await,
            (Destination::Apns { token }, _, Some(apns)) => apns.push(token, push).await,
            (Destination::Fcm { .. }, None, _) => {
                return Err(PushError::provider("push.fcm is not configured"));
            }
            (Destination::Apns { .. }, _, None) => {
                return Err(PushError::provider("push.apns is not configured"));
            }
        };
        match sent {
            Ok(()) => {
                self.doubts.accepted(&to.provider());
                Ok(())
            }
            Err(Failure::Sure(error)) => Err(error),
            Err(Failure::Doubtful { why }) if self.doubts.refused(to) => Err(PushError::Provider { why }),
            Err(Failure::Doubtful { why }) => Err(PushError::Refused { why }),
        }
    }

    /// Whose service reaches a destination: what a circuit breaker and metrics go by.
    pub fn provider(to: &Destination) -> Provider {
        to.provider()
    }
}

/// The certificates of a PEM file.
fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let failed = |why: String| SetupError::File { option: "push.ca", path: path.to_owned(), why };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| failed(error.to_string()))?;
    if found.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    Ok(found)
}
