//! Tokens of an application's own backend, signed in all the ways there are, and an identity provider that changes its
//! keys, hangs, is slow or answers nonsense.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use mundotango_gateway::TokenOptions;
use mundotango_gateway::tokens::{Claims, Flaw, TokenError, Tokens};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use std::process::{Command, Stdio};

/// A pair of keys that the system's OpenSSL made: the private and the public one, in PEM.
pub(crate) fn pair(arguments: &[&str]) -> (String, String) {
    let openssl = |arguments: &[&str], input: &str| {
        let mut child = Command::new("openssl")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is needed: run `cargo xtask parts`");
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let private = openssl(&[&["genpkey"], arguments].concat(), "");
    let public = openssl(&["pkey", "-pubout"], &private);
    (private, public)
}

pub(crate) fn rsa() -> (String, String) {
    pair(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
}

fn tokens(options: Value) -> Tokens {
    let options: TokenOptions = serde_json::from_value(options).unwrap();
    Tokens::new(b"a secret of the node's own, not used here", Duration::from_mins(1))
        .with_keys(&options)
        .unwrap()
}

fn sign(algorithm: Algorithm, key: &EncodingKey, key_id: Option<&str>) -> String {
    let header = Header { kid: key_id.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, &json!({"sub": "42", "info": {"name": "Ana"}}), key).unwrap()
}

#[tokio::test]
async fn tokens_are_verified_with_every_kind_of_key() {
    let (rsa_private, rsa_public) = rsa();
    let (ec_private, ec_public) = pair(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let (ed_private, ed_public) = pair(&["-algorithm", "ED25519"]);
    let tokens = tokens(json!({
        "hmac_secret_key": "a secret that both sides share, 32+",
        "rsa_public_key": rsa_public,
        "ecdsa_public_key": ec_public,
        "ed25519_public_key": ed_public,
    }));
    let rsa_key = EncodingKey::from_rsa_pem(rsa_private.as_bytes()).unwrap();
    for token in [
        sign(Algorithm::HS256, &EncodingKey::from_secret(b"a secret that both sides share, 32+"), None),
        sign(Algorithm::HS512, &EncodingKey::from_secret(b"a secret that both sides share, 32+"), None),
        sign(Algorithm::RS256, &rsa_key, None),
        sign(Algorithm::PS512, &rsa_key, None),
        sign(Algorithm::ES256, &EncodingKey::from_ec_pem(ec_private.as_bytes()).unwrap(), None),
        sign(Algorithm::EdDSA, &EncodingKey::from_ed_pem(ed_private.as_bytes()).unwrap(), None),
    ] {
        assert_eq!(tokens.verify(&token).await.unwrap().sub, "42");
    }
    // The public key is no secret: signing with it as if it were one must give nothing.
    let confused = sign(Algorithm::HS256, &EncodingKey::from_secret(rsa_public.as_bytes()), None);
    assert_eq!(tokens.verify(&confused).await.unwrap_err(), Flaw::Signature.into());
    let (other, _) = rsa();
    let foreign = sign(Algorithm::RS256, &EncodingKey::from_rsa_pem(other.as_bytes()).unwrap(), None);
    assert_eq!(tokens.verify(&foreign).await.unwrap_err(), Flaw::Signature.into());
}

/// What an identity provider does when it is asked for its keys.
#[derive(Clone, Default)]
enum Answer {
    #[default]
    Keys,
    Nothing,
    After(Duration),
    Text(String),
    Redirect(String),
}

/// An identity provider: its keys, what it answers, and how often it was asked.
#[derive(Clone, Default)]
struct Provider {
    keys: Arc<Mutex<Vec<Jwk>>>,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    /// Makes a key and gives it out under an id.
    fn add(&self, key_id: &str) -> EncodingKey {
        let (private, _) = rsa();
        let key = EncodingKey::from_rsa_pem(private.as_bytes()).unwrap();
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS256).unwrap();
        jwk.common.key_id = Some(key_id.to_owned());
        self.keys.lock().unwrap().push(jwk);
        key
    }

    fn answer_with(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn answered(self) -> Response {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let keys = JwkSet { keys: self.keys.lock().unwrap().clone() };
        let answer = self.answer.lock().unwrap().clone();
        match answer {
            Answer::Keys => Json(keys).into_response(),
            Answer::Nothing => std::future::pending().await,
            Answer::After(wait) => {
                tokio::time::sleep(wait).await;
                Json(keys).into_response()
            }
            Answer::Text(text) => text.into_response(),
            Answer::Redirect(url) => Redirect::temporary(&url).into_response(),
        }
    }

    async fn serve(&self) -> SocketAddr {
        let provider = self.clone();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let also = provider.clone();
        let router = Router::new().route("/keys", get(move || provider.clone().answered())).route(
            "/moved",
            get(move || async move { Json(JwkSet { keys: also.keys.lock().unwrap().clone() }) }),
        );
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Tokens that are verified with this provider's keys, read again after a time.
    async fn tokens(&self, refresh_interval: &str) -> Arc<Tokens> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let address = self.serve().await;
        Arc::new(tokens(json!({
            "jwks_public_endpoint": format!("http://{address}/keys"),
            "jwks_refresh_interval": refresh_interval,
        })))
    }
}

#[tokio::test]
async fn a_provider_may_change_its_keys() {
    let provider = Provider::default();
    let one = provider.add("one");
    let tokens = provider.tokens("5m").await;
    let token = sign(Algorithm::RS256, &one, Some("one"));
    for _ in 0..3 {
        assert_eq!(tokens.verify(&token).await.unwrap().sub, "42");
    }
    assert_eq!(provider.asked(), 1, "keys that are known are not asked for again");

    let two = provider.add("two");
    let rotated = sign(Algorithm::RS256, &two, Some("two"));
    // Asked a moment ago, the provider is not asked again at once, lest made-up key ids make a request each. The key may
    // be a new one, so its client is told to come again instead of giving up.
    for _ in 0..20 {
        assert_eq!(tokens.verify(&rotated).await.unwrap_err(), TokenError::Unavailable);
    }
    assert_eq!(provider.asked(), 1);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(tokens.verify(&rotated).await.unwrap().sub, "42");
    assert_eq!(tokens.verify(&token).await.unwrap().sub, "42");
    assert_eq!(provider.asked(), 2);
    assert_eq!(
        tokens.verify(&sign(Algorithm::RS256, &one, None)).await.unwrap().sub,
        "42",
        "all keys are tried"
    );
    let swapped = sign(Algorithm::RS256, &one, Some("two"));
    assert_eq!(tokens.verify(&swapped).await.unwrap_err(), Flaw::Signature.into());

    tokio::time::sleep(Duration::from_millis(2100)).await;
    let unknown = sign(Algorithm::RS256, &one, Some("three"));
    let flaw = Flaw::NoKey("alg RS256, kid \"three\"".to_owned());
    assert_eq!(tokens.verify(&unknown).await.unwrap_err(), flaw.into());
    assert_eq!(provider.asked(), 3);
}

#[tokio::test]
async fn without_the_provider_it_cannot_be_told() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let tokens = tokens(json!({"jwks_public_endpoint": format!("http://{address}/keys")}));
    let token = sign(Algorithm::RS256, &Provider::default().add("one"), Some("one"));
    assert_eq!(tokens.verify(&token).await.unwrap_err(), TokenError::Unavailable);
}

/// Has many verify tokens at the same time; their outcomes, and how long the slowest took.
async fn crowd(tokens: &Arc<Tokens>, token: &str) -> (Vec<Result<Claims, TokenError>>, Duration) {
    let started = Instant::now();
    let verifying: Vec<_> = (0..500)
        .map(|_| {
            let (tokens, token) = (Arc::clone(tokens), token.to_owned());
            tokio::spawn(async move { tokens.verify(&token).await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for one in verifying {
        outcomes.push(one.await.unwrap());
    }
    (outcomes, started.elapsed())
}

#[tokio::test]
async fn a_provider_that_hangs_holds_nobody_up_for_long() {
    let provider = Provider::default();
    let one = provider.add("one");
    let tokens = provider.tokens("100ms").await;
    let token = sign(Algorithm::RS256, &one, Some("one"));
    assert_eq!(tokens.verify(&token).await.unwrap().sub, "42");

    // The keys are due to be read again. They serve at once, while one request hangs behind the scenes.
    provider.answer_with(Answer::Nothing);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let (outcomes, took) = crowd(&tokens, &token).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert!(took < Duration::from_secs(1), "{took:?}");
    while provider.asked() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // A key that is not known is waited for, by all together instead of one after the other.
    let two = provider.add("two");
    let (outcomes, took) = crowd(&tokens, &sign(Algorithm::RS256, &two, Some("two"))).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(TokenError::Unavailable))));
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(provider.asked() <= 3);
    assert!(tokens.verify(&token).await.is_ok());
}

#[tokio::test]
async fn a_provider_that_hangs_at_the_start_refuses_nobody_for_good() {
    let provider = Provider::default();
    let one = provider.add("one");
    provider.answer_with(Answer::Nothing);
    let tokens = provider.tokens("5m").await;
    let token = sign(Algorithm::RS256, &one, Some("one"));
    let (outcomes, took) = crowd(&tokens, &token).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(TokenError::Unavailable))));
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(provider.asked(), 1);
    // The request that hangs ends by its time-out, and after a pause the provider is asked again.
    provider.answer_with(Answer::Keys);
    let started = Instant::now();
    while tokens.verify(&token).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(8), "not asked again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_slow_provider_is_waited_for_once() {
    let provider = Provider::default();
    let one = provider.add("one");
    provider.answer_with(Answer::After(Duration::from_secs(1)));
    let tokens = provider.tokens("5m").await;
    let (outcomes, took) = crowd(&tokens, &sign(Algorithm::RS256, &one, Some("one"))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn nonsense_does_not_replace_keys() {
    let provider = Provider::default();
    let one = provider.add("one");
    let tokens = provider.tokens("100ms").await;
    let token = sign(Algorithm::RS256, &one, Some("one"));
    tokens.verify(&token).await.unwrap();
    let elsewhere = Provider::default();
    elsewhere.add("evil");
    let elsewhere = elsewhere.serve().await;
    let answers = [
        Answer::Text("<html>maintenance</html>".to_owned()),
        Answer::Text(r#"{"keys": []}"#.to_owned()),
        Answer::Text(r#"{"error": "rate limited"}"#.to_owned()),
        Answer::Text(format!(r#"{{"keys": ["{}"]}}"#, "x".repeat(2 << 20))),
        Answer::Redirect(format!("http://{elsewhere}/keys")),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        provider.answer_with(answer);
        tokio::time::sleep(Duration::from_millis(2100)).await;
        tokens.verify(&token).await.unwrap();
        while provider.asked() < number + 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokens.verify(&token).await.unwrap();
    }
    // A redirect within the provider's own place is followed.
    provider.answer_with(Answer::Redirect("/moved".to_owned()));
    let two = provider.add("two");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    tokens.verify(&sign(Algorithm::RS256, &two, Some("two"))).await.unwrap();
}

#[test]
fn keys_over_open_http_and_short_secrets_are_refused() {
    for (name, value) in [
        ("jwks_public_endpoint", "http://id.example/keys"),
        ("hmac_secret_key", "short"),
        ("audience", ""),
        ("rsa_public_key", " "),
        ("rsa_public_key", "no key"),
    ] {
        let options: TokenOptions = serde_json::from_value(json!({name: value})).unwrap();
        let refused = Tokens::new(&[0; 32], Duration::from_mins(1)).with_keys(&options).err().unwrap();
        assert!(refused.to_string().contains(name), "{refused}");
    }
}
