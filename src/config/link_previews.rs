//! The `[link_previews]` section.

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

/// The `[link_previews]` section: whether the node looks at links of public posts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct LinkPreviewOptions {
    /// Whether the node fetches the pages to which public posts lead, to show what they say of themselves.
    pub enabled: bool,
    /// Whether these pages may lie at any port and in private networks. For development alone: with it, users can make the node
    /// send requests into its own network.
    pub private_addresses: bool,
}

impl Default for LinkPreviewOptions {
    fn default() -> Self {
        Self { enabled: true, private_addresses: false }
    }
}
