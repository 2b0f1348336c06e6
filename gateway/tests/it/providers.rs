//! Tokens and key sets as identity providers issue them: each connects, or is refused with the reason.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use mundotango_gateway::TokenOptions;
use mundotango_gateway::tokens::{Claims, TokenError, Tokens};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::keys::{pair, rsa};

/// A key of a provider, and its public half as an entry of a set.
struct Key {
    private: EncodingKey,
    algorithm: Algorithm,
    public: Value,
}

impl Key {
    fn rsa() -> Self {
        Self::of(Algorithm::RS256, &EncodingKey::from_rsa_pem(rsa().0.as_bytes()).unwrap())
    }

    fn ec() -> Self {
        let (private, _) = pair(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        Self::of(Algorithm::ES256, &EncodingKey::from_ec_pem(private.as_bytes()).unwrap())
    }

    fn of(algorithm: Algorithm, private: &EncodingKey) -> Self {
        let jwk = Jwk::from_encoding_key(private, algorithm).unwrap();
        Self { private: private.clone(), algorithm, public: serde_json::to_value(jwk).unwrap() }
    }

    /// An entry of a set: the key's own members, without `alg`, and others.
    fn entry(&self, members: Value) -> Value {
        let mut entry = self.public.clone();
        entry.as_object_mut().unwrap().remove("alg");
        let Value::Object(members) = members else { panic!() };
        entry.as_object_mut().unwrap().extend(members);
        entry
    }

    /// Signs a header and claims as they are.
    fn sign(&self, header: Value, claims: &Value) -> String {
        let mut header = header;
        if header["alg"].is_null() {
            header["alg"] = json!(format!("{:?}", self.algorithm));
        }
        let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Verifies with a set of keys, which a server of its own gives out.
async fn verifier(entries: &[Value], mut options: Value) -> Tokens {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let set = json!({ "keys": entries });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    options["jwks_public_endpoint"] = json!(format!("http://{}/keys", listener.local_addr().unwrap()));
    let router = Router::new().route("/keys", get(move || async move { Json(set) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let options: TokenOptions = serde_json::from_value(options).unwrap();
    Tokens::new(b"a secret of the node's own, not used here", Duration::from_mins(1))
        .with_keys(&options)
        .unwrap()
}

fn reason(outcome: Result<Claims, TokenError>) -> String {
    match outcome {
        Err(TokenError::Invalid(flaw)) => flaw.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn auth0() {
    let key = Key::rsa();
    let x5c = json!(["MIIDDTCCAfWgAwIBAgIJ"]);
    let kid = "NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg";
    let set = [key.entry(json!({"use": "sig", "alg": "RS256", "kid": kid, "x5t": kid, "x5c": x5c}))];
    let tokens = verifier(
        &set,
        json!({"issuer": "https://tango.eu.auth0.com/", "audience": "https://api.tango.example"}),
    )
    .await;
    let mut claims = json!({
        "iss": "https://tango.eu.auth0.com/", "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
        "aud": ["https://api.tango.example", "https://tango.eu.auth0.com/userinfo"],
        "iat": now(), "exp": now() + 86_400, "azp": "AbCdEf", "scope": "openid profile", "gty": "password",
        "https://tango.example/roles": ["admin"], "permissions": ["read:posts"],
    });
    let header = json!({"typ": "at+jwt", "kid": kid});
    let read = tokens.verify(&key.sign(header.clone(), &claims)).await.unwrap();
    assert_eq!(read.sub, "auth0|5f7c8ec7c33c6c004bbafe82");
    // `azp` names who asked for the token, not whom the token is for.
    claims["azp"] = json!("https://api.tango.example");
    claims["aud"] = json!(["https://tango.eu.auth0.com/userinfo"]);
    assert_eq!(
        reason(tokens.verify(&key.sign(header, &claims)).await),
        "claim `aud`: \"https://tango.eu.auth0.com/userinfo\" does not hold auth.token.audience"
    );
}

#[tokio::test]
async fn keycloak() {
    let (key, encryption) = (Key::rsa(), Key::rsa());
    let set = [
        encryption.entry(json!({"kid": "enc-1", "use": "enc", "alg": "RSA-OAEP", "x5c": ["MII"]})),
        key.entry(
            json!({"kid": "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE", "use": "sig", "alg": "RS256"}),
        ),
    ];
    let issuer = "https://id.example/realms/tango";
    let tokens = verifier(&set, json!({ "issuer": issuer })).await;
    let mut claims = json!({
        "exp": now() + 300, "iat": now(), "auth_time": now() - 1, "jti": "onrtac:5b2b1f3e", "iss": issuer,
        "aud": ["realm-management", "account"], "sub": "f:8a5c2b1e:ana", "typ": "Bearer", "azp": "web",
        "sid": "8f9b2c", "session_state": "8f9b2c", "acr": "1", "allowed-origins": ["*"],
        "realm_access": {"roles": ["offline_access"]}, "resource_access": {}, "scope": "openid", "email_verified": true,
    });
    let header = json!({"typ": "JWT", "kid": "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"});
    let read = tokens.verify(&key.sign(header.clone(), &claims)).await.unwrap();
    assert_eq!(
        (read.sub.as_str(), read.sid, read.jti.as_deref()),
        ("f:8a5c2b1e:ana", None, Some("onrtac:5b2b1f3e"))
    );
    // A key for encryption verifies nothing, although its kind would fit.
    let stolen = encryption.sign(json!({"kid": "enc-1"}), &claims);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(reason(tokens.verify(&stolen).await), "no key for alg RS256, kid \"enc-1\"");
    // The realm signs logout tokens with the same key.
    claims["typ"] = json!("Logout");
    let logout = key.sign(json!({"typ": "logout+jwt", "kid": header["kid"]}), &claims);
    assert_eq!(reason(tokens.verify(&logout).await), "header `typ`: \"logout+jwt\" is for another purpose");
    claims["iss"] = json!("https://id.example/realms/other");
    assert_eq!(
        reason(tokens.verify(&key.sign(header, &claims)).await),
        "claim `iss`: \"https://id.example/realms/other\" is not auth.token.issuer"
    );
}

#[tokio::test]
async fn cognito() {
    let (one, two) = (Key::rsa(), Key::rsa());
    let set = [
        one.entry(json!({"alg": "RS256", "kid": "abcd1234=", "use": "sig"})),
        two.entry(json!({"alg": "RS256", "kid": "efgh5678=", "use": "sig"})),
    ];
    let issuer = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example";
    let access = json!({
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "device_key": "d", "cognito:groups": ["admin"], "iss": issuer,
        "version": 2, "client_id": "xxxxxxxxxxxxexample", "origin_jti": "o", "event_id": "e", "token_use": "access",
        "scope": "phone openid", "auth_time": now(), "exp": now() + 3600, "iat": now(), "jti": "j", "username": "ana",
    });
    let token = two.sign(json!({"kid": "efgh5678="}), &access);
    let tokens = verifier(&set, json!({ "issuer": issuer })).await;
    assert_eq!(tokens.verify(&token).await.unwrap().sub, "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
    // Access tokens of Cognito have no audience, which whoever sets one has to be told.
    let tokens = verifier(&set, json!({"audience": "xxxxxxxxxxxxexample"})).await;
    assert_eq!(
        reason(tokens.verify(&token).await),
        "claim `aud`: is missing, and auth.token.audience wants it"
    );
}

#[tokio::test]
async fn supabase() {
    let claims = json!({
        "aal": "aal1", "amr": [{"method": "password", "timestamp": now()}], "app_metadata": {"provider": "email"},
        "aud": "authenticated", "email": "ana@example.com", "exp": now() + 3600, "iat": now(),
        "iss": "https://abcdefghijklm.supabase.co/auth/v1", "is_anonymous": false, "phone": "",
        "role": "authenticated", "session_id": "s", "sub": "1f5d4f32-0000-4000-8000-000000000001", "user_metadata": {},
    });
    // Newer projects: ES256 with key_ops beside use. Source of the role: supabase/supabase-js#1770.
    let key = Key::ec();
    let set =
        [key.entry(json!({"alg": "ES256", "kid": "5f6a", "use": "sig", "key_ops": ["verify"], "ext": true}))];
    let tokens = verifier(&set, json!({"audience": "authenticated"})).await;
    let read = tokens.verify(&key.sign(json!({"kid": "5f6a", "typ": "JWT"}), &claims)).await.unwrap();
    assert_eq!(read.sub, "1f5d4f32-0000-4000-8000-000000000001");
    assert_eq!(read.role, "", "what an application calls a role is none here");
    // Older projects: one shared secret.
    let secret = "super-secret-jwt-token-with-at-least-32-characters-long";
    let options: TokenOptions = serde_json::from_value(json!({ "hmac_secret_key": secret })).unwrap();
    let tokens = Tokens::new(&[7; 32], Duration::from_mins(1)).with_keys(&options).unwrap();
    let key = EncodingKey::from_secret(secret.as_bytes());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    assert!(tokens.verify(&token).await.is_ok());
}

#[tokio::test]
async fn firebase_and_google() {
    let (one, two) = (Key::rsa(), Key::rsa());
    // Google's sets have `alg` and `use`; the order of the keys changes with each rotation.
    let set = [
        two.entry(json!({"alg": "RS256", "use": "sig", "kid": "fe65"})),
        one.entry(json!({"alg": "RS256", "use": "sig", "kid": "2d9a"})),
    ];
    let firebase = json!({
        "iss": "https://securetoken.google.com/tango", "aud": "tango", "auth_time": now(), "user_id": "Zx1",
        "sub": "Zx1", "iat": now(), "exp": now() + 3600, "email_verified": false,
        "firebase": {"identities": {"email": ["ana@example.com"]}, "sign_in_provider": "password"},
    });
    let tokens =
        verifier(&set, json!({"audience": "tango", "issuer": "https://securetoken.google.com/tango"})).await;
    let token = one.sign(json!({"kid": "2d9a", "typ": "JWT"}), &firebase);
    assert_eq!(tokens.verify(&token).await.unwrap().sub, "Zx1");

    let google = json!({
        "iss": "https://accounts.google.com", "azp": "1-android.apps.googleusercontent.com",
        "aud": "1-web.apps.googleusercontent.com", "sub": "110169484474386276334", "hd": "example.com",
        "at_hash": "HK6E", "nonce": "n", "nbf": now() + 5, "iat": now(), "exp": now() + 3600, "jti": "j",
    });
    let tokens = verifier(&set, json!({"audience": "1-web.apps.googleusercontent.com"})).await;
    let token = two.sign(json!({"kid": "fe65", "typ": "JWT"}), &google);
    assert_eq!(tokens.verify(&token).await.unwrap().sub, "110169484474386276334");
}

#[tokio::test]
async fn entra() {
    let key = Key::rsa();
    // No `alg`; an `issuer` a key; a certificate beside the key, and an entry that has the certificate alone.
    let set = [
        json!({"kty": "RSA", "use": "sig", "kid": "certificate-alone", "x5t": "t", "x5c": ["MIIC"]}),
        key.entry(
            json!({"use": "sig", "kid": "imi0Y2z0dYKxBttAqK_Tt5hYBTk", "x5t": "imi0Y2z0dYKxBttAqK_Tt5hYBTk",
            "x5c": ["MIIC"], "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0",
            "cloud_instance_name": "microsoftonline.com"}),
        ),
    ];
    let issuer = "https://login.microsoftonline.com/9122040d/v2.0";
    let tokens = verifier(&set, json!({"issuer": issuer, "audience": "6e74172b"})).await;
    let claims = json!({
        "aud": "6e74172b", "iss": issuer, "iat": now(), "nbf": now(), "exp": now() + 4000, "aio": "x", "azp": "6e74172b",
        "azpacr": "0", "name": "Ana", "oid": "690222be", "preferred_username": "ana@example.com", "rh": "r",
        "roles": ["Admin"], "scp": "access_as_user", "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
        "tid": "9122040d", "uti": "u", "ver": "2.0",
    });
    let header =
        json!({"typ": "JWT", "kid": "imi0Y2z0dYKxBttAqK_Tt5hYBTk", "x5t": "imi0Y2z0dYKxBttAqK_Tt5hYBTk"});
    let read = tokens.verify(&key.sign(header, &claims)).await.unwrap();
    assert_eq!(read.sub, "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ");
}

#[tokio::test]
async fn kubernetes() {
    let key = Key::rsa();
    let set = [key.entry(json!({"use": "sig", "alg": "RS256", "kid": "Yn8c"}))];
    let tokens = verifier(&set, json!({"audience": "tango"})).await;
    let claims = json!({
        "aud": ["tango", "https://kubernetes.default.svc"], "exp": now() + 3607, "iat": now(), "nbf": now(),
        "iss": "https://kubernetes.default.svc.cluster.local", "jti": "ea28ed49",
        "kubernetes.io": {"namespace": "dance", "node": {"name": "n"}, "serviceaccount": {"name": "bot", "uid": "u"}},
        "sub": "system:serviceaccount:dance:bot",
    });
    let read = tokens.verify(&key.sign(json!({"kid": "Yn8c"}), &claims)).await.unwrap();
    assert_eq!(read.sub, "system:serviceaccount:dance:bot");
}

#[tokio::test]
async fn entries_that_cannot_be_read_do_not_spoil_a_set() {
    let (one, two, ec) = (Key::rsa(), Key::rsa(), Key::ec());
    let ed = Key::of(
        Algorithm::EdDSA,
        &EncodingKey::from_ed_pem(pair(&["-algorithm", "ED25519"]).0.as_bytes()).unwrap(),
    );
    let set = [
        json!(7),
        json!({"kid": "no type"}),
        json!({"kty": "new", "kid": "a"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "b"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "c"}),
        json!({"kty": "RSA", "n": "*", "e": "AQAB", "kid": "d"}),
        json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "oct"}),
        one.entry(json!({"kid": 7})),
        // Two keys by one id, and keys without any.
        one.entry(json!({"kid": "twin"})),
        two.entry(json!({"kid": "twin", "alg": "PS256"})),
        ec.entry(json!({})),
        ed.entry(json!({"alg": "Ed25519"})),
    ];
    let tokens = verifier(&set, json!({})).await;
    let claims = json!({"sub": "42"});
    for (key, header) in [
        (&one, json!({"kid": "twin"})),
        (&one, json!({})),
        (&ec, json!({})),
        (&ec, json!({"kid": "any"})),
        (&ed, json!({})),
    ] {
        let outcome = tokens.verify(&key.sign(header.clone(), &claims)).await;
        assert!(outcome.is_ok(), "{:?} {header}: {outcome:?}", key.algorithm);
    }
    // The second twin is for PS256 alone.
    assert_eq!(
        reason(tokens.verify(&two.sign(json!({"kid": "twin"}), &claims)).await),
        "the signature is of another key"
    );
    // The secret in the set verifies nothing: whoever can read the set could sign with it.
    let secret = EncodingKey::from_secret(b"secret");
    let header = jsonwebtoken::Header { kid: Some("oct".to_owned()), ..jsonwebtoken::Header::default() };
    let forged = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
    assert_eq!(reason(tokens.verify(&forged).await), "the signature is of another key");
}
