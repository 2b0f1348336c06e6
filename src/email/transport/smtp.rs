//! Messages to a mail server. Commands are sent one by one, because a failure means another thing before and
//! after the final dot: before, the server has not taken the message; after, nobody knows (RFC 1047).

mod failure;
mod look;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Noop, Rcpt, Rset};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Severity;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use self::failure::{Cause, Failure, Step};
pub use self::look::SmtpFault;
use super::{SendError, TemporaryScope, Transport};
use crate::email::Message;
use crate::email::options::{SmtpOptions, SmtpTls, is_host};

/// How long one address of the server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most idle connections that are kept.
const MAX_IDLE: usize = 4;
/// How long an idle connection is used again. Servers cut idle connections after a minute or more.
const MAX_IDLE_TIME: Duration = Duration::from_secs(30);

/// Sends by a mail server. Connections are kept for a while and used again. As many are open as calls run at
/// the same time, so the caller bounds them.
pub struct SmtpTransport {
    host: String,
    port: u16,
    tls: SmtpTls,
    tls_parameters: TlsParameters,
    hello: ClientId,
    credentials: Option<Credentials>,
    command_timeout: Duration,
    final_timeout: Duration,
    idle: Mutex<Vec<Idle>>,
}

/// A connection that waits for the next message.
struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

impl SmtpTransport {
    /// Prepares sending; nothing is connected yet. An error is one of the options.
    pub fn new(options: &SmtpOptions) -> anyhow::Result<Self> {
        let tls_parameters = tls_parameters(options).context("TLS for the mail server cannot be set up")?;
        let credentials = options.user.clone().zip(options.password.as_ref());
        Ok(Self {
            host: options.host.clone(),
            port: options.port,
            tls: options.tls,
            tls_parameters,
            hello: hello(options),
            credentials: credentials
                .map(|(user, password)| Credentials::new(user, password.expose().to_owned())),
            command_timeout: options.command_timeout,
            final_timeout: options.final_timeout,
            idle: Mutex::default(),
        })
    }

    /// A connection that waited and still works.
    async fn waiting(&self) -> Option<AsyncSmtpConnection> {
        loop {
            // The lock is given back before the server is asked.
            let Idle { mut connection, since } = self.idle.lock().pop()?;
            if since.elapsed() < MAX_IDLE_TIME
                && self.step(Step::Reuse, connection.command(Noop)).await.is_ok()
            {
                return Some(connection);
            }
        }
    }

    /// A new connection, encrypted and signed in as the options say.
    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let tls = (self.tls == SmtpTls::Tls).then(|| self.tls_parameters.clone());
        let server = (self.host.as_str(), self.port);
        let connecting =
            AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT_TIMEOUT), &self.hello, tls, None);
        // The server may take its time for the greeting, and again for its answer to EHLO.
        let limit = CONNECT_TIMEOUT + 2 * self.command_timeout;
        let mut connection = in_time(Step::Connect, limit, connecting).await?;
        if self.tls == SmtpTls::Starttls {
            let starting = connection.starttls(self.tls_parameters.clone(), &self.hello);
            self.step(Step::StartTls, starting).await?;
        }
        if let Some(credentials) = &self.credentials {
            let signing_in = connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials);
            self.step(Step::SignIn, signing_in).await?;
        }
        Ok(connection)
    }

    /// Hands a message over on a connection.
    async fn hand_over(
        &self,
        connection: &mut AsyncSmtpConnection,
        message: &Message,
    ) -> Result<(), Failure> {
        let envelope = message.envelope();
        let sender = Mail::new(envelope.from().cloned(), Vec::new());
        self.step(Step::Sender, connection.command(sender)).await?;
        for recipient in envelope.to() {
            let recipient = Rcpt::new(recipient.clone(), Vec::new());
            self.step(Step::Recipient, connection.command(recipient)).await?;
        }
        let go_on = self.step(Step::Data, connection.command(Data)).await?;
        if !go_on.has_code(354) {
            // A message that is written now would be read as commands.
            let words = format!("unexpected answer {}", go_on.code());
            return Err(Failure { step: Step::Data, cause: Cause::Lost(words) });
        }
        self.write(connection, message.bytes()).await
    }

    /// Writes a message and the final dot, and waits for the answer.
    async fn write(&self, connection: &mut AsyncSmtpConnection, bytes: &[u8]) -> Result<(), Failure> {
        let (dot, mut dotted) = watch::channel(false);
        let is_dotted = dotted.clone();
        let mut sending = pin!(connection.message_iter(Body { bytes: Some(bytes), dot }));
        let early = tokio::select! {
            answer = &mut sending => Some(answer),
            () = async { let _ = dotted.wait_for(|dotted| *dotted).await; } => None,
            () = sleep(self.command_timeout) => None,
        };
        // Which of them came first does not matter: only whether the dot may have left.
        let step = if *is_dotted.borrow() { Step::FinalDot } else { Step::Content };
        let answer = match early {
            Some(answer) => answer.map_err(|error| Failure { step, cause: Cause::of(&error) })?,
            None if step == Step::Content => {
                return Err(Failure { step, cause: Cause::TimedOut(self.command_timeout) });
            }
            None => in_time(step, self.final_timeout, sending).await?,
        };
        if answer.code().severity != Severity::PositiveCompletion {
            let words = format!("unexpected answer {}", answer.code());
            return Err(Failure { step, cause: Cause::Lost(words) });
        }
        Ok(())
    }

    /// Keeps a connection for the next message, if it can be used again.
    async fn keep(&self, mut connection: AsyncSmtpConnection, outcome: &Result<(), Failure>) {
        if let Err(failure) = outcome {
            // A transaction that failed in its middle would go on with the next message's recipient.
            if !failure.leaves_connection() || self.step(Step::Reuse, connection.command(Rset)).await.is_err()
            {
                return;
            }
        }
        let mut idle = self.idle.lock();
        idle.retain(|idle| idle.since.elapsed() < MAX_IDLE_TIME);
        if idle.len() < MAX_IDLE {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// A command within its time-out.
    async fn step<T>(
        &self,
        step: Step,
        command: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
    ) -> Result<T, Failure> {
        in_time(step, self.command_timeout, command).await
    }
}

#[async_trait]
impl Transport for SmtpTransport {
    async fn send(&self, message: &Message) -> Result<(), SendError> {
        let mut outcome = None;
        if let Some(mut connection) = self.waiting().await {
            match self.hand_over(&mut connection, message).await {
                // The server closed the waiting connection at this very moment; that says nothing about the
                // message.
                Err(failure) if failure.is_of_waiting() => {}
                other => outcome = Some((connection, other)),
            }
        }
        let (connection, outcome) = if let Some(used) = outcome {
            used
        } else {
            let mut connection = self.connect().await?;
            let outcome = self.hand_over(&mut connection, message).await;
            (connection, outcome)
        };
        self.keep(connection, &outcome).await;
        Ok(outcome?)
    }
}

/// The body of a message. The mail library asks for a next part only when all before has been written, and
/// then writes the final dot: that moment is told.
struct Body<'a> {
    bytes: Option<&'a [u8]>,
    dot: watch::Sender<bool>,
}

impl<'a> Iterator for Body<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let part = self.bytes.take();
        if part.is_none() {
            self.dot.send_replace(true);
        }
        part
    }
}

/// Runs a step within a time-out.
async fn in_time<T>(
    step: Step,
    limit: Duration,
    work: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
) -> Result<T, Failure> {
    match timeout(limit, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Failure { step, cause: Cause::of(&error) }),
        Err(_) => Err(Failure { step, cause: Cause::TimedOut(limit) }),
    }
}

/// Whose certificates are trusted: those of the authorities that the options name, or of all public ones.
fn tls_parameters(options: &SmtpOptions) -> anyhow::Result<TlsParameters> {
    let Some(file) = &options.ca_file else { return Ok(TlsParameters::new(options.host.clone())?) };
    let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parameters = TlsParameters::builder(options.host.clone())
        .certificate_store(CertificateStore::None)
        .add_root_certificate(Certificate::from_pem(&pem)?);
    Ok(parameters.build()?)
}

/// What the node calls itself.
fn hello(options: &SmtpOptions) -> ClientId {
    let machine = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = options.hello_name.clone().unwrap_or_else(machine);
    match name.parse() {
        Ok(std::net::IpAddr::V4(address)) => ClientId::Ipv4(address),
        Ok(std::net::IpAddr::V6(address)) => ClientId::Ipv6(address),
        Err(_) if is_host(&name) => ClientId::Domain(name),
        Err(_) => ClientId::Domain("localhost".to_owned()),
    }
}
