//! Certificates: the node's own, and those of the authorities and connections that the configuration names.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use mundotango_gateway::Certificates;
use mundotango_storage::TlsFiles;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::{Host, Url};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::finding::{Finding, kinds};
use crate::config::Config;
use crate::email::MailTransport;

kinds! { "tls";
    UNUSABLE: Broken "unusable",
        "a node does not start with a certificate and a key that do not go together or cannot be read",
        "put both files of one certificate there, readable for the node's user; a running node reads them again by itself";
    EXPIRED: Broken "expired",
        "whoever checks the certificate refuses the connection",
        "renew the certificate; a running node reads `http.tls` again by itself, other files when it starts";
    EXPIRES_SOON: Warning "expires-soon",
        "whoever checks the certificate will refuse the connection from then on",
        "renew the certificate, and look why that did not happen by itself";
    NOT_YET: Broken "not-yet-valid",
        "whoever checks the certificate refuses the connection until then",
        "look at the clocks of this machine and of the authority";
    OTHER_NAME: Warning "other-name",
        "browsers refuse the certificate at this address",
        "get a certificate for the host of `mail.public_url`, unless a proxy with its own is in front";
    OPEN_KEY: Warning "open-key",
        "everybody on this machine can read the private key",
        "chmod 0600 the file and give it to the node's user; if others were on the machine, renew the certificate";
    UNREADABLE: Broken "unreadable",
        "connections that should be checked by these certificates fail",
        "put certificates in PEM there, readable for the node's user";
}

/// How long before its end a certificate is told of, in seconds: authorities renew long before.
const SOON: i64 = 14 * 24 * 60 * 60;

/// Looks at all certificates. Blocks.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let now = Timestamp::now().as_second();
    let mut findings = Vec::new();
    let tls = &config.http.tls;
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        if let Err(error) = Certificates::load(tls) {
            findings.push(UNUSABLE.says(error.to_string()));
        }
        findings.extend(own("http.tls.certificate", certificate, now));
        findings.extend(names(certificate, &config.mail.public_url));
        findings.extend(open_key("http.tls.key", key));
    }
    let cluster = &config.cluster;
    for (section, is_used, files) in [
        ("cluster.nats_tls", cluster.nats.is_some(), &cluster.nats_tls),
        ("cluster.redis_tls", cluster.redis.is_some(), &cluster.redis_tls),
        ("cluster.cql.tls", !cluster.cql.nodes.is_empty(), &cluster.cql.tls),
    ] {
        if is_used {
            findings.extend(of_connection(section, files, now));
        }
    }
    let mail = config.mail.smtp.ca_file.as_deref().filter(|_| config.mail.transport == MailTransport::Smtp);
    findings.extend(mail.and_then(|ca| authorities("mail.smtp.ca_file", ca, now)));
    findings.extend(config.push.ca.as_deref().and_then(|ca| authorities("push.ca", ca, now)));
    findings
}

fn of_connection(section: &str, files: &TlsFiles, now: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(ca) = &files.ca {
        findings.extend(authorities(&format!("{section}.ca"), ca, now));
    }
    if let Some((certificate, key)) = files.identity() {
        findings.extend(own(&format!("{section}.certificate"), certificate, now));
        findings.extend(open_key(&format!("{section}.key"), key));
    }
    findings
}

/// From when to when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    from: i64,
    to: i64,
}

/// Judges the first certificate of a file, which is the one that is shown; those behind it are its authorities'.
fn own(option: &str, file: &Path, now: i64) -> Option<Finding> {
    match validities(file) {
        Ok(all) => judge(option, file, *all.first()?, now),
        Err(error) => Some(UNREADABLE.says(format!("{option}: {error}"))),
    }
}

/// Judges the authorities in a file. Collections often hold some that have expired, so the one that lasts longest counts.
fn authorities(option: &str, file: &Path, now: i64) -> Option<Finding> {
    match validities(file) {
        Ok(all) => judge(option, file, all.into_iter().max_by_key(|validity| validity.to)?, now),
        Err(error) => Some(UNREADABLE.says(format!("{option}: {error}"))),
    }
}

fn judge(option: &str, file: &Path, Validity { from, to }: Validity, now: i64) -> Option<Finding> {
    let day =
        |second| Timestamp::from_second(second).map_or_else(|_| "?".to_owned(), |time| time.to_string());
    let name = format!("{option} ({})", file.display());
    if to < now {
        Some(EXPIRED.says(format!("{name} expired on {}", day(to))))
    } else if from > now {
        Some(NOT_YET.says(format!("{name} is valid from {} on", day(from))))
    } else if to - now < SOON {
        Some(EXPIRES_SOON.says(format!("{name} expires on {}", day(to))))
    } else {
        None
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>();
    match read() {
        Ok(all) if all.is_empty() => Err(format!("there is no certificate in {}", file.display())),
        Ok(all) => Ok(all),
        Err(error) => Err(format!("cannot read {}: {error}", file.display())),
    }
}

fn validities(file: &Path) -> Result<Vec<Validity>, String> {
    let of = |der: &CertificateDer<'_>| {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| format!("{}: {error}", file.display()))?;
        let validity = certificate.validity();
        Ok(Validity { from: validity.not_before.timestamp(), to: validity.not_after.timestamp() })
    };
    certificates(file)?.iter().map(of).collect()
}

/// Whether the certificate is for the host of the site's address.
fn names(file: &Path, public_url: &str) -> Option<Finding> {
    let url = Url::parse(public_url).ok()?;
    // The default address says nothing of the real one, and is a finding of its own.
    let host = url.host().filter(|host| host.to_string() != "localhost")?;
    let all = certificates(file).ok()?;
    let (_, certificate) = X509Certificate::from_der(all.first()?).ok()?;
    let alternatives = certificate.subject_alternative_name().ok()?;
    let alternatives = alternatives.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    if alternatives.iter().any(|name| fits(name, &host)) {
        return None;
    }
    let listed: Vec<_> = alternatives
        .iter()
        .filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None })
        .collect();
    Some(OTHER_NAME.says(format!("{} is for {}, and not for {host}", file.display(), listed.join(", "))))
}

/// Whether a name of a certificate stands for a host (RFC 9525, 6.3: `*` is one whole label, the first).
fn fits(name: &GeneralName<'_>, host: &Host<&str>) -> bool {
    match (name, host) {
        (GeneralName::DNSName(name), Host::Domain(host)) => match name.strip_prefix("*.") {
            Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain)),
            None => name.eq_ignore_ascii_case(host),
        },
        (GeneralName::IPAddress(bytes), Host::Ipv4(address)) => *bytes == address.octets(),
        (GeneralName::IPAddress(bytes), Host::Ipv6(address)) => *bytes == address.octets(),
        _ => false,
    }
}

fn open_key(option: &str, file: &Path) -> Option<Finding> {
    let mode = fs::metadata(file).ok()?.permissions().mode();
    let says = || format!("{option} ({}) has the mode {:04o}", file.display(), mode & 0o7777);
    (mode & 0o004 != 0).then(|| OPEN_KEY.says(says()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    #[test]
    fn a_certificate_is_told_before_and_after_its_end() {
        let now = 1_800_000_000;
        let told = |from, to| {
            let validity = Validity { from: now + from * DAY, to: now + to * DAY };
            judge("http.tls.certificate", Path::new("cert.pem"), validity, now).map(|finding| finding.id)
        };
        assert_eq!(told(-1, 90), None);
        assert_eq!(told(-80, 13), Some(EXPIRES_SOON.id));
        assert_eq!(told(-90, -1), Some(EXPIRED.id));
        assert_eq!(told(1, 90), Some(NOT_YET.id));
    }

    #[test]
    fn a_certificate_is_for_its_names_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cert.pem");
        let names_of = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let params =
            CertificateParams::new(names_of(&["tango.example", "*.milonga.example", "192.0.2.1"])).unwrap();
        let key = KeyPair::generate().unwrap();
        fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        assert!(validities(&file).unwrap()[0].to > 0);
        for good in [
            "https://tango.example",
            "https://A.milonga.example/x",
            "https://192.0.2.1:8443",
            "http://localhost:5000",
        ] {
            assert_eq!(names(&file, good), None, "{good}");
        }
        for bad in [
            "https://milonga.example",
            "https://a.b.milonga.example",
            "https://192.0.2.2",
            "https://other.example",
        ] {
            assert_eq!(names(&file, bad).map(|finding| finding.id), Some(OTHER_NAME.id), "{bad}");
        }
    }
}
