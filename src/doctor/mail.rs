//! The mail server or provider: whether it would take letters. None is sent.

use mundotango_ops::Secret;
use reqwest::Client;
use reqwest::redirect::Policy;

use super::finding::{Finding, kinds};
use super::{LOOK_TIMEOUT, is_here};
use crate::config::Config;
use crate::email::{MailOptions, MailTransport, SmtpFault, SmtpTls, SmtpTransport};

kinds! { "mail";
    UNREACHABLE: Broken "unreachable",
        "letters wait and are tried again, and are given up in the end",
        "start the server, or correct `mail.smtp` (host, port, tls, ca_file); many networks close port 25";
    NO_STARTTLS: Broken "no-starttls",
        "letters are not sent in plain text where encryption is asked for, so they wait",
        "set `mail.smtp.tls` to `tls` with port 465, or turn on TLS at the server";
    NO_SIGN_IN: Broken "no-sign-in",
        "the server takes no password on this connection, so letters wait",
        "use the port for submission (587), or leave out `mail.smtp.user` and `password`";
    REFUSED: Broken "refused",
        "the server does not take this user and password, so letters wait",
        "correct `mail.smtp.user` and `password`; some providers want a password made for programs";
    PLAIN: Warning "plain-text",
        "everybody between the node and the server can read the letters, links for passwords among them",
        "set `mail.smtp.tls` to `starttls` or `tls`";
    PROVIDER: Broken "provider-unreachable",
        "letters wait and are tried again, and are given up in the end",
        "look at name resolution and firewalls, and at `region` or `base_url` of the provider's section";
    NO_REPORTS: Warning "no-reports",
        "nobody tells of addresses that do not exist, and providers lock out who goes on writing to them",
        "set `mail.ses.topic_arn` or `mail.sendgrid.webhook_public_key`";
}

/// Looks at whoever takes the letters.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let mail = &config.mail;
    match mail.transport {
        MailTransport::Folder => Vec::new(),
        MailTransport::Smtp => smtp(mail).await,
        MailTransport::Ses => {
            let reports =
                mail.ses.topic_arn.is_none().then(|| NO_REPORTS.says("mail.ses.topic_arn is not set"));
            provider(&mail.ses.base_url()).await.into_iter().chain(reports).collect()
        }
        MailTransport::Sendgrid => {
            let has_key = mail.sendgrid.webhook_public_key.is_some();
            let reports = (!has_key).then(|| NO_REPORTS.says("mail.sendgrid.webhook_public_key is not set"));
            provider(&mail.sendgrid.base_url).await.into_iter().chain(reports).collect()
        }
    }
}

pub(super) fn late(config: &Config) -> Finding {
    let MailOptions { transport, smtp, .. } = &config.mail;
    match transport {
        MailTransport::Folder | MailTransport::Smtp => {
            UNREACHABLE.says(format!("{}:{}: no answer within {LOOK_TIMEOUT:?}", smtp.host, smtp.port))
        }
        MailTransport::Ses | MailTransport::Sendgrid => {
            PROVIDER.says(format!("the API of the provider: no answer within {LOOK_TIMEOUT:?}"))
        }
    }
}

async fn smtp(mail: &MailOptions) -> Vec<Finding> {
    let smtp = &mail.smtp;
    let server = format!("{}:{}", smtp.host, smtp.port);
    let mut findings = Vec::new();
    if smtp.tls == SmtpTls::None && !is_here(&smtp.host) {
        findings.push(PLAIN.says(format!("mail.smtp.tls is none, and the server is {server}")));
    }
    let looked = match SmtpTransport::new(smtp) {
        Ok(transport) => transport.look().await,
        Err(error) => Err(SmtpFault::Unreachable(format!("{error:#}"))),
    };
    if let Err(fault) = looked {
        let kind = match fault {
            SmtpFault::Unreachable(_) => &UNREACHABLE,
            SmtpFault::NoStartTls => &NO_STARTTLS,
            SmtpFault::NoSignIn => &NO_SIGN_IN,
            SmtpFault::Refused(_) => &REFUSED,
        };
        // Servers may repeat what they were told.
        let password = smtp.password.as_ref().map(Secret::expose).filter(|password| !password.is_empty());
        let why = fault.to_string();
        let why = password.map_or(why.clone(), |password| why.replace(password, "***"));
        findings.push(kind.says(format!("{server}: {why}")));
    }
    findings
}

/// Any answer of the provider will do, as nothing is asked that it would do for this.
async fn provider(base_url: &str) -> Option<Finding> {
    let client = Client::builder().redirect(Policy::none()).no_proxy().build();
    let answered = match client {
        Ok(client) => client.head(base_url).timeout(LOOK_TIMEOUT).send().await,
        Err(error) => Err(error),
    };
    let error = anyhow::Error::from(answered.err()?);
    Some(PROVIDER.says(format!("{base_url}: {error:#}")))
}
