//! What a token says once its signature was verified, read claim by claim (RFC 7519).

use std::collections::BTreeMap;

use mundotango_actors::SubscriptionOverride;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::jwt::{Flaw, TokenError, shown};

/// How far the clocks of issuers may be ahead, in seconds.
const CLOCK_LEEWAY: u64 = 30;
/// The end of the year 9999, in Unix seconds. A time past it is a mistake, most often milliseconds.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// What a token says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Claims {
    /// The user's id; empty for an anonymous connection.
    pub sub: String,
    /// When the token stops to be good, in Unix seconds; absent for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
    /// When the token was issued, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// The token's own id, by which it can be revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The user's role, which the application alone understands; read from the node's own tokens alone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// The login that the token came from; read from the node's own tokens alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// What other clients may know of the user: the session's `conn_info`, or the subscription's `chan_info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<Box<RawValue>>,
    /// The same in base 64; counts before `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b64info: Option<String>,
    /// What only the server knows of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Box<RawValue>>,
    /// When the connection or subscription expires, in Unix seconds, if not with the token; 0 for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<u64>,
    /// Channels that the server subscribes the session to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// The same, each with how; counts before `channels`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subs: Option<BTreeMap<String, SubscriptionClaim>>,
    /// The channel of a subscription token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The only session that a subscription token is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Options of the channel that the subscription of a subscription token has otherwise.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub change: Option<SubscriptionOverride>,
}

impl Claims {
    /// When what the token opens expires, in Unix seconds.
    pub fn expires_at(&self) -> Option<u64> {
        match self.expire_at {
            None => self.exp,
            Some(at) => Some(at).filter(|at| *at > 0),
        }
    }
}

/// How the server subscribes a session to one channel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscriptionClaim {
    /// The subscription's `chan_info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<Box<RawValue>>,
    /// The same in base 64; counts before `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b64info: Option<String>,
    /// The application's own data for the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The same in base 64; counts before `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b64data: Option<String>,
    /// Options of the channel that this subscription has otherwise.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub change: Option<SubscriptionOverride>,
}

/// Whose key signed a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signer {
    /// This node, or another of its cluster.
    Node,
    /// The application's backend, or its identity provider. What their claims of a role or a login mean is not known
    /// here, so those are never read.
    Application,
}

/// What the tokens of an application must say of where they come from and whom they are for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) audience: Option<String>,
    pub(super) issuer: Option<String>,
}

/// A token's claims by name, none of them read yet. Claims that nobody asks for may hold anything.
pub(super) struct ClaimSet<'a>(BTreeMap<String, &'a RawValue>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl<'a> ClaimSet<'a> {
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, Flaw> {
        serde_json::from_slice(payload)
            .map(Self)
            .map_err(|_| Flaw::Malformed("the payload is not a JSON object"))
    }

    /// A claim; `null` is absent.
    fn claim<T: DeserializeOwned>(&self, name: &'static str, wanted: &str) -> Result<Option<T>, Flaw> {
        let Some(raw) = self.0.get(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|_| Flaw::claim(name, format!("must be {wanted}")))
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, Flaw> {
        self.claim(name, "a text")
    }

    /// A NumericDate, which may have a fraction (RFC 7519, 2).
    fn time(&self, name: &'static str) -> Result<Option<u64>, Flaw> {
        let Some(seconds) = self.claim::<f64>(name, "a number of seconds")? else { return Ok(None) };
        if !(0.0..=LAST_SECOND).contains(&seconds) {
            return Err(Flaw::claim(name, "must be in seconds, from 1970 to the year 9999"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "its range was looked at"
        )]
        let whole = seconds as u64;
        Ok(Some(whole))
    }

    /// Refuses tokens of another issuer and for another audience.
    fn check_origin(&self, wanted: &Wanted) -> Result<(), Flaw> {
        if let Some(issuer) = &wanted.issuer {
            let given = self.text("iss")?.ok_or_else(|| missing("iss", "auth.token.issuer"))?;
            if given != *issuer {
                return Err(Flaw::claim("iss", format!("{} is not auth.token.issuer", shown(&given))));
            }
        }
        if let Some(audience) = &wanted.audience {
            let given = self.claim("aud", "a text or a list of texts")?;
            let given = match given.ok_or_else(|| missing("aud", "auth.token.audience"))? {
                OneOrMany::One(one) => vec![one],
                OneOrMany::Many(many) => many,
            };
            if !given.contains(audience) {
                let given: Vec<_> = given.iter().take(4).map(|given| shown(given)).collect();
                return Err(Flaw::claim(
                    "aud",
                    format!("{} does not hold auth.token.audience", given.join(", ")),
                ));
            }
        }
        Ok(())
    }

    /// Reads what the signer may say, and refuses what is not good at `now`.
    pub(super) fn claims(&self, signer: Signer, wanted: &Wanted, now: u64) -> Result<Claims, TokenError> {
        if signer == Signer::Application {
            self.check_origin(wanted)?;
        }
        let claims = Claims {
            sub: self.text("sub")?.unwrap_or_default(),
            exp: self.time("exp")?,
            iat: self.time("iat")?,
            jti: self.text("jti")?,
            role: match signer {
                Signer::Node => self.text("role")?.unwrap_or_default(),
                Signer::Application => String::new(),
            },
            sid: match signer {
                Signer::Node => self.text("sid")?,
                Signer::Application => None,
            },
            info: self.claim("info", "JSON")?,
            b64info: self.text("b64info")?,
            meta: self.claim("meta", "JSON")?,
            expire_at: self.time("expire_at")?,
            channels: self.claim("channels", "a list of texts")?.unwrap_or_default(),
            subs: self.claim("subs", "an object with an object for each channel")?,
            channel: self.text("channel")?,
            client: self.text("client")?,
            change: self.claim("override", "an object of options")?,
        };
        if self.time("nbf")?.is_some_and(|from| from > now + CLOCK_LEEWAY) {
            return Err(TokenError::NotYetValid);
        }
        // No leeway here: it would let a session outlive the `ttl` that its client was told.
        if claims.exp.is_some_and(|until| until < now) {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }
}

fn missing(name: &'static str, option: &str) -> Flaw {
    Flaw::claim(name, format!("is missing, and {option} wants it"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn read(claims: &serde_json::Value) -> Result<Claims, TokenError> {
        let payload = claims.to_string();
        ClaimSet::read(payload.as_bytes())?.claims(Signer::Application, &Wanted::default(), NOW)
    }

    #[test]
    fn dates_are_numbers_with_or_without_a_fraction() {
        // Source: dunglas/mercure#404.
        let claims = read(&json!({"exp": 1_890_000_000.5, "iat": 1_799_999_999.9, "nbf": 0.25})).unwrap();
        assert_eq!((claims.exp, claims.iat), (Some(1_890_000_000), Some(1_799_999_999)));
        assert_eq!(read(&json!({"exp": null})).unwrap().exp, None);
        assert_eq!(read(&json!({"exp": 0})).unwrap_err(), TokenError::Expired);
        assert_eq!(read(&json!({"exp": NOW - 1})).unwrap_err(), TokenError::Expired);
    }

    #[test]
    fn odd_and_far_off_dates_are_refused_by_name() {
        for name in ["exp", "nbf", "iat", "expire_at"] {
            for odd in [
                json!("1890000000"),
                json!(-1),
                json!(1_890_000_000_000_u64),
                json!(u64::MAX),
                json!(1e300),
                json!([1]),
                json!(true),
            ] {
                let refusal = read(&json!({name: odd})).unwrap_err();
                let TokenError::Invalid(Flaw::Claim { name: named, .. }) = refusal else {
                    panic!("{refusal:?}")
                };
                assert_eq!(named, name, "{odd}");
            }
        }
    }

    #[test]
    fn a_clock_that_is_ahead_is_no_reason_to_give_up() {
        // Source: surrealdb/surrealdb#7491.
        assert!(read(&json!({"nbf": NOW + 2})).is_ok());
        assert_eq!(read(&json!({"nbf": NOW + 3600})).unwrap_err(), TokenError::NotYetValid);
    }

    #[test]
    fn a_connection_may_outlive_its_token() {
        let expires = |exp, expire_at| Claims { exp, expire_at, ..Claims::default() }.expires_at();
        assert_eq!(expires(Some(5), None), Some(5));
        assert_eq!(expires(Some(5), Some(9)), Some(9));
        assert_eq!(expires(Some(5), Some(0)), None);
        assert_eq!(expires(None, None), None);
    }

    #[test]
    fn what_only_nodes_may_say_is_not_even_read_in_foreign_tokens() {
        // Source: supabase/supabase-js#1770.
        let payload = json!({"sub": "42", "role": "authenticated", "sid": 7}).to_string();
        let set = ClaimSet::read(payload.as_bytes()).unwrap();
        let claims = set.claims(Signer::Application, &Wanted::default(), NOW).unwrap();
        assert_eq!((claims.role.as_str(), claims.sid), ("", None));
        assert!(set.claims(Signer::Node, &Wanted::default(), NOW).is_err());
    }
}
