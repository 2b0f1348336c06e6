//! Who may read a post, as `policy.rs` is told of it.

use serde::{Deserialize, Serialize};

/// Who may read a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everybody.
    Public,
    /// The author and the author's friends.
    Friends,
    /// The author.
    Private,
}

impl Visibility {
    /// Whether this shows a post to people to whom the other does not.
    pub(super) fn is_wider_than(self, other: Self) -> bool {
        let width = |one| match one {
            Self::Private => 0,
            Self::Friends => 1,
            Self::Public => 2,
        };
        width(self) > width(other)
    }
}
