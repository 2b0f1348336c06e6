//! Tokens of an application's own backend, signed in all the ways there are, and an identity provider that changes its
//! keys.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use mundotango_gateway::tokens::{TokenError, Tokens};
use mundotango_gateway::{Door, HttpOptions, TokenOptions};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use std::process::{Command, Stdio};

/// A pair of keys that the system's OpenSSL made: the private and the public one, in PEM.
fn pair(arguments: &[&str]) -> (String, String) {
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

fn rsa() -> (String, String) {
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
        "hmac_secret_key": "shared",
        "rsa_public_key": rsa_public,
        "ecdsa_public_key": ec_public,
        "ed25519_public_key": ed_public,
    }));
    let rsa_key = EncodingKey::from_rsa_pem(rsa_private.as_bytes()).unwrap();
    for token in [
        sign(Algorithm::HS256, &EncodingKey::from_secret(b"shared"), None),
        sign(Algorithm::HS512, &EncodingKey::from_secret(b"shared"), None),
        sign(Algorithm::RS256, &rsa_key, None),
        sign(Algorithm::PS512, &rsa_key, None),
        sign(Algorithm::ES256, &EncodingKey::from_ec_pem(ec_private.as_bytes()).unwrap(), None),
        sign(Algorithm::EdDSA, &EncodingKey::from_ed_pem(ed_private.as_bytes()).unwrap(), None),
    ] {
        assert_eq!(tokens.verify(&token).await.unwrap().sub, "42");
    }
    // The public key is no secret: signing with it as if it were one must give nothing.
    let confused = sign(Algorithm::HS256, &EncodingKey::from_secret(rsa_public.as_bytes()), None);
    assert_eq!(tokens.verify(&confused).await.unwrap_err(), TokenError::Invalid);
    let (other, _) = rsa();
    let foreign = sign(Algorithm::RS256, &EncodingKey::from_rsa_pem(other.as_bytes()).unwrap(), None);
    assert_eq!(tokens.verify(&foreign).await.unwrap_err(), TokenError::Invalid);
}

/// An identity provider: its keys, and how often it was asked for them.
#[derive(Clone, Default)]
struct Provider {
    keys: Arc<Mutex<Vec<Jwk>>>,
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

    async fn serve(&self) -> SocketAddr {
        let provider = self.clone();
        let keys = move || {
            provider.asked.fetch_add(1, Ordering::Relaxed);
            let keys = provider.keys.lock().unwrap().clone();
            async move { Json(JwkSet { keys }) }
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/keys", get(keys));
        tokio::spawn(mundotango_gateway::serve(
            listener,
            router,
            Door::new(&HttpOptions::default()),
            std::future::pending(),
            Duration::ZERO,
        ));
        address
    }
}

#[tokio::test]
async fn a_provider_may_change_its_keys() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let provider = Provider::default();
    let one = provider.add("one");
    let address = provider.serve().await;
    let tokens = tokens(json!({"jwks_public_endpoint": format!("http://{address}/keys")}));
    let token = sign(Algorithm::RS256, &one, Some("one"));
    for _ in 0..3 {
        assert_eq!(tokens.verify(&token).await.unwrap().sub, "42");
    }
    assert_eq!(provider.asked.load(Ordering::Relaxed), 1, "keys that are known are not asked for again");

    let two = provider.add("two");
    let rotated = sign(Algorithm::RS256, &two, Some("two"));
    // Asked a moment ago, the provider is not asked again at once, lest made-up key ids make a request each.
    for _ in 0..20 {
        assert_eq!(tokens.verify(&rotated).await.unwrap_err(), TokenError::Invalid);
    }
    assert_eq!(provider.asked.load(Ordering::Relaxed), 1);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(tokens.verify(&rotated).await.unwrap().sub, "42");
    assert_eq!(tokens.verify(&token).await.unwrap().sub, "42");
    assert_eq!(provider.asked.load(Ordering::Relaxed), 2);
    assert_eq!(tokens.verify(&sign(Algorithm::RS256, &one, None)).await.unwrap_err(), TokenError::Invalid);
    assert_eq!(
        tokens.verify(&sign(Algorithm::RS256, &one, Some("two"))).await.unwrap_err(),
        TokenError::Invalid
    );
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
