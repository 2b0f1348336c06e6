//! Who sends, in the form of APNs: "Establishing a token-based connection to APNs" in Apple's documentation.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use serde::Serialize;

use crate::error::{PushError, SetupError};

/// How long a token is used: Apple refuses one after an hour, and new ones more often than each 20 minutes.
const LIFE: Duration = Duration::from_mins(40);
/// A token that is refused is replaced at most this often.
const BETWEEN_REJECTIONS: Duration = Duration::from_mins(20);
const OPTION: &str = "push.apns.key";

/// One token for all pushes.
pub(super) struct ProviderTokens {
    key: EncodingKey,
    key_id: String,
    team_id: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The token, and when it was made.
    token: Option<(Arc<str>, Timestamp)>,
    rejected: Option<Timestamp>,
}

impl ProviderTokens {
    /// `pem` is the text of a .p8 file.
    pub(super) fn new(pem: &str, key_id: &str, team_id: &str) -> Result<Self, SetupError> {
        let failed = |why: &str| SetupError::Value { option: OPTION, why: why.to_owned() };
        let key =
            EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|_| failed("must be a P-256 key in PEM"))?;
        let tokens =
            Self { key, key_id: key_id.to_owned(), team_id: team_id.to_owned(), state: Mutex::default() };
        tokens.sign(Timestamp::now()).map_err(|_| failed("must be a P-256 key in PEM"))?;
        Ok(tokens)
    }

    /// The token in use, or another one.
    pub(super) fn get(&self, now: Timestamp) -> Result<Arc<str>, PushError> {
        let mut state = self.state.lock();
        if let Some((token, made)) = &state.token
            && since(*made, now).is_some_and(|age| age < LIFE)
        {
            return Ok(Arc::clone(token));
        }
        let token: Arc<str> = self
            .sign(now)
            .map_err(|error| PushError::provider(format!("a token for APNs cannot be signed: {error}")))?
            .into();
        state.token = Some((Arc::clone(&token), now));
        Ok(token)
    }

    /// Drops a token that was refused. Returns whether another one may be tried: not twice in 20 minutes,
    /// since a clock that is wrong makes wrong tokens only.
    pub(super) fn reject(&self, token: &Arc<str>, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        if state.token.as_ref().is_none_or(|(current, _)| current != token) {
            return true;
        }
        let last = state.rejected.and_then(|rejected| since(rejected, now));
        if last.is_some_and(|last| last < BETWEEN_REJECTIONS) {
            return false;
        }
        state.token = None;
        state.rejected = Some(now);
        true
    }

    fn sign(&self, now: Timestamp) -> Result<String, jsonwebtoken::errors::Error> {
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            iat: i64,
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        encode(&header, &Claims { iss: &self.team_id, iat: now.as_second() }, &self.key)
    }
}

/// The time since a moment. `None`: the clock was set back.
fn since(then: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(now.duration_since(then)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + 60 * minute).unwrap()
    }

    fn tokens() -> ProviderTokens {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        ProviderTokens::new(&pem, "KEYKEYKEY1", "TEAMTEAM01").unwrap()
    }

    #[test]
    fn t40_one_token_serves_forty_minutes() {
        let tokens = tokens();
        let first = tokens.get(at(0)).unwrap();
        assert_eq!(tokens.get(at(39)).unwrap(), first);
        let second = tokens.get(at(40)).unwrap();
        assert_ne!(second, first);
        assert_ne!(tokens.get(at(39)).unwrap(), second, "a clock that was set back");
    }

    #[test]
    fn t40_a_refused_token_is_replaced_once_in_twenty_minutes() {
        let tokens = tokens();
        let first = tokens.get(at(0)).unwrap();
        assert!(tokens.reject(&first, at(1)));
        let second = tokens.get(at(1)).unwrap();
        assert_ne!(second, first);
        assert!(tokens.reject(&first, at(1)), "another push has replaced it already");
        assert_eq!(tokens.get(at(1)).unwrap(), second);
        assert!(!tokens.reject(&second, at(20)));
        assert_eq!(tokens.get(at(20)).unwrap(), second);
        assert!(tokens.reject(&second, at(21)));
    }

    #[test]
    fn a_key_of_another_kind_is_refused_without_being_shown() {
        for pem in ["hidden", "-----BEGIN PRIVATE KEY-----\naGlkZGVu\n-----END PRIVATE KEY-----\n"] {
            let Err(error) = ProviderTokens::new(pem, "KEYKEYKEY1", "TEAMTEAM01") else { panic!("{pem}") };
            assert_eq!(error.to_string(), "push.apns.key: must be a P-256 key in PEM");
        }
    }
}
