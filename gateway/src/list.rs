//! Lists: which page is asked for, what the list is narrowed to, and the page that goes out.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use deserr::Deserr;
use mundotango_storage::{Page, PageRequest, PageStart};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::code::FieldCode;
use crate::input::{BadFields, Param, Parameters, Whole, unknown};
use crate::problem::{FieldError, Problem, bad_cursor};

/// Items on a page when the client does not say.
const DEFAULT_PAGE_ITEMS: usize = 20;
/// Longest cursor that is looked at, in bytes.
const MAX_CURSOR_BYTES: usize = 1024;
/// Bytes of a cursor that tell whose it is.
const MARK_BYTES: usize = 6;

/// Which page of a list: by cursor, or by number for old clients.
#[derive(Debug, Default, Deserr, utoipa::IntoParams)]
#[deserr(error = BadFields, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The `nextCursor` of the page before.
    #[deserr(default)]
    #[param(value_type = Option<String>, max_length = 1024)]
    cursor: Option<String>,
    /// Most items; 20 if absent.
    #[deserr(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<Param<Whole<1, 100>>>,
    /// The page's number, for clients without cursors: all pages before it are read as well.
    #[deserr(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 50)]
    page: Option<Param<Whole<1, 50>>>,
}

/// The names of its parameters.
const PAGE_PARAMETERS: [&str; 3] = ["cursor", "limit", "page"];

/// What a list is narrowed to where it cannot be narrowed.
#[derive(Debug, Deserr)]
#[deserr(error = BadFields, deny_unknown_fields)]
pub struct Everything {}

/// The query of a list: its filters, and the page.
#[derive(Debug)]
pub struct ListQuery<F> {
    /// What the list is narrowed to.
    pub filter: F,
    /// Which page of it.
    pub page: Paging,
}

/// A page that is asked for, of the list of one address.
#[derive(Debug)]
pub struct Paging {
    request: PageRequest,
    list: String,
}

impl Paging {
    /// The page as the stores take it.
    pub fn request(&self) -> PageRequest {
        self.request.clone()
    }

    /// The page as clients get it.
    pub fn body<T>(&self, page: Page<T>) -> PageBody<T> {
        PageBody { items: page.items, next_cursor: page.next.map(|place| seal(&self.list, &place)) }
    }

    fn read(query: PageQuery, list: &str) -> Result<Self, BadFields> {
        let limit = query.limit.map_or(DEFAULT_PAGE_ITEMS, |limit| limit.0.count());
        let start = match (query.cursor, query.page) {
            (Some(_), Some(_)) => {
                let message = "does not go together with cursor";
                return Err(FieldError::new("page", FieldCode::Contradiction, message).into());
            }
            (Some(cursor), None) => PageStart::After(unseal(list, &cursor).ok_or_else(bad_cursor)?),
            (None, Some(page)) if page.0.get() > 1 => PageStart::Skip((page.0.count() - 1) * limit),
            (None, _) => PageStart::First,
        };
        Ok(Self { request: PageRequest { start, limit }, list: list.to_owned() })
    }
}

/// Makes a cursor of a place in a list, which no other list takes.
fn seal(list: &str, place: &str) -> String {
    let mut sealed = mark(list, place).to_vec();
    sealed.extend_from_slice(place.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(sealed)
}

fn unseal(list: &str, cursor: &str) -> Option<String> {
    if cursor.len() > MAX_CURSOR_BYTES {
        return None;
    }
    let mut sealed = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let place = String::from_utf8(sealed.split_off(sealed.len().min(MARK_BYTES))).ok()?;
    (mark(list, &place)[..] == sealed).then_some(place)
}

/// Tells a list's own cursors from others. It guards against mistakes; what a cursor may reach is checked where it is used.
fn mark(list: &str, place: &str) -> [u8; MARK_BYTES] {
    let digest = Sha256::new().chain_update(list).chain_update([0]).chain_update(place).finalize();
    std::array::from_fn(|index| digest[index])
}

impl<F: Deserr<BadFields>> ListQuery<F> {
    fn read(list: &str, query: &str) -> Result<Self, BadFields> {
        let Parameters { fields, repeated } = Parameters::parse(query);
        let (page, filter): (Map<_, _>, Map<_, _>) =
            fields.into_iter().partition(|(name, _)| PAGE_PARAMETERS.contains(&name.as_str()));
        let page = deserr::deserialize::<PageQuery, _, BadFields>(Value::Object(page));
        let page = page.and_then(|page| Paging::read(page, list));
        match (deserr::deserialize::<F, _, BadFields>(Value::Object(filter)), page) {
            (Ok(filter), Ok(page)) if repeated.is_empty() => Ok(Self { filter, page }),
            (filter, page) => {
                let mut bad = BadFields::default();
                let filter = filter.err().map(BadFields::into_errors).unwrap_or_default();
                bad.extend(filter.into_iter().map(with_page_parameters));
                bad.extend(page.err().map(BadFields::into_errors).unwrap_or_default());
                bad.extend(repeated);
                Err(bad)
            }
        }
    }
}

/// A filter knows its own parameters alone.
fn with_page_parameters(error: FieldError) -> FieldError {
    if error.code != FieldCode::Unknown {
        return error;
    }
    let allowed: Vec<_> = error.allowed.iter().map(String::as_str).chain(PAGE_PARAMETERS).collect();
    unknown(error.field.clone(), &allowed)
}

impl<S, F> FromRequestParts<S> for ListQuery<F>
where
    S: Send + Sync,
    F: Deserr<BadFields>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::read(parts.uri.path(), parts.uri.query().unwrap_or_default()).map_err(Problem::from)
    }
}

/// A page of a list, as clients get it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageBody<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// What to send as `cursor` for the next page; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserr)]
    #[deserr(error = BadFields, deny_unknown_fields)]
    struct Filter {
        #[deserr(default)]
        city: Option<String>,
    }

    fn wrong(query: &str) -> Vec<String> {
        let bad = ListQuery::<Filter>::read("/api/events", query).unwrap_err().into_errors();
        bad.into_iter().map(|error| format!("{} {}", error.field, error.code.name())).collect()
    }

    #[test]
    fn all_that_is_wrong_with_a_query_is_named_at_once() {
        let all = "ctiy=Berlin&limit=0&page=51&cursor=abc";
        assert_eq!(wrong(all), ["ctiy unknown", "limit out_of_range", "page out_of_range"]);
        assert_eq!(wrong("city=a&city=b"), ["city repeated"]);
        assert_eq!(wrong("limit=x"), ["limit wrong_type"]);
        assert_eq!(wrong("cursor="), ["cursor bad_cursor"]);
        let cursor = seal("/api/events", "place");
        assert_eq!(wrong(&format!("cursor={cursor}&page=2")), ["page contradiction"]);
        let error = ListQuery::<Filter>::read("/api/events", "crsor=x").unwrap_err().into_errors().remove(0);
        assert_eq!(error.message, "unknown field `crsor`, did you mean `cursor`?");
        assert_eq!(error.allowed, ["city", "cursor", "limit", "page"]);
    }

    #[test]
    fn a_list_takes_its_own_cursors_alone() {
        for place in ["", "0192-x", "köln"] {
            let cursor = seal("/api/events", place);
            let query = ListQuery::<Filter>::read("/api/events", &format!("city=x&cursor={cursor}")).unwrap();
            assert_eq!(query.page.request().start, PageStart::After(place.to_owned()));
            assert_eq!(query.filter.city.as_deref(), Some("x"));
            assert!(unseal("/api/posts", &cursor).is_none());
        }
        for foreign in ["abc", "a", "AAAAAAAA", "%00", "0192-x"] {
            assert!(unseal("/api/events", foreign).is_none(), "{foreign}");
        }
    }
}
