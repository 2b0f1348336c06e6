//! Links in letters by which those appeal who cannot log in. The seal says which decision it is and about whom, and a decision takes
//! one appeal, in time: so no row is kept, and a link is good once.

use mundotango_gateway::tokens::{TokenError, Tokens};

/// What keeps the seals of these links apart from others.
const SEALED_AS: &str = "appeal link";
/// The page of the site that they open.
pub const PAGE: &str = "appeal-decision";

/// A link as the letter has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppealLink {
    /// The decision.
    pub decision: String,
    /// Whom it is about.
    pub user_id: String,
}

impl AppealLink {
    /// The text that goes into the link.
    pub fn sealed(&self, tokens: &Tokens) -> Result<String, TokenError> {
        let text = format!("{}~{}", self.decision, self.user_id);
        let seal = tokens.seal(SEALED_AS, &text)?;
        Ok(format!("{text}~{seal}"))
    }

    /// Reads such a text; `None` if no node has made it.
    pub fn read(tokens: &Tokens, text: &str) -> Option<Self> {
        let (sealed, seal) = text.rsplit_once('~')?;
        if !tokens.is_sealed(SEALED_AS, sealed, seal) {
            return None;
        }
        let (decision, user_id) = sealed.split_once('~')?;
        Some(Self { decision: decision.to_owned(), user_id: user_id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_a_node_sealed_is_read() {
        let tokens = Tokens::new(&[1; 32], Duration::from_mins(1));
        let link = AppealLink { decision: "0198".to_owned(), user_id: "0199".to_owned() };
        let text = link.sealed(&tokens).unwrap();
        assert_eq!(AppealLink::read(&tokens, &text), Some(link));
        for changed in [text.replace("0198~", "0197~"), text.replace("~0199~", "~0198~")] {
            assert_eq!(AppealLink::read(&tokens, &changed), None, "{changed}");
        }
        for made_up in ["", "~", "0198~0199~", "0198~0199", "0198~0199~c2VhbA"] {
            assert_eq!(AppealLink::read(&tokens, made_up), None, "{made_up}");
        }
    }
}
