//! Lists: which page is asked for, what the list is narrowed to, and the page that goes out.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use deserr::Deserr;
use mundotango_storage::{Page, PageRequest, PageStart};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::code::FieldCode;
use crate::cursors::Cursors;
use crate::input::{BadFields, Param, Parameters, Whole, unknown};
use crate::problem::{FieldError, Problem, bad_cursor};

/// Items on a page when the client does not say.
const DEFAULT_PAGE_ITEMS: usize = 20;

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
    cursors: Cursors,
}

impl Paging {
    /// The page as the stores take it.
    pub fn request(&self) -> PageRequest {
        self.request.clone()
    }

    /// The page as clients get it.
    pub fn body<T>(&self, page: Page<T>) -> PageBody<T> {
        PageBody {
            items: page.items,
            next_cursor: page.next.and_then(|place| self.cursors.seal(&self.list, &place)),
        }
    }

    /// Seals a place of the list that is no page's end, as clients get it: they may not see what is there.
    pub fn seal_mark(&self, place: &str) -> Option<String> {
        self.cursors.seal(&self.marks(), place)
    }

    /// The place of such a mark; `None` of what this list did not give.
    pub fn open_mark(&self, mark: &str) -> Option<String> {
        self.cursors.open(&self.marks(), mark)
    }

    /// The name of the list that marks belong to: no address has a blank.
    fn marks(&self) -> String {
        format!("{} marks", self.list)
    }

    fn read(query: PageQuery, list: &str, cursors: &Cursors) -> Result<Self, BadFields> {
        let limit = query.limit.map_or(DEFAULT_PAGE_ITEMS, |limit| limit.0.count());
        let start = match (query.cursor, query.page) {
            (Some(_), Some(_)) => {
                let message = "does not go together with cursor";
                return Err(FieldError::new("page", FieldCode::Contradiction, message).into());
            }
            (Some(cursor), None) => PageStart::After(cursors.open(list, &cursor).ok_or_else(bad_cursor)?),
            (None, Some(page)) if page.0.get() > 1 => PageStart::Skip((page.0.count() - 1) * limit),
            (None, _) => PageStart::First,
        };
        Ok(Self { request: PageRequest { start, limit }, list: list.to_owned(), cursors: cursors.clone() })
    }
}

impl<F: Deserr<BadFields>> ListQuery<F> {
    fn read(list: &str, query: &str, cursors: &Cursors) -> Result<Self, BadFields> {
        let Parameters { fields, repeated } = Parameters::parse(query);
        let (page, filter): (Map<_, _>, Map<_, _>) =
            fields.into_iter().partition(|(name, _)| PAGE_PARAMETERS.contains(&name.as_str()));
        let page = deserr::deserialize::<PageQuery, _, BadFields>(Value::Object(page));
        let page = page.and_then(|page| Paging::read(page, list, cursors));
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
        let Some(cursors) = parts.extensions.get::<Cursors>() else {
            return Err(Problem::internal(&"a list is asked for behind no gateway"));
        };
        let query = parts.uri.query().unwrap_or_default();
        Self::read(parts.uri.path(), query, cursors).map_err(Problem::from)
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
    use crate::cursors::tests::cursors;

    const SECRET: &str = "a secret of the test";

    fn read(query: &str) -> Result<ListQuery<Filter>, BadFields> {
        ListQuery::read("/api/events", query, &cursors(SECRET))
    }

    #[derive(Debug, Deserr)]
    #[deserr(error = BadFields, deny_unknown_fields)]
    struct Filter {
        #[deserr(default)]
        city: Option<String>,
    }

    fn wrong(query: &str) -> Vec<String> {
        let bad = read(query).unwrap_err().into_errors();
        bad.into_iter().map(|error| format!("{} {}", error.field, error.code.name())).collect()
    }

    #[test]
    fn all_that_is_wrong_with_a_query_is_named_at_once() {
        let all = "ctiy=Berlin&limit=0&page=51&cursor=abc";
        assert_eq!(wrong(all), ["ctiy unknown", "limit out_of_range", "page out_of_range"]);
        assert_eq!(wrong("city=a&city=b"), ["city repeated"]);
        assert_eq!(wrong("limit=x"), ["limit wrong_type"]);
        assert_eq!(wrong("cursor="), ["cursor bad_cursor"]);
        let cursor = cursors(SECRET).seal("/api/events", "place").unwrap();
        assert_eq!(wrong(&format!("cursor={cursor}&page=2")), ["page contradiction"]);
        let error = read("crsor=x").unwrap_err().into_errors().remove(0);
        assert_eq!(error.message, "unknown field `crsor`, did you mean `cursor`?");
        assert_eq!(error.allowed, ["city", "cursor", "limit", "page"]);
    }

    #[test]
    fn a_list_takes_its_own_cursors_alone() {
        let cursors = cursors(SECRET);
        for place in ["", "0192-x", "köln"] {
            let cursor = cursors.seal("/api/events", place).unwrap();
            let query = read(&format!("city=x&cursor={cursor}")).unwrap();
            assert_eq!(query.page.request().start, PageStart::After(place.to_owned()));
            assert_eq!(query.filter.city.as_deref(), Some("x"));
            let page = query.page.body(Page { items: vec![1], next: Some(place.to_owned()) });
            assert_eq!(page.next_cursor, Some(cursor));
            let mark = query.page.seal_mark(place).unwrap();
            assert_eq!(query.page.open_mark(&mark).as_deref(), Some(place));
            assert_eq!(wrong(&format!("cursor={mark}")), ["cursor bad_cursor"], "a mark is no cursor");
        }
        let foreign = cursors.seal("/api/posts", "0192-x").unwrap();
        let of_another_key = crate::cursors::tests::cursors("another secret of the test");
        let of_another_key = of_another_key.seal("/api/events", "0192-x").unwrap();
        for bad in ["abc", "a", "AAAAAAAA", "%00", "0192-x", foreign.as_str(), of_another_key.as_str()] {
            assert_eq!(wrong(&format!("cursor={bad}")), ["cursor bad_cursor"], "{bad}");
        }
    }
}
