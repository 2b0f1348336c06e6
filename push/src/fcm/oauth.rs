//! Access tokens for a service account of Google:
//! <https://developers.google.com/identity/protocols/oauth2/service-account>.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use mundotango_ops::Secret;
use parking_lot::Mutex;
use reqwest::{Client, StatusCode, header};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::{PushError, SetupError};
use crate::http::{Answer, send};
use crate::options::is_service;

/// What the tokens are for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// The beginning of a request for a token (RFC 7523, 4).
const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
/// How long the node's own statement of who it is holds, in seconds.
const ASSERTION_LIFE: i64 = 3_600;
/// How long before its end a token is replaced.
const EARLY: Duration = Duration::from_mins(5);
/// The longest time that a token is used, whatever the answer says.
const MAX_LIFE: Duration = Duration::from_hours(1);
/// A token that is refused is replaced at most this often.
const BETWEEN_REJECTIONS: Duration = Duration::from_mins(1);
const OPTION: &str = "push.fcm.service_account";

/// The account by which the node sends.
pub(super) struct ServiceAccount {
    email: String,
    project: String,
    token_url: String,
    key_id: Option<String>,
    key: EncodingKey,
}

impl ServiceAccount {
    /// Reads the JSON that Google gives.
    pub(super) fn parse(json: &Secret) -> Result<Self, SetupError> {
        #[derive(Deserialize)]
        struct File {
            client_email: String,
            project_id: String,
            private_key: String,
            #[serde(default)]
            private_key_id: Option<String>,
            token_uri: String,
        }
        let failed = |why: &str| SetupError::Value { option: OPTION, why: why.to_owned() };
        // The parser's own words could show a part of the key.
        let file: File = serde_json::from_str(json.expose())
            .map_err(|_| failed("must be JSON with client_email, project_id, private_key and token_uri"))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':');
        if file.project_id.is_empty() || !file.project_id.bytes().all(plain) {
            return Err(failed("project_id is no identifier of a project"));
        }
        if !is_service(&file.token_uri) {
            return Err(failed("token_uri must be an https:// address; http:// on this machine alone"));
        }
        let account = Self {
            key: EncodingKey::from_rsa_pem(file.private_key.as_bytes())
                .map_err(|_| failed("private_key is no RSA key in PEM"))?,
            email: file.client_email,
            project: file.project_id,
            token_url: file.token_uri,
            key_id: file.private_key_id,
        };
        account.assertion(Timestamp::now()).map_err(|_| failed("private_key cannot sign"))?;
        Ok(account)
    }

    pub(super) fn project(&self) -> &str {
        &self.project
    }

    fn assertion(&self, now: Timestamp) -> Result<String, jsonwebtoken::errors::Error> {
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            scope: &'a str,
            aud: &'a str,
            iat: i64,
            exp: i64,
        }
        let mut header = Header::new(Algorithm::RS256);
        header.kid.clone_from(&self.key_id);
        let iat = now.as_second();
        let exp = iat.saturating_add(ASSERTION_LIFE);
        encode(&header, &Claims { iss: &self.email, scope: SCOPE, aud: &self.token_url, iat, exp }, &self.key)
    }
}

type Fetch = Shared<BoxFuture<'static, Result<Token, PushError>>>;

#[derive(Clone)]
struct Token {
    text: Secret,
    ends: Instant,
}

/// One token for all pushes, fetched by one request at a time.
pub(super) struct AccessTokens(Arc<Source>);

struct Source {
    client: Client,
    account: ServiceAccount,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// The request that is on its way. It takes itself out at its end.
    fetch: Option<Fetch>,
    rejected: Option<Instant>,
}

impl AccessTokens {
    pub(super) fn new(client: Client, account: ServiceAccount, timeout: Duration) -> Self {
        Self(Arc::new(Source { client, account, timeout, state: Mutex::default() }))
    }

    /// The token in use, or another one before that ends. All who wait share one request.
    pub(super) async fn get(&self) -> Result<Secret, PushError> {
        let (fetch, current) = {
            let mut state = self.0.state.lock();
            let now = Instant::now();
            let current = state.token.clone().filter(|token| now < token.ends);
            if let Some(token) = &current
                && now + EARLY < token.ends
            {
                return Ok(token.text.clone());
            }
            (state.fetch.get_or_insert_with(|| Source::begin(Arc::clone(&self.0))).clone(), current)
        };
        // A token that has not ended serves on while Google cannot be reached.
        match (fetch.await, current) {
            (Ok(token), _) | (Err(_), Some(token)) => Ok(token.text),
            (Err(error), None) => Err(error),
        }
    }

    /// Drops a token that was refused. Returns whether another one may be tried: not twice in a short time,
    /// or an account without rights would ask for a token with each message.
    pub(super) fn reject(&self, token: &Secret) -> bool {
        let mut state = self.0.state.lock();
        if state.token.as_ref().is_none_or(|current| current.text != *token) {
            return true;
        }
        let now = Instant::now();
        if state.rejected.is_some_and(|rejected| now.duration_since(rejected) < BETWEEN_REJECTIONS) {
            return false;
        }
        state.token = None;
        state.rejected = Some(now);
        true
    }
}

impl Source {
    /// Begins a request as a task of its own, so that it ends even if all who wait for it give up.
    fn begin(source: Arc<Self>) -> Fetch {
        let task = tokio::spawn(async move {
            let fetched = source.fetch().await;
            let mut state = source.state.lock();
            state.fetch = None;
            if let Ok(token) = &fetched {
                state.token = Some(token.clone());
            }
            fetched
        });
        let end = async move {
            task.await.unwrap_or_else(|_| Err(PushError::temporary("the request for a token was broken off")))
        };
        end.boxed().shared()
    }

    async fn fetch(&self) -> Result<Token, PushError> {
        let failed = |why: String| PushError::provider(format!("no token from Google: {why}"));
        let assertion =
            self.account.assertion(Timestamp::now()).map_err(|error| failed(error.to_string()))?;
        let asked = Instant::now();
        let request = self
            .client
            .post(&self.account.token_url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("{GRANT}{assertion}"));
        let answer = send(request, self.timeout).await?;
        if answer.is_temporary() {
            return Err(answer.temporary());
        }
        if answer.status != StatusCode::OK {
            return Err(failed(answer.describe()));
        }
        let (text, life) = read(&answer).ok_or_else(|| {
            // Its text could show the token.
            PushError::temporary("the answer of Google's token service cannot be read")
        })?;
        Ok(Token { text, ends: asked + life.min(MAX_LIFE) })
    }
}

/// The token in an answer (RFC 6749, 5.1), and how long it is good.
fn read(answer: &Answer) -> Option<(Secret, Duration)> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: Secret,
        expires_in: u64,
    }
    let granted: Granted = serde_json::from_slice(&answer.body).ok()?;
    Some((granted.access_token, Duration::from_secs(granted.expires_in)))
}
