//! Which endpoints the node may connect to.

use mundotango_ops::public_network::may_be_public;
use url::Url;

/// The only port of public endpoints.
const HTTPS_PORT: u16 = 443;

/// Why an endpoint is not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Somebody on the way could read who is told.
    #[error("endpoint: must begin with https://")]
    Scheme,
    /// Other ports may be something else than a push service.
    #[error("endpoint: must use port 443")]
    Port,
    /// The address belongs to the node's own network, or to nobody's.
    #[error("endpoint: must lie in the public Internet")]
    Private,
    /// The operator has named the services that may be used.
    #[error("endpoint: this host is not among the push services that the operator allows")]
    Host,
}

/// The operator's rules for endpoints.
#[derive(Clone, Debug)]
pub(crate) struct EndpointRules {
    private: bool,
    hosts: Vec<String>,
}

impl EndpointRules {
    /// With `private`, any scheme, port and network may be reached. With hosts, these and those below them
    /// alone.
    pub(crate) fn new(private: bool, hosts: &[String]) -> Self {
        Self { private, hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    /// Checks all that can be known without a connection. Names are resolved later, by
    /// [`PublicOnly`](mundotango_ops::public_network::PublicOnly).
    pub(crate) fn check(&self, endpoint: &Url) -> Result<(), EndpointError> {
        let host = endpoint.host().ok_or(EndpointError::Host)?;
        if !self.hosts.is_empty() && !self.allows(endpoint.host_str().unwrap_or_default()) {
            return Err(EndpointError::Host);
        }
        if self.private {
            return Ok(());
        }
        if endpoint.scheme() != "https" {
            return Err(EndpointError::Scheme);
        }
        if endpoint.port_or_known_default() != Some(HTTPS_PORT) {
            return Err(EndpointError::Port);
        }
        if may_be_public(&host) { Ok(()) } else { Err(EndpointError::Private) }
    }

    fn allows(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.hosts.iter().any(|allowed| {
            let above = host.strip_suffix(allowed.as_str());
            above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &EndpointRules, url: &str) -> Result<(), EndpointError> {
        rules.check(&Url::parse(url).unwrap())
    }

    #[test]
    fn t43_public_https_alone_is_reached_however_an_address_is_written() {
        let rules = EndpointRules::new(false, &[]);
        for (url, wanted) in [
            ("https://fcm.googleapis.com/fcm/send/x", Ok(())),
            ("https://updates.push.services.mozilla.com:443/wpush/v2/x", Ok(())),
            ("https://8.8.8.8/x", Ok(())),
            ("https://[2606:4700:4700::1111]/x", Ok(())),
            ("http://fcm.googleapis.com/x", Err(EndpointError::Scheme)),
            ("https://fcm.googleapis.com:8443/x", Err(EndpointError::Port)),
            ("https://127.0.0.1/x", Err(EndpointError::Private)),
            ("https://2130706433/x", Err(EndpointError::Private)),
            ("https://0x7f.1/x", Err(EndpointError::Private)),
            ("https://0177.0.0.1/x", Err(EndpointError::Private)),
            ("https://[::1]/x", Err(EndpointError::Private)),
            ("https://[::ffff:169.254.169.254]/x", Err(EndpointError::Private)),
            ("https://169.254.169.254/latest/meta-data", Err(EndpointError::Private)),
        ] {
            assert_eq!(check(&rules, url), wanted, "{url}");
        }
        assert_eq!(check(&EndpointRules::new(true, &[]), "http://127.0.0.1:8080/x"), Ok(()));
    }

    #[test]
    fn hosts_are_allowed_with_all_below_them_and_no_others() {
        let rules = EndpointRules::new(false, &["Push.Example.com".to_owned(), "googleapis.com".to_owned()]);
        for url in
            ["https://push.example.com/", "https://a.b.push.example.com./", "https://fcm.googleapis.com/"]
        {
            assert_eq!(check(&rules, url), Ok(()), "{url}");
        }
        for url in ["https://example.com/", "https://evilgoogleapis.com/", "https://googleapis.com.evil.net/"]
        {
            assert_eq!(check(&rules, url), Err(EndpointError::Host), "{url}");
        }
    }
}
