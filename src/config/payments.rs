//! The `[payments]` section: who takes the money, and where payers come back to.

use std::net::IpAddr;

use documented::DocumentedFields;
use mundotango_ops::Secret;
use serde::{Deserialize, Serialize};
use url::Url;

/// The whole of a payment, in hundredths of a per cent.
const WHOLE: u32 = 10_000;
/// Shortest secret of a webhook, in bytes: too long to be guessed.
const MIN_WEBHOOK_SECRET_BYTES: usize = 16;
/// Most secrets of webhooks: each is tried for a body that is not signed well.
const MOST_SECRETS: usize = 5;

/// The `[payments]` section. Without a secret key what costs something cannot be paid for, and all else works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct PaymentsOptions {
    /// The secret key of the Stripe account, `sk_…`, or a restricted one, `rk_…`, that may write Checkout Sessions and
    /// Refunds and read Payment Intents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<Secret>,
    /// The signing secrets of the webhook, `whsec_…`: one, or two while one is replaced by another.
    pub webhook_secrets: Vec<Secret>,
    /// The address of Stripe's API.
    pub api_url: String,
    /// Where payers come back to who have paid; the payment's id is added as `payment`. `/payments` below
    /// `mail.public_url` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_url: Option<String>,
    /// Where payers come back to who have not, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_url: Option<String>,
    /// The platform's share of each payment, in hundredths of a per cent: 250 is 2.5 %.
    pub fee_basis_points: u32,
    /// Whether payments go on to the payee's own account at Stripe (Connect), less the platform's share. Without it all
    /// money stays in the platform's account, and the ledger says whose it is.
    pub connect: bool,
}

impl Default for PaymentsOptions {
    fn default() -> Self {
        Self {
            secret_key: None,
            webhook_secrets: Vec::new(),
            api_url: "https://api.stripe.com".to_owned(),
            success_url: None,
            cancel_url: None,
            fee_basis_points: 0,
            connect: false,
        }
    }
}

impl PaymentsOptions {
    /// All that cannot work, each with the option's name first.
    pub(super) fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, problem: &str| {
            if !holds {
                problems.push(format!("payments.{problem}"));
            }
        };
        let key = self.secret_key.as_ref().map(Secret::expose);
        require(
            key.is_none_or(|key| !key.starts_with("pk_")),
            "secret_key: is the publishable key; the secret one begins with sk_",
        );
        require(
            key.is_none_or(|key| key.bytes().all(|byte| byte.is_ascii_graphic())),
            "secret_key: has characters that no key has",
        );
        require(
            self.webhook_secrets.len() <= MOST_SECRETS,
            "webhook_secrets: can be five at most: the one in use, and the one before",
        );
        let long_enough = |secret: &Secret| secret.expose().len() >= MIN_WEBHOOK_SECRET_BYTES;
        require(
            self.webhook_secrets.iter().all(long_enough),
            "webhook_secrets: are not as Stripe makes them (whsec_…)",
        );
        require(
            is_safe(&self.api_url),
            "api_url: must be an https:// address (http:// only for this machine)",
        );
        for (name, page) in [("success_url", &self.success_url), ("cancel_url", &self.cancel_url)] {
            require(
                page.as_deref().is_none_or(is_page),
                &format!("{name}: must be the http:// or https:// address of a page, without #"),
            );
        }
        require(
            self.fee_basis_points <= WHOLE,
            "fee_basis_points: can be 10000 at most, which is the whole payment",
        );
        problems
    }
}

/// Whether a key may be sent to an address: who is between could read it.
fn is_safe(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let is_here = |host: &str| {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        let is_encrypted = url.scheme() == "https" && url.has_host();
        is_encrypted || (url.scheme() == "http" && url.host_str().is_some_and(is_here))
    })
}

fn is_page(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_told_and_no_secret_with_it() {
        assert_eq!(PaymentsOptions::default().check(), Vec::<String>::new());
        let bad = PaymentsOptions {
            secret_key: Some(Secret::new("pk_test_hidden".to_owned())),
            webhook_secrets: vec![Secret::new("hidden".to_owned())],
            api_url: "http://api.stripe.com".to_owned(),
            success_url: Some("example.com".to_owned()),
            cancel_url: Some("https://example.com/#x".to_owned()),
            fee_basis_points: 10_001,
            connect: true,
        };
        let problems = bad.check();
        for name in
            ["secret_key", "webhook_secrets", "api_url", "success_url", "cancel_url", "fee_basis_points"]
        {
            let begin = format!("payments.{name}: ");
            assert_eq!(
                problems.iter().filter(|one| one.starts_with(&begin)).count(),
                1,
                "{name}: {problems:?}"
            );
        }
        assert!(!problems.join("").contains("hidden"), "{problems:?}");
        let local =
            PaymentsOptions { api_url: "http://127.0.0.1:1".to_owned(), ..PaymentsOptions::default() };
        assert_eq!(local.check(), Vec::<String>::new());
    }
}
