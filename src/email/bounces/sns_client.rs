//! What is fetched from SNS: the certificates by which it signs, and the confirmation of a subscription.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use parking_lot::Mutex;
use reqwest::{Client, redirect};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

use super::{SigningCertificates, WebhookError};

/// How long one answer of SNS may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a notice waits for its certificate.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest certificate, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Most certificates that are kept. SNS has one a region, and a new one each year.
const MAX_KEPT: usize = 8;

/// Fetches from SNS. An address of a certificate names its content, so what was fetched is kept.
pub struct SnsClient {
    client: Client,
    kept: Mutex<VecDeque<(Url, Arc<[u8]>)>>,
    /// One request at a time: notices with made-up addresses must not make many.
    turn: Semaphore,
}

impl SnsClient {
    /// Prepares fetching; nothing is connected yet. Only https is used, and redirects are not followed.
    pub fn new() -> anyhow::Result<Self> {
        let client = Client::builder()
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()
            .context("the HTTP client for Amazon SNS cannot be set up")?;
        Ok(Self::of(client))
    }

    fn of(client: Client) -> Self {
        Self { client, kept: Mutex::default(), turn: Semaphore::new(1) }
    }

    /// Confirms a subscription, by the address of [`SnsNews::Confirm`](super::SnsNews::Confirm).
    pub async fn confirm(&self, url: &Url) -> Result<(), WebhookError> {
        self.fetch(url).await.map(drop)
    }

    fn known(&self, url: &Url) -> Option<Arc<[u8]>> {
        let kept = self.kept.lock();
        kept.iter().find(|(known, _)| known == url).map(|(_, certificate)| Arc::clone(certificate))
    }

    async fn fetch(&self, url: &Url) -> Result<Vec<u8>, WebhookError> {
        let failed = |error: reqwest::Error| WebhookError::Unavailable(format!("SNS: {error}"));
        let response = self.client.get(url.clone()).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(WebhookError::Unavailable(format!("SNS answers {}", response.status())));
        }
        let mut response = response;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > MAX_BYTES {
                return Err(WebhookError::Unavailable("SNS answers too much".to_owned()));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

#[async_trait]
impl SigningCertificates for SnsClient {
    async fn certificate(&self, url: &Url) -> Result<Arc<[u8]>, WebhookError> {
        if let Some(certificate) = self.known(url) {
            return Ok(certificate);
        }
        let busy = || WebhookError::Unavailable("other certificates are being fetched".to_owned());
        let turn = timeout(PATIENCE, self.turn.acquire()).await;
        let _turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        // Who had the turn before may have fetched it.
        if let Some(certificate) = self.known(url) {
            return Ok(certificate);
        }
        let certificate: Arc<[u8]> = self.fetch(url).await?.into();
        let mut kept = self.kept.lock();
        if kept.len() == MAX_KEPT {
            kept.pop_front();
        }
        kept.push_back((url.clone(), Arc::clone(&certificate)));
        Ok(certificate)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::extract::Path;
    use axum::http::StatusCode;
    use axum::response::Redirect;
    use axum::routing::get;
    use futures_util::future::join_all;
    use tokio::net::TcpListener;

    use super::*;

    /// A server with certificates, and how often it was asked.
    async fn serve() -> (Url, Arc<AtomicUsize>) {
        // The client wants to know whose cryptography it is to use, though nothing here speaks TLS.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let certificate = move |Path(name): Path<String>| async move {
            counted.fetch_add(1, Ordering::SeqCst);
            name
        };
        let routes = Router::new()
            .route("/kept/{name}", get(certificate))
            .route("/gone", get(async || StatusCode::NOT_FOUND))
            .route("/moved", get(async || Redirect::temporary("/kept/x")))
            .route("/huge", get(async || "x".repeat(MAX_BYTES + 1)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (base, asked)
    }

    fn plain_client() -> SnsClient {
        SnsClient::of(Client::builder().redirect(redirect::Policy::none()).timeout(TIMEOUT).build().unwrap())
    }

    #[tokio::test]
    async fn a_certificate_is_fetched_once() {
        let (base, asked) = serve().await;
        let client = plain_client();
        let url = base.join("kept/a").unwrap();
        let all = join_all((0..20).map(|_| client.certificate(&url))).await;
        assert!(all.iter().all(|one| one.as_deref() == Ok(&b"a"[..])));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        for number in 0..MAX_KEPT {
            client.certificate(&base.join(&format!("kept/{number}")).unwrap()).await.unwrap();
        }
        assert_eq!(client.kept.lock().len(), MAX_KEPT);
        assert!(client.known(&url).is_none());
    }

    #[tokio::test]
    async fn what_is_not_got_is_not_kept() {
        let (base, asked) = serve().await;
        let client = plain_client();
        for path in ["gone", "moved", "huge"] {
            let outcome = client.certificate(&base.join(path).unwrap()).await;
            assert!(matches!(outcome, Err(WebhookError::Unavailable(_))), "{path}: {outcome:?}");
        }
        assert_eq!((asked.load(Ordering::SeqCst), client.kept.lock().len()), (0, 0));
        client.confirm(&base.join("kept/confirmed").unwrap()).await.unwrap();
        assert!(client.confirm(&base.join("gone").unwrap()).await.is_err());
        // Nothing is fetched without encryption.
        let outcome = SnsClient::new().unwrap().certificate(&base.join("kept/a").unwrap()).await;
        assert!(matches!(outcome, Err(WebhookError::Unavailable(_))));
    }
}
