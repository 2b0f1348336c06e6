//! Push services of the tests' own: one of browsers, one that speaks as Apple's does, and a browser that
//! reads what arrives. Nothing here is shared with the code under test.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey as Verifier};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// What a service was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The claims of the header `Authorization` and the key that signed them, in base64url (RFC 8292, 3).
    pub fn vapid(&self) -> (Value, String) {
        let (token, key) =
            self.header("authorization").strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        (claims(token, &decoded(key)), key.to_owned())
    }
}

/// The claims of a token that a key on P-256 has signed.
pub fn claims(token: &str, key: &[u8]) -> Value {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    Verifier::new(&ECDSA_P256_SHA256_FIXED, key).verify(signed.as_bytes(), &decoded(signature)).unwrap();
    serde_json::from_slice(&decoded(signed.split_once('.').unwrap().1)).unwrap()
}

fn decoded(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// What a service answers.
pub enum Answer {
    Now(Response<Full<Bytes>>),
    /// It takes the request, and that is all.
    Never,
}

/// An answer of a status alone.
pub fn status(status: u16) -> Answer {
    Answer::Now(Response::builder().status(status).body(Full::default()).unwrap())
}

/// An answer with a header.
pub fn status_with(status: u16, name: &'static str, value: &str) -> Answer {
    Answer::Now(Response::builder().status(status).header(name, value).body(Full::default()).unwrap())
}

type Script = dyn Fn(&Asked) -> Answer + Send + Sync;

struct Shared {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
}

/// A push service on this machine. It ends with its value.
pub struct PushService {
    origin: String,
    /// Holds the certificate of its authority.
    folder: TempDir,
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl PushService {
    /// A service of browsers, without TLS.
    pub async fn of_browsers(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::start("http", Box::new(script)).await
    }

    /// The same with HTTP/2 over TLS, and nothing else.
    pub async fn of_browsers_over_tls(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::start("https", Box::new(script)).await
    }

    /// A service that speaks HTTP/2 over TLS, and nothing else.
    pub async fn of_apple(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::start("https", Box::new(script)).await
    }

    async fn start(scheme: &str, script: Box<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("{scheme}://{}", listener.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let shared = Arc::new(Shared { script, asked: Mutex::default() });
        let acceptor = (scheme == "https").then(|| acceptor(folder.path()));
        let task = tokio::spawn(accept(listener, acceptor, Arc::clone(&shared))).abort_handle();
        Self { origin, folder, shared, task }
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// A file in the service's own folder; `ca.pem` is the certificate of its authority.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// All that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().clone()
    }

    /// The same at one path.
    pub fn asked_at(&self, path: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.path == path).collect()
    }
}

impl Drop for PushService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// TLS with a certificate of an authority of its own, whose certificate is written into the folder.
fn acceptor(folder: &Path) -> TlsAcceptor {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    // A certificate whose subject is its issuer would count as signed by itself.
    authority.distinguished_name.push(DnType::CommonName, "authority of a push service");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.join("ca.pem"), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let own = own.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
        tokio::spawn(async move {
            // A client that goes away is no failure of the test.
            let Some(acceptor) = acceptor else {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                return;
            };
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let http = http2::Builder::new(TokioExecutor::new());
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let asked = Asked {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    };
    shared.asked.lock().push(asked.clone());
    match (shared.script)(&asked) {
        Answer::Now(answer) => Ok(answer),
        Answer::Never => std::future::pending().await,
    }
}

/// A browser with one subscription.
pub struct Browser {
    key: PrivateKey,
    auth: Vec<u8>,
}

impl Browser {
    pub fn new() -> Self {
        Self { key: PrivateKey::generate(&ECDH_P256).unwrap(), auth: (1..=16).collect() }
    }

    /// What `PushSubscription.toJSON()` gives, for an endpoint.
    pub fn subscription(&self, endpoint: &str) -> Value {
        let public = self.key.compute_public_key().unwrap();
        json!({
            "endpoint": endpoint,
            "expirationTime": null,
            "keys": {
                "p256dh": BASE64_URL_SAFE_NO_PAD.encode(public.as_ref()),
                "auth": BASE64_URL_SAFE_NO_PAD.encode(&self.auth),
            },
        })
    }

    /// The JSON that a service was asked to bring to this browser.
    pub fn read(&self, asked: &Asked) -> Value {
        assert_eq!(asked.header("content-encoding"), "aes128gcm");
        serde_json::from_slice(&self.decrypt(&asked.body)).unwrap()
    }

    /// Decrypts a body of one record (RFC 8188, 2; RFC 8291, 3.4).
    fn decrypt(&self, body: &[u8]) -> Vec<u8> {
        let (salt, rest) = body.split_at(16);
        let (record_size, rest) = rest.split_at(4);
        let (sender, cipher) = rest[1..].split_at(usize::from(rest[0]));
        let record_size = u32::from_be_bytes(record_size.try_into().unwrap());
        assert!(cipher.len() <= usize::try_from(record_size).unwrap(), "more than one record");
        let public = self.key.compute_public_key().unwrap();
        let sender_key = UnparsedPublicKey::new(&ECDH_P256, sender);
        let shared = agree(&self.key, sender_key, (), |shared| Ok(shared.to_vec())).unwrap();
        // HKDF of at most 32 bytes is two HMACs: one extracts, one expands (RFC 5869).
        let info = [b"WebPush: info\0", public.as_ref(), sender, &[1]].concat();
        let secret = hmac(salt, &hmac(&hmac(&self.auth, &shared), &info));
        let key = hmac(&secret, b"Content-Encoding: aes128gcm\0\x01");
        let nonce = hmac(&secret, b"Content-Encoding: nonce\0\x01");
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key[..16]).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&nonce[..12]).unwrap();
        let mut text = cipher.to_vec();
        let text = key.open_in_place(nonce, Aad::empty(), &mut text).unwrap();
        let end = text.iter().rposition(|byte| *byte != 0).unwrap();
        assert_eq!(text[end], 2, "the last record ends with 2 and zeros");
        text[..end].to_vec()
    }
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), data).as_ref().to_vec()
}

/// RFC 8291, appendix A.
#[test]
fn a_browser_reads_the_example_of_the_standard() {
    let key = decoded("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94");
    let browser = Browser {
        key: PrivateKey::from_private_key(&ECDH_P256, &key).unwrap(),
        auth: decoded("BTBZMqHH6r4Tts7J_aSIgg"),
    };
    let body = decoded(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8w\
         EqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
    );
    assert_eq!(browser.decrypt(&body), b"When I grow up, I want to be a watermelon");
}
