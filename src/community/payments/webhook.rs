//! What arrives from Stripe: verified byte by byte, and written with all that it changes before it is answered.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use mundotango_gateway::problem::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::service::{Payments, noted, off};
use super::stripe::News;
use crate::community::Community;

/// Largest event that is read, in bytes. Stripe's are below 256 KiB.
const MAX_BYTES: usize = 1024 * 1024;
/// The header with the signature.
const SIGNATURE: &str = "stripe-signature";

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(receive))
}

impl Payments {
    /// Takes an event, as it came. Whatever it says is written when this returns; an error has Stripe send it again.
    pub async fn receive(&self, signature: &str, body: &[u8], now: Timestamp) -> Result<(), Problem> {
        if self.webhook.is_off() {
            return Err(off());
        }
        let read = self.webhook.read(signature, body, now);
        let News { event, about, account } =
            read.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        if let Some(account) = account {
            return self.hear_of(&account).await;
        }
        // Events of kinds that are not read are taken, or Stripe would send them again for days.
        let Some(about) = about else { return Ok(()) };
        if let Some(id) = &about.payment {
            let changed = self.store.see(id, Some(&event), about.seen.clone(), now).await?;
            if noted(changed).is_some() {
                return Ok(());
            }
        }
        Ok(self.store.park(&event, &about).await?)
    }
}

/// What Stripe says of payments. The webhook's signing secret has to be in `payments.webhook_secrets`.
#[utoipa::path(
    post, path = "/api/payments/webhook", operation_id = "receiveStripeEvent",
    tag = "payments", security(()),
    request_body(content = String, content_type = "application/json"),
    responses((status = OK), (status = BAD_REQUEST, body = Problem)),
)]
async fn receive(
    State(community): State<Arc<Community>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    if body.len() > MAX_BYTES {
        let detail = "an event has 1 MiB at most";
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    community.payments.receive(signature, &body, mundotango_storage::now()).await?;
    Ok(StatusCode::OK)
}
