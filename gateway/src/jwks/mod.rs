//! The keys of an identity provider, from a URL (JSON Web Key Set, RFC 7517).
//!
//! The keys are read at the first token, again and again after a while, and when a token names a key that is not known,
//! so that a provider may change its keys. Keys that are known serve at once, however slow the provider is: one request
//! at a time runs in a task of its own, and only a token whose key is not known waits for that request.

mod keys;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Client, Url, redirect};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::jwt::{Flaw, SignedToken, TokenError};
use keys::Keys;

/// Shortest pause between the end of a request and the next one: a token with a made-up key id must not make a request
/// each.
const PAUSE: Duration = Duration::from_secs(2);
/// Time for one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a token waits for a request.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long keys count while the provider cannot be read. After that, a key that was withdrawn is refused.
const TRUSTED_FOR: Duration = Duration::from_hours(24);
/// Largest answer, in bytes.
const MAX_BYTES: usize = 1024 * 1024;
/// Most redirects of one request.
const MAX_REDIRECTS: usize = 3;

/// A provider's keys.
pub(crate) struct KeySet(Arc<Provider>);

struct Provider {
    url: String,
    client: Client,
    refresh_interval: Duration,
    state: Mutex<State>,
    /// How many requests have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    known: Option<(Arc<Keys>, Instant)>,
    /// Whether a request is under way.
    asking: bool,
    /// When the last request ended, and whether it brought keys.
    asked: Option<(Instant, bool)>,
}

/// Why keys are not read from a URL; `None` for a good one.
pub(crate) fn endpoint_problem(url: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(url) else { return Some("is not a URL") };
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => None,
        "http" if is_local => None,
        // Who is between could put keys of his own into the answer.
        _ => Some("needs https (http is only for this machine)"),
    }
}

impl KeySet {
    pub(crate) fn new(url: &str, refresh_interval: Duration) -> anyhow::Result<Self> {
        // Another place could be one whose answers somebody else chooses.
        let redirects = redirect::Policy::custom(|attempt| {
            let same_place = |first: &Url| first.origin() == attempt.url().origin();
            if attempt.previous().first().is_none_or(same_place) && attempt.previous().len() <= MAX_REDIRECTS
            {
                attempt.follow()
            } else {
                attempt.error("redirected to another place, or too often")
            }
        });
        let client = Client::builder().timeout(TIMEOUT).redirect(redirects).build()?;
        Ok(Self(Arc::new(Provider {
            url: url.to_owned(),
            client,
            refresh_interval,
            state: Mutex::default(),
            ended: watch::Sender::new(0),
        })))
    }

    /// Whether the token is signed with one of the provider's keys.
    pub(crate) async fn verify(&self, token: &SignedToken<'_>) -> Result<(), TokenError> {
        let provider = &self.0;
        if let Some(keys) = provider.known() {
            if keys.verify(token) {
                return Ok(());
            }
            if keys.have(token) {
                return Err(Flaw::Signature.into());
            }
        }
        // The key may be a new one.
        let answered = provider.ask_and_wait().await;
        match provider.known() {
            Some(keys) if keys.verify(token) => Ok(()),
            Some(keys) if answered && keys.have(token) => Err(Flaw::Signature.into()),
            Some(_) if answered => Err(Flaw::NoKey(token.wanted_key()).into()),
            // Nobody asked just now, so the key may be newer than the ones that are known: the client comes again.
            _ => Err(TokenError::Unavailable),
        }
    }
}

impl Provider {
    /// The keys, if they are not too old. Keys that are due to be read again serve meanwhile.
    fn known(self: &Arc<Self>) -> Option<Arc<Keys>> {
        let (keys, read_at) = self.state.lock().known.clone()?;
        if read_at.elapsed() >= self.refresh_interval {
            self.ask();
        }
        (read_at.elapsed() < TRUSTED_FOR).then_some(keys)
    }

    /// Starts a request, unless one has ended a moment ago; whether one is under way.
    fn ask(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        if state.asking {
            return true;
        }
        if state.asked.is_some_and(|(at, _)| at.elapsed() < PAUSE) {
            return false;
        }
        state.asking = true;
        drop(state);
        tokio::spawn(Request(Arc::clone(self)).run());
        true
    }

    /// Waits for the end of a request, if one is under way or can be made now; whether that request brought keys.
    async fn ask_and_wait(self: &Arc<Self>) -> bool {
        let mut ended = self.ended.subscribe();
        self.ask()
            && tokio::time::timeout(PATIENCE, ended.changed()).await.is_ok()
            && self.state.lock().asked.is_some_and(|(_, brought_keys)| brought_keys)
    }

    async fn read(&self) -> anyhow::Result<Keys> {
        let mut response = self.client.get(&self.url).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            anyhow::ensure!(body.len() <= MAX_BYTES, "the answer is longer than {MAX_BYTES} bytes");
        }
        let keys = Keys::read(&body)?;
        anyhow::ensure!(keys.len() > 0, "no key of the set verifies signatures");
        Ok(keys)
    }
}

/// A request that is under way. Its end is told to all who wait, also if it panics.
struct Request(Arc<Provider>);

impl Request {
    async fn run(self) {
        match self.0.read().await {
            Ok(keys) => self.0.state.lock().known = Some((Arc::new(keys), Instant::now())),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(url = self.0.url, error, "keys of tokens not read");
            }
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        let now = Instant::now();
        let brought_keys =
            state.known.as_ref().is_some_and(|(_, at)| state.asked.is_none_or(|(last, _)| *at > last));
        state.asking = false;
        state.asked = Some((now, brought_keys));
        drop(state);
        self.0.ended.send_modify(|ended| *ended += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::endpoint_problem;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for good in
            ["https://id.example/keys", "http://localhost:1/keys", "http://127.0.0.1/k", "http://[::1]:8/k"]
        {
            assert_eq!(endpoint_problem(good), None, "{good}");
        }
        for bad in [
            "http://id.example/keys",
            "http://127.0.0.1.example/",
            "http://10.0.0.1/",
            "keys",
            "file:///keys",
            "",
        ] {
            assert!(endpoint_problem(bad).is_some(), "{bad}");
        }
    }
}
