//! What admins see of payments: all of them, and what they come to.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use mundotango_gateway::extract::{ListQuery, PageBody, PageQuery, Path, ValidJson, ValidQuery};
use mundotango_gateway::input::{BadFields, Choice, Maybe, Whole};
use mundotango_gateway::problem::{FieldCode, Problem};
use mundotango_gateway::{IdempotencyKey, Identity, NewId};
use mundotango_storage::now;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::{PaymentBody, PaymentDetails};
use super::ledger::Sums;
use super::quote::Purpose;
use super::service::noted;
use super::state::Status;
use super::store::SettledOtherwise;
use crate::community::Community;
use crate::community::audit::rules::Act;
use crate::community::money::Currency;
use crate::community::roles::{self, Role};
use crate::texts::Reason;

type Shared = State<Arc<Community>>;

/// Most days that are summed at once.
const MOST_DAYS: usize = 366;
/// Days up to today that are summed where nobody says which.
const USUAL_DAYS: i64 = 30;

pub(super) fn router() -> OpenApiRouter<Arc<Community>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(settle)).routes(routes!(revenue))
}

/// What is the matter with a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Matter {
    /// Money should have gone back and could not be sent.
    Owed,
}

/// Which payments.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
struct PaymentsQuery {
    /// Only those that stand so.
    #[deserr(default)]
    #[param(value_type = Option<Status>, inline)]
    status: Option<Choice<Status>>,
    /// Only those with which this is the matter.
    #[deserr(default)]
    #[param(value_type = Option<Matter>, inline)]
    state: Option<Choice<Matter>>,
}

/// What was given back by other means.
#[derive(Debug, Deserr, ToSchema)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[schema(rename_all = "camelCase", example = json!({"amount": 1250, "reason": "Paid in cash at the door: the card is closed."}))]
struct NewSettlement {
    /// In the smallest unit of the payment's currency; all that is owed if absent.
    #[deserr(default)]
    #[schema(value_type = Option<u32>, minimum = 1)]
    amount: Maybe<Whole<1, { u32::MAX }>>,
    /// How it was given back, and why so. Payer and payee see it, and the audit trail keeps it.
    reason: Reason,
}

/// All payments, the newest first; for admins. Where few stand as asked for, a page may have fewer than its limit.
#[utoipa::path(
    get, path = "/api/admin/payments", operation_id = "listAllPayments", tag = "payments",
    params(PaymentsQuery, PageQuery),
    responses(
        (status = OK, body = PageBody<PaymentBody>),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn list(
    identity: Identity,
    State(community): Shared,
    ListQuery { filter, page }: ListQuery<PaymentsQuery>,
) -> Result<Json<PageBody<PaymentBody>>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let reads = community.payments.store().reads();
    let status = filter.status.map(|status| status.0);
    let found = match filter.state {
        Some(Choice(Matter::Owed)) => reads.owed(status, page.request()).await?,
        None => reads.all(status, page.request()).await?,
    };
    Ok(Json(page.body(found.map(|payment| PaymentBody::from(&payment)))))
}

/// Note that money which could not be sent back was given back by other means; for admins. It is owed no longer.
#[utoipa::path(
    post, path = "/api/admin/payments/{id}/settle", operation_id = "settlePayment", tag = "payments",
    params(IdempotencyKey), request_body = NewSettlement,
    responses(
        (status = OK, body = PaymentDetails),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
    ),
)]
async fn settle(
    identity: Identity,
    new_id: NewId,
    State(community): Shared,
    Path(id): Path<String>,
    ValidJson(body): ValidJson<NewSettlement>,
) -> Result<Json<PaymentDetails>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let (payments, now) = (&community.payments, now());
    let payment = payments.store.reads().payment(&id).await?;
    let payer = payment.ok_or_else(|| Problem::not_found("payment"))?.facts.payer;
    let reason = body.reason.into_string();
    let act = Act::by(&identity, "payment.settled", "payment", id.as_str(), now);
    let settled = SettledOtherwise {
        id: new_id.into_text(),
        minor: body.amount.value().map(|amount| amount.get().into()),
        by: identity.user_id.clone(),
        act: act.because(Some(reason.clone())).about(&payer),
        reason,
    };
    let changed = payments.store.settle_otherwise(&id, settled, now).await?;
    let payment = noted(changed).ok_or_else(|| Problem::not_found("payment"))?;
    Ok(Json(payments.details(&payment, &identity.user_id).await?))
}

/// A day of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OnDay(Date);

impl Deserr<BadFields> for OnDay {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        at: ValuePointerRef<'_>,
    ) -> Result<Self, BadFields> {
        const WANTED: &str = "a day, such as 2026-12-04";
        let Value::String(text) = value else { return Err(BadFields::wrong_type(&value, WANTED, at)) };
        let day = text.parse().ok().filter(|day: &Date| day.to_string() == text);
        day.map(Self).ok_or_else(|| BadFields::one(at, FieldCode::BadForm, format!("must be {WANTED}")))
    }
}

impl PartialSchema for OnDay {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::String).description(Some("A day, in UTC."));
        let schema = schema.pattern(Some("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"));
        schema.min_length(Some(10)).max_length(Some(10)).examples(["2026-11-20"]).into()
    }
}

impl ToSchema for OnDay {
    fn name() -> std::borrow::Cow<'static, str> {
        "Day".into()
    }
}

/// Which days are summed.
#[derive(Debug, Deserr, IntoParams)]
#[deserr(error = BadFields, rename_all = camelCase, deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
struct RevenueQuery {
    /// From this day on; 30 days before the last one if absent.
    #[deserr(default)]
    #[param(value_type = Option<OnDay>, inline)]
    from: Option<OnDay>,
    /// Up to this day and with it; today if absent. 366 days at most.
    #[deserr(default)]
    #[param(value_type = Option<OnDay>, inline)]
    to: Option<OnDay>,
    /// Only in this currency.
    #[deserr(default)]
    #[param(value_type = Option<Currency>, inline)]
    currency: Option<Currency>,
}

impl RevenueQuery {
    fn days(&self) -> Result<Vec<Date>, Problem> {
        let out_of_range =
            |field, message: &str| Problem::invalid_field(field, FieldCode::OutOfRange, message);
        let today = now().to_zoned_datetime(TimeZone::UTC).date();
        let to = self.to.map_or(today, |to| to.0);
        let usual = to.checked_sub(USUAL_DAYS.days());
        let from = match self.from {
            Some(from) => from.0,
            None => usual.map_err(|_| out_of_range("to", "the calendar does not go so far"))?,
        };
        if from > to {
            return Err(Problem::invalid_field("to", FieldCode::Contradiction, "must not be before from"));
        }
        let days: Vec<_> = from.series(1.day()).take_while(|day| *day <= to).take(MOST_DAYS + 1).collect();
        if days.len() > MOST_DAYS {
            return Err(out_of_range("to", "must be at most 366 days later than from"));
        }
        Ok(days)
    }
}

/// What some payments come to, in the smallest unit of their currency.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RevenueSums {
    purpose: Purpose,
    currency: Currency,
    /// How many payments came.
    payments: u64,
    /// What came.
    captured: u64,
    /// What went back, less what banks did not take.
    refunded: i64,
    /// What banks took by disputes, less what they gave again.
    disputed: i64,
    /// What is left of what came: below 0 where more went back than came.
    net: i64,
    /// The platform's part of that.
    fees: i64,
}

impl RevenueSums {
    fn new(purpose: Purpose, currency: Currency, sums: &Sums) -> Self {
        Self {
            purpose,
            currency,
            payments: sums.payments,
            captured: sums.captured,
            refunded: sums.net_refunded(),
            disputed: sums.net_disputed(),
            net: sums.net(),
            fees: sums.net_fees(),
        }
    }
}

/// What a day comes to.
#[derive(Debug, Serialize, ToSchema)]
struct RevenueOfDay {
    /// In UTC.
    day: String,
    #[serde(flatten)]
    sums: RevenueSums,
}

/// What some days come to.
#[derive(Debug, Serialize, ToSchema)]
struct Revenue {
    /// The first day.
    from: String,
    /// The last day.
    to: String,
    /// What all days come to, by purpose and currency.
    totals: Vec<RevenueSums>,
    /// What each day comes to on which money moved, by purpose and currency.
    days: Vec<RevenueOfDay>,
}

/// What payments come to, by day; for admins. Refunds and disputes count on the day on which they were seen.
#[utoipa::path(
    get, path = "/api/admin/revenue", operation_id = "getRevenue", tag = "payments",
    params(RevenueQuery),
    responses(
        (status = OK, body = Revenue),
        (status = BAD_REQUEST, body = Problem),
        (status = FORBIDDEN, body = Problem),
    ),
)]
async fn revenue(
    identity: Identity,
    State(community): Shared,
    ValidQuery(query): ValidQuery<RevenueQuery>,
) -> Result<Json<Revenue>, Problem> {
    roles::require(&identity, Role::Admin)?;
    let days = query.days()?;
    let mut found = community.payments.ledger().days(&days).await?;
    found.retain(|one| query.currency.is_none_or(|currency| currency == one.currency));
    let mut totals: BTreeMap<_, Sums> = BTreeMap::new();
    for one in &found {
        totals.entry((one.purpose, one.currency)).or_default().add(&one.sums);
    }
    let totals = totals.iter().map(|((purpose, currency), sums)| RevenueSums::new(*purpose, *currency, sums));
    let of_day = found.iter().map(|one| RevenueOfDay {
        day: one.day.to_string(),
        sums: RevenueSums::new(one.purpose, one.currency, &one.sums),
    });
    let shown = |day: Option<&Date>| day.map(Date::to_string).unwrap_or_default();
    Ok(Json(Revenue {
        from: shown(days.first()),
        to: shown(days.last()),
        totals: totals.collect(),
        days: of_day.collect(),
    }))
}
