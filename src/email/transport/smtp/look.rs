//! Looks whether a mail server would take letters from here: all steps before the first letter.

use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::client::AsyncSmtpConnection;

use super::{CONNECT_TIMEOUT, SmtpTransport};
use crate::email::options::SmtpTls;

/// Why a mail server takes no letters from here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmtpFault {
    /// There is no connection, or what answers is no mail server, or its certificate is not trusted.
    #[error("{0}")]
    Unreachable(String),
    /// The server does not offer to encrypt the connection.
    #[error("the server does not offer STARTTLS")]
    NoStartTls,
    /// The server offers no way to sign in that is spoken here.
    #[error("the server does not offer to sign in by PLAIN or LOGIN")]
    NoSignIn,
    /// The server does not know the user, or the password is another.
    #[error("{0}")]
    Refused(String),
}

impl SmtpTransport {
    /// Connects, encrypts and signs in as for a letter, and says goodbye. The caller bounds the time.
    pub async fn look(&self) -> Result<(), SmtpFault> {
        let unreachable = |error| SmtpFault::Unreachable(told(&error));
        let tls = (self.tls == SmtpTls::Tls).then(|| self.tls_parameters.clone());
        let server = (self.host.as_str(), self.port);
        let connecting =
            AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT_TIMEOUT), &self.hello, tls, None);
        let mut connection = connecting.await.map_err(unreachable)?;
        if self.tls == SmtpTls::Starttls {
            if !connection.can_starttls() {
                return Err(SmtpFault::NoStartTls);
            }
            let starting = connection.starttls(self.tls_parameters.clone(), &self.hello);
            starting.await.map_err(unreachable)?;
        }
        if let Some(credentials) = &self.credentials {
            let ways = [Mechanism::Plain, Mechanism::Login];
            if connection.server_info().get_auth_mechanism(&ways).is_none() {
                return Err(SmtpFault::NoSignIn);
            }
            let signed_in = connection.auth(&ways, credentials).await;
            signed_in.map_err(|error| SmtpFault::Refused(told(&error)))?;
        }
        // It is known by now that letters would be taken.
        let _ = connection.quit().await;
        Ok(())
    }
}

/// An error with what is behind it: the library's own words often say only in which step it was.
fn told(error: &lettre::transport::smtp::Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    let text = error.to_string();
    match source {
        Some(source) if !text.contains(&source) => format!("{text}: {source}"),
        _ => text,
    }
}
