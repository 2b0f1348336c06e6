//! What clients see of previews.

use serde::Serialize;
use url::Url;
use utoipa::ToSchema;

use super::preview::{Page, Preview};

/// What the page says of itself to which a post leads. It is text of somebody else's: nobody has checked that it is so.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Preview)]
pub(in crate::community) struct PreviewView {
    /// The link, as the words have it.
    url: String,
    /// The host to which the link leads, as ASCII: show it beside the title, which may claim to be of another one.
    host: String,
    /// What the page is called.
    title: String,
    /// What it is about.
    #[schema(required = true)]
    description: Option<String>,
    /// What it is a part of.
    #[schema(required = true)]
    site_name: Option<String>,
    /// Where its picture is, at `https://`.
    #[schema(required = true)]
    image_url: Option<String>,
}

impl From<Preview> for PreviewView {
    fn from(Preview { url, page }: Preview) -> Self {
        let Page { title, description, site_name, image_url } = page;
        let address = Url::parse(&url).ok();
        let host = address.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned();
        Self { url, host, title, description, site_name, image_url }
    }
}
