//! TLS on the node's own listener: certificates that change while sockets stay open, and how connections begin.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use documented::DocumentedFields;
use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// All that is spoken here (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

/// A connection of a client, with TLS or without.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The `[http.tls]` section: with both files the node speaks TLS on `listen`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct TlsOptions {
    /// The certificate and those between it and its authority, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The two files do not go together, or the key is of an unknown kind.
    #[error("http.tls: {0}")]
    Pair(#[from] rustls::Error),
    /// The random numbers for session tickets are not to be had.
    #[error("http.tls: {0}")]
    Setup(String),
}

/// The certificate in use. New connections get the newest one; those that are open keep theirs.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    seen: Mutex<[Version; 2]>,
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

/// What changes when a file is written or replaced. `None`: the file cannot be looked at.
type Version = Option<(u64, u64, i64, i64)>;

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads the files that the options name; `None` if they name none.
    pub fn load(options: &TlsOptions) -> Result<Option<Arc<Self>>, TlsError> {
        let (Some(certificate), Some(key)) = (options.certificate.clone(), options.key.clone()) else {
            return Ok(None);
        };
        let provider = Arc::new(default_provider());
        // The versions are taken before the files are read: a change between the two is seen as one later.
        let seen = [version_of(&certificate), version_of(&key)];
        let first = read(&certificate, &key, &provider)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(first))));
        Ok(Some(Arc::new(Self { certificate, key, provider, current, seen: Mutex::new(seen) })))
    }

    /// Reads the files again. Where they cannot be used the certificate before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.seen.lock() = self.versions();
        *self.current.0.write() = Arc::new(read(&self.certificate, &self.key, &self.provider)?);
        Ok(())
    }

    /// Reads the files again whenever they have changed, for ever. Calls `looked` after each look.
    pub async fn watch(&self, looked: impl Fn()) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            looked();
            if *self.seen.lock() == self.versions() {
                continue;
            }
            match self.reload() {
                Ok(()) => tracing::info!(certificate = %self.certificate.display(), "certificate changed"),
                // Often the second file is just about to be written.
                Err(error) => tracing::warn!(%error, "changed certificate not usable, the one before stays"),
            }
        }
    }

    fn versions(&self) -> [Version; 2] {
        [version_of(&self.certificate), version_of(&self.key)]
    }

    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&self.current));
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        // Clients that come back after a cut resume: a storm of them costs no signatures, and the node no memory.
        config.ticketer = Ticketer::new().map_err(|error| TlsError::Setup(error.to_string()))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let file_error = |path: &Path, cause: String| TlsError::File { path: path.to_owned(), cause };
    let bytes_of = |path: &Path| fs::read(path).map_err(|error| file_error(path, error.to_string()));
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes_of(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| file_error(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(file_error(certificate, "holds no certificate in pem".to_owned()));
    }
    let key_der = PrivateKeyDer::from_pem_slice(&bytes_of(key)?)
        .map_err(|error| file_error(key, format!("holds no private key in pem: {error}")))?;
    let expires = expiry(&chain[0]).map_err(|cause| file_error(certificate, cause))?;
    let usable = CertifiedKey::from_der(chain, key_der, provider)?;
    mundotango_ops::metrics().tls_certificate_expires_timestamp_seconds.set(expires);
    Ok(usable)
}

/// When a certificate expires, in seconds of the Unix epoch.
fn expiry(certificate: &CertificateDer<'_>) -> Result<i64, String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    Ok(parsed.validity().not_after.timestamp())
}

/// Follows symbolic links, by which the tools of most authorities rotate.
fn version_of(path: &Path) -> Version {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
}

/// Makes a connection one with TLS, where there are certificates.
pub(crate) async fn begin(acceptor: Option<&TlsAcceptor>, stream: TcpStream) -> io::Result<Stream> {
    match acceptor {
        None => Ok(Either::Left(stream)),
        Some(acceptor) => Ok(Either::Right(Box::new(acceptor.accept(stream).await?))),
    }
}
