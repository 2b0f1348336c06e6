//! Refresh tokens: `<login>.<generation>.<MAC>`.
//!
//! Only nodes can make the MAC, so nobody who merely knows a login's id can pretend that a copy of its token exists, and
//! end the login by that. The successor of a token is always the same, so that whoever refreshes twice gets it twice.
//! The store keeps the hash of the newest token alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mundotango_gateway::problem::Problem;
use mundotango_gateway::tokens::Tokens;
use sha2::{Digest as _, Sha256};

/// What keeps the MACs of refresh tokens apart from others.
const PURPOSE: &str = "refresh token";

/// A refresh token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RefreshToken {
    login_id: String,
    /// How many tokens the login had before; absent for tokens of earlier versions, which had random secrets.
    generation: Option<u64>,
    /// What follows the login's id.
    secret: String,
}

impl RefreshToken {
    /// The first token of a login.
    pub(super) fn first(tokens: &Tokens, login_id: String) -> Result<Self, Problem> {
        Self::new(tokens, login_id, 0)
    }

    fn new(tokens: &Tokens, login_id: String, generation: u64) -> Result<Self, Problem> {
        let sealed = format!("{login_id}.{generation}");
        let seal = tokens.seal(PURPOSE, &sealed).map_err(|error| Problem::internal(&error))?;
        Ok(Self { login_id, generation: Some(generation), secret: format!("{generation}.{seal}") })
    }

    /// Reads a client's text; `None` if no node has made it.
    pub(super) fn parse(tokens: &Tokens, text: &str) -> Option<Self> {
        let (login_id, secret) = text.split_once('.')?;
        let generation = match secret.split_once('.') {
            None => None,
            Some((generation, seal))
                if tokens.is_sealed(PURPOSE, &format!("{login_id}.{generation}"), seal) =>
            {
                Some(generation.parse().ok()?)
            }
            Some(_) => return None,
        };
        Some(Self { login_id: login_id.to_owned(), generation, secret: secret.to_owned() })
    }

    /// The token that replaces this one.
    pub(super) fn successor(&self, tokens: &Tokens) -> Result<Self, Problem> {
        let generation = self.generation.map_or(0, |generation| generation.saturating_add(1));
        Self::new(tokens, self.login_id.clone(), generation)
    }

    /// Whether a node has surely made the token.
    pub(super) fn is_genuine(&self) -> bool {
        self.generation.is_some()
    }

    /// The login that the token refreshes.
    pub(super) fn login_id(&self) -> &str {
        &self.login_id
    }

    pub(super) fn text(&self) -> String {
        format!("{}.{}", self.login_id, self.secret)
    }

    /// SHA-256 is enough: the secret has 256 bits that nobody can guess.
    pub(super) fn hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.secret.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_a_node_made_is_genuine() {
        let tokens = Tokens::new(&[1; 32], Duration::from_mins(1));
        let first = RefreshToken::first(&tokens, "login".to_owned()).unwrap();
        let read = RefreshToken::parse(&tokens, &first.text()).unwrap();
        assert_eq!(read, first);
        let second = read.successor(&tokens).unwrap();
        assert_eq!(second, first.successor(&tokens).unwrap(), "the same however often");
        assert_ne!(second.hash(), first.hash());

        let other_login = first.text().replace("login", "nigol");
        let other_generation = first.text().replace(".0.", ".1.");
        let elsewhere = Tokens::new(&[2; 32], Duration::from_mins(1));
        let foreign = RefreshToken::first(&elsewhere, "login".to_owned()).unwrap().text();
        for text in ["", ".", "login", "login.0.", "login..", &other_login, &other_generation, &foreign] {
            assert!(RefreshToken::parse(&tokens, text).is_none_or(|token| !token.is_genuine()), "{text}");
        }
    }

    #[test]
    fn tokens_of_earlier_versions_are_traded_but_not_trusted() {
        let tokens = Tokens::new(&[1; 32], Duration::from_mins(1));
        let old = RefreshToken::parse(&tokens, "login.cmFuZG9t").unwrap();
        assert!(!old.is_genuine());
        assert_eq!(
            old.successor(&tokens).unwrap(),
            RefreshToken::first(&tokens, "login".to_owned()).unwrap()
        );
    }
}
