//! The certificates by which a node and the servers of its cluster know each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use documented::DocumentedFields;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};

/// The files of a connection with TLS, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFiles {
    /// A file with the certificates of the authorities that sign the servers' certificates; the system's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// A file with the node's own certificate, where the servers want one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// A file with the key of the node's own certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl TlsFiles {
    /// What cannot work, each with the name of the option in a section.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if self.certificate.is_some() != self.key.is_some() {
            problems.push(format!("{section}: certificate and key belong together: both, or none"));
        }
        let mut check = |name: &str, checked: Result<(), String>| {
            problems.extend(checked.err().map(|error| format!("{section}.{name}: {error}")));
        };
        check("ca", self.ca.as_deref().map_or(Ok(()), |ca| certificates(ca).map(drop)));
        check("certificate", self.certificate.as_deref().map_or(Ok(()), |file| certificates(file).map(drop)));
        check("key", self.key.as_deref().map_or(Ok(()), |key| private_key(key).map(drop)));
        problems
    }

    /// The node's certificate and its key, if it has them.
    pub fn identity(&self) -> Option<(&Path, &Path)> {
        Some((self.certificate.as_deref()?, self.key.as_deref()?))
    }

    /// What rustls needs, for servers whose authorities are named.
    pub(crate) fn client_config(&self) -> Result<Option<Arc<ClientConfig>>, String> {
        let Some(ca) = &self.ca else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(ca)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match self.identity() {
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|error| error.to_string())?,
            None => builder.with_no_client_auth(),
        };
        Ok(Some(Arc::new(config)))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().map_err(|error| unreadable(file, &error))?;
    if certificates.is_empty() {
        return Err(format!("there is no certificate in {}", file.display()));
    }
    Ok(certificates)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &rustls::pki_types::pem::Error) -> String {
    format!("cannot read {}: {error}", file.display())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn all_that_is_wrong_with_the_files_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        fs::write(&text, "no PEM").unwrap();
        let files = TlsFiles { ca: Some(text), certificate: Some(folder.path().join("missing")), key: None };
        let problems = files.problems("cluster.nats_tls");
        for wanted in [
            "cluster.nats_tls: certificate and key belong together",
            "cluster.nats_tls.ca: there is no certificate in ",
            "cluster.nats_tls.certificate: cannot read ",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(wanted)), "{wanted}: {problems:?}");
        }
        assert_eq!(TlsFiles::default().problems("x"), Vec::<String>::new());
    }
}
