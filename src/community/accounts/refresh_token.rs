//! Refresh tokens: `<user>.<login>.<generation>.<MAC>`.
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

/// A refresh token that a node made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RefreshToken {
    user_id: String,
    login_id: String,
    /// How many tokens the login had before.
    generation: u64,
    seal: String,
}

impl RefreshToken {
    /// The first token of a login.
    pub(super) fn first(tokens: &Tokens, user_id: String, login_id: String) -> Result<Self, Problem> {
        Self::new(tokens, user_id, login_id, 0)
    }

    fn new(tokens: &Tokens, user_id: String, login_id: String, generation: u64) -> Result<Self, Problem> {
        let sealed = format!("{user_id}.{login_id}.{generation}");
        let seal = tokens.seal(PURPOSE, &sealed).map_err(|error| Problem::internal(&error))?;
        Ok(Self { user_id, login_id, generation, seal })
    }

    /// Reads a client's text; `None` if no node has made it.
    pub(super) fn parse(tokens: &Tokens, text: &str) -> Option<Self> {
        let (sealed, seal) = text.rsplit_once('.')?;
        let mut parts = sealed.split('.');
        let (user_id, login_id, generation) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || !tokens.is_sealed(PURPOSE, sealed, seal) {
            return None;
        }
        Some(Self {
            user_id: user_id.to_owned(),
            login_id: login_id.to_owned(),
            generation: generation.parse().ok()?,
            seal: seal.to_owned(),
        })
    }

    /// The token that replaces this one.
    pub(super) fn successor(&self, tokens: &Tokens) -> Result<Self, Problem> {
        Self::new(tokens, self.user_id.clone(), self.login_id.clone(), self.generation.saturating_add(1))
    }

    /// The user who logged in.
    pub(super) fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The login that the token refreshes.
    pub(super) fn login_id(&self) -> &str {
        &self.login_id
    }

    pub(super) fn text(&self) -> String {
        format!("{}.{}.{}.{}", self.user_id, self.login_id, self.generation, self.seal)
    }

    /// SHA-256 is enough: the seal has 256 bits that nobody can guess.
    pub(super) fn hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{}.{}", self.generation, self.seal)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_a_node_made_is_read() {
        let tokens = Tokens::new(&[1; 32], Duration::from_mins(1));
        let first = RefreshToken::first(&tokens, "user".to_owned(), "login".to_owned()).unwrap();
        let read = RefreshToken::parse(&tokens, &first.text()).unwrap();
        assert_eq!(read, first);
        let second = read.successor(&tokens).unwrap();
        assert_eq!(second, first.successor(&tokens).unwrap(), "the same however often");
        assert_ne!(second.hash(), first.hash());

        let text = first.text();
        let other_user = text.replace("user", "resu");
        let other_login = text.replace("login", "nigol");
        let other_generation = text.replace(".0.", ".1.");
        let shifted = text.replace("user.login", "user.log.in");
        let elsewhere = Tokens::new(&[2; 32], Duration::from_mins(1));
        let foreign = RefreshToken::first(&elsewhere, "user".to_owned(), "login".to_owned()).unwrap().text();
        let made_up = ["", ".", "login", "user.login.0.", "user.login..", "login.cmFuZG9t"];
        let changed = [&other_user, &other_login, &other_generation, &shifted, &foreign].map(String::as_str);
        for text in made_up.into_iter().chain(changed) {
            assert_eq!(RefreshToken::parse(&tokens, text), None, "{text}");
        }
    }
}
