//! Stripe: what is asked of it and what it says, in the few words that payments need. It knows nothing of what is paid for.

mod amount;
mod api;
mod objects;
mod seen;
mod signature;

use jiff::Timestamp;
use mundotango_ops::Secret;

use self::amount::to_stripe;
pub use self::amount::{from_stripe, tellable};
pub use self::api::StripeError;
use self::api::{Api, Call, Form};
pub use self::objects::{About, Link, News};
use self::objects::{Account, Dispute, Intent, List, PAYEE, PAYMENT, REFUND, Refund, Session, read_event};
pub use self::seen::{
    DisputeStatus, RefundStatus, Seen, SeenAccount, SeenDispute, SeenRefund, SeenSession, SessionStatus,
};
pub use self::signature::SignatureError;
use self::signature::WebhookKeys;
use crate::community::money::Money;

/// Most refunds or disputes of one payment that are asked for.
const MOST_LISTED: &str = "100";

/// A page to pay on that is to be made.
#[derive(Clone, Debug)]
pub struct NewSession<'a> {
    /// The id of the payment.
    pub payment: &'a str,
    /// What makes up the total: what it is, the price of one, and how many.
    pub lines: Vec<(&'a str, Money, u32)>,
    /// Where who has paid comes back to.
    pub success_url: String,
    /// Where who has not comes back to.
    pub cancel_url: String,
    /// Until when can be paid.
    pub expires_at: Timestamp,
    /// The connected account that the money goes on to, and the platform's share.
    pub connected: Option<(&'a str, Money)>,
}

/// Money that is to go back.
#[derive(Clone, Debug)]
pub struct NewRefund<'a> {
    /// The id of the payment.
    pub payment: &'a str,
    /// The id of the refund.
    pub refund: &'a str,
    /// How often Stripe has refused it for want of money: it keeps that under the key, so the next try has another one.
    pub tries: u32,
    /// The payment intent.
    pub intent: &'a str,
    /// How much; all that is left without it.
    pub amount: Option<Money>,
    /// Whether it comes from a connected account.
    pub is_connected: bool,
    /// Whether the platform took a share of the payment, of which a part goes back as well. Stripe refuses to give back of one
    /// that there is not.
    pub has_share: bool,
}

/// An account at Stripe.
pub struct Stripe {
    api: Api,
}

impl Stripe {
    /// Prepares calls; nothing is connected yet.
    pub fn new(key: &Secret, api_url: &str) -> anyhow::Result<Self> {
        Ok(Self { api: Api::new(key, api_url)? })
    }

    /// Makes a page to pay on. The same payment has one, however often this is asked for.
    pub async fn create_session(&self, new: &NewSession<'_>) -> Result<SeenSession, StripeError> {
        let mut form = Form::default()
            .with("mode", "payment")
            .with("client_reference_id", new.payment)
            .with(format!("metadata[{PAYMENT}]"), new.payment)
            .with(format!("payment_intent_data[metadata][{PAYMENT}]"), new.payment)
            .with("success_url", &*new.success_url)
            .with("cancel_url", &*new.cancel_url)
            .with("expires_at", new.expires_at.as_second().to_string())
            // The amount and its currency are those of the quote, also for payers from elsewhere.
            .with("adaptive_pricing[enabled]", "false");
        for (place, (name, price, quantity)) in new.lines.iter().enumerate() {
            let of = |field: &str| format!("line_items[{place}]{field}");
            form = form
                .with(of("[quantity]"), quantity.to_string())
                .with(of("[price_data][currency]"), price.currency.code().to_lowercase())
                .with(of("[price_data][unit_amount]"), told(*price)?)
                .with(of("[price_data][product_data][name]"), *name);
        }
        if let Some((account, share)) = new.connected {
            form = form.with("payment_intent_data[transfer_data][destination]", account);
            if share.minor > 0 {
                form = form.with("payment_intent_data[application_fee_amount]", told(share)?);
            }
        }
        let call = Call::Do { form, key: &format!("{}.session", new.payment) };
        Ok(self.api.call::<Session>(&["checkout", "sessions"], call).await?.seen(false))
    }

    /// How a session is.
    pub async fn session(&self, id: &str) -> Result<SeenSession, StripeError> {
        let call = Call::Read(Form::default().with("expand[]", "payment_intent"));
        Ok(self.api.call::<Session>(&["checkout", "sessions", id], call).await?.seen(false))
    }

    /// Ends a session on which nobody has paid; one on which somebody has is refused.
    pub async fn expire_session(&self, payment: &str, id: &str) -> Result<SeenSession, StripeError> {
        let call = Call::Do { form: Form::default(), key: &format!("{payment}.expire") };
        Ok(self.api.call::<Session>(&["checkout", "sessions", id, "expire"], call).await?.seen(false))
    }

    /// Sends money back, once for the refund's id.
    pub async fn create_refund(&self, new: &NewRefund<'_>) -> Result<SeenRefund, StripeError> {
        let mut form = Form::default()
            .with("payment_intent", new.intent)
            .with(format!("metadata[{PAYMENT}]"), new.payment)
            .with(format!("metadata[{REFUND}]"), new.refund);
        if let Some(amount) = new.amount {
            form = form.with("amount", told(amount)?);
        }
        if new.is_connected {
            form = form.with("reverse_transfer", "true");
            if new.has_share {
                form = form.with("refund_application_fee", "true");
            }
        }
        let mut key = format!("{}.refund.{}", new.payment, new.refund);
        if new.tries > 0 {
            key = format!("{key}.{}", new.tries);
        }
        let call = Call::Do { form, key: &key };
        Ok(self.api.call::<Refund>(&["refunds"], call).await?.seen())
    }

    /// The refunds of a payment intent, whoever made them.
    pub async fn refunds_of(&self, intent: &str) -> Result<Vec<SeenRefund>, StripeError> {
        let refunds: List<Refund> = self.api.call(&["refunds"], Self::of_intent(intent)).await?;
        Ok(refunds.data.iter().map(Refund::seen).collect())
    }

    /// The disputes about a payment intent.
    pub async fn disputes_of(&self, intent: &str) -> Result<Vec<SeenDispute>, StripeError> {
        let disputes: List<Dispute> = self.api.call(&["disputes"], Self::of_intent(intent)).await?;
        Ok(disputes.data.iter().map(Dispute::seen).collect())
    }

    /// The payment that a payment intent is of; `None` for those of other programs.
    pub async fn payment_of(&self, intent: &str) -> Result<Option<String>, StripeError> {
        let call = Call::Read(Form::default());
        Ok(self.api.call::<Intent>(&["payment_intents", intent], call).await?.payment())
    }

    /// Makes an account for a payee who had so many before, once for that number.
    pub async fn create_account(&self, user_id: &str, before: u32) -> Result<SeenAccount, StripeError> {
        let form = Form::default()
            .with("type", "express")
            .with("capabilities[card_payments][requested]", "true")
            .with("capabilities[transfers][requested]", "true")
            .with(format!("metadata[{PAYEE}]"), user_id);
        let call = Call::Do { form, key: &format!("payee.{user_id}.{before}") };
        Ok(self.api.call::<Account>(&["accounts"], call).await?.seen())
    }

    /// How an account is; refused where it is closed or cut off.
    pub async fn account(&self, id: &str) -> Result<SeenAccount, StripeError> {
        let call = Call::Read(Form::default());
        Ok(self.api.call::<Account>(&["accounts", id], call).await?.seen())
    }

    /// A page on which a payee says what is due. Each opens once, so each has a key of its own.
    pub async fn account_link(
        &self,
        account: &str,
        again: &str,
        done: &str,
        key: &str,
    ) -> Result<Link, StripeError> {
        let form = Form::default()
            .with("account", account)
            .with("refresh_url", again)
            .with("return_url", done)
            .with("type", "account_onboarding");
        self.api.call(&["account_links"], Call::Do { form, key }).await
    }

    /// A page on which a payee sees the money; likewise.
    pub async fn login_link(&self, account: &str, key: &str) -> Result<String, StripeError> {
        let call = Call::Do { form: Form::default(), key };
        Ok(self.api.call::<Link>(&["accounts", account, "login_links"], call).await?.url)
    }

    fn of_intent(intent: &str) -> Call<'static> {
        Call::Read(Form::default().with("payment_intent", intent).with("limit", MOST_LISTED))
    }
}

/// An amount as Stripe is told it.
fn told(money: Money) -> Result<String, StripeError> {
    let refused = || StripeError::Refused {
        status: 0,
        code: "amount_not_of_the_currency".to_owned(),
        message: format!("{} cannot be paid: Stripe knows fewer decimals of it", money.display()),
    };
    to_stripe(money).map(|amount| amount.to_string()).ok_or_else(refused)
}

/// What arrives from Stripe.
#[derive(Clone, Debug)]
pub struct Webhook(WebhookKeys);

/// Why what arrived is not read.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It is not Stripe's.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It is no event.
    #[error("the body is no event: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl Webhook {
    /// Reads what is signed with any of these secrets.
    pub fn new(secrets: &[Secret]) -> Self {
        Self(WebhookKeys::new(secrets.iter().map(Secret::expose)))
    }

    /// Whether there is no secret.
    pub fn is_off(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies an event, byte by byte, and reads it.
    pub fn read(&self, signature: &str, body: &[u8], now: Timestamp) -> Result<News, WebhookError> {
        self.0.verify(signature, body, now)?;
        Ok(read_event(body)?)
    }
}
