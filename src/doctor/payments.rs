//! Stripe: whether it would take payments. Nothing is paid.

use mundotango_ops::Secret;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

use super::LOOK_TIMEOUT;
use super::finding::{Finding, kinds};
use crate::config::Config;

kinds! { "payments";
    OFF: Hint "off",
        "what costs something cannot be paid for, and is answered 503 `payments_off`; all else works",
        "set `payments.secret_key` and `payments.webhook_secrets`, or leave it where nothing costs anything";
    UNREACHABLE: Broken "unreachable",
        "nobody can pay, and money that is to go back waits",
        "look at name resolution and firewalls, and at `payments.api_url`";
    REFUSED: Broken "refused",
        "nobody can pay, and money that is to go back waits",
        "put a secret key of the account into `payments.secret_key`; a restricted one may write Checkout Sessions and Refunds, and read Payment Intents and Disputes";
    NO_WEBHOOK: Broken "no-webhook-secret",
        "what Stripe says is refused, so payments are seen minutes late, and refunds and disputes made elsewhere never",
        "make a webhook to /api/payments/webhook in Stripe's dashboard, and put its signing secret into `payments.webhook_secrets`";
    TEST_MODE: Warning "test-mode",
        "everybody can pay with the numbers of test cards, and no money moves",
        "put the live key and the live webhook's secret in when the site opens";
}

/// Looks at Stripe.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let payments = &config.payments;
    let Some(key) = &payments.secret_key else {
        return vec![OFF.says("payments.secret_key is not set")];
    };
    let mut findings: Vec<_> = refused(key, &payments.api_url).await.into_iter().collect();
    if payments.webhook_secrets.is_empty() {
        findings.push(NO_WEBHOOK.says("payments.webhook_secrets is not set"));
    }
    let is_test = key.expose().contains("_test_");
    if is_test && !config.listen.ip().is_loopback() {
        findings.push(
            TEST_MODE.says(format!(
                "payments.secret_key is one for tests, and the node serves on {}",
                config.listen
            )),
        );
    }
    findings
}

pub(super) fn late(config: &Config) -> Finding {
    UNREACHABLE.says(format!("{}: no answer within {LOOK_TIMEOUT:?}", config.payments.api_url))
}

/// Asks for one session, which every key that takes payments may.
async fn refused(key: &Secret, api_url: &str) -> Option<Finding> {
    let url = format!("{}/v1/checkout/sessions?limit=1", api_url.trim_end_matches('/'));
    let client = Client::builder().redirect(Policy::none()).no_proxy().build();
    let answered = match client {
        Ok(client) => client.get(url).bearer_auth(key.expose()).timeout(LOOK_TIMEOUT).send().await,
        Err(error) => Err(error),
    };
    match answered.map(|answer| answer.status()) {
        Ok(status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => {
            Some(REFUSED.says(format!("{api_url} answers {status} to payments.secret_key")))
        }
        Ok(_) => None,
        Err(error) => Some(UNREACHABLE.says(format!("{api_url}: {:#}", anyhow::Error::from(error)))),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    fn ids(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.id).collect()
    }

    #[tokio::test]
    async fn a_key_that_stripe_refuses_and_a_webhook_without_a_secret_are_found() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config = Config::default();
        assert_eq!(ids(&look(&config).await), ["payments.off"]);

        let sessions = async |headers: HeaderMap| {
            let is_good = headers.get("authorization").is_some_and(|key| key == "Bearer sk_test_good");
            if is_good { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
        };
        let routes = Router::new().route("/v1/checkout/sessions", get(sessions));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        config.payments.api_url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        config.payments.secret_key = Some(Secret::new("sk_test_hidden".to_owned()));
        let found = look(&config).await;
        assert_eq!(ids(&found), ["payments.refused", "payments.no-webhook-secret"]);
        assert!(!format!("{found:?}").contains("hidden"), "{found:?}");
        config.payments.secret_key = Some(Secret::new("sk_test_good".to_owned()));
        config.payments.webhook_secrets = vec![Secret::new("whsec_0123456789".to_owned())];
        assert_eq!(ids(&look(&config).await), Vec::<&str>::new());
        config.listen = ([0, 0, 0, 0], 5000).into();
        assert_eq!(ids(&look(&config).await), ["payments.test-mode"]);
        server.abort();
        let _ = server.await;
        assert_eq!(ids(&look(&config).await), ["payments.unreachable", "payments.test-mode"]);
    }
}
