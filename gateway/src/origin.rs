//! Which pages may use the node: those of its own host, and those of the allowed origins.

use axum::http::{HeaderMap, header};

/// Whether a request's `Origin` may come in. Requests without one come from no page.
pub(crate) fn is_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let same_host = origin
        .split_once("://")
        .is_some_and(|(_, authority)| host.is_some_and(|host| authority.eq_ignore_ascii_case(host)));
    same_host || matches_any(origin, allowed)
}

/// Whether an origin is one of the allowed ones.
pub(crate) fn matches_any(origin: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &origin.to_ascii_lowercase()))
}

/// Whether a text fits a pattern in which `*` stands for any text without a `/`, so that it can't reach past a host.
fn matches(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    let reach = rest.find('/').unwrap_or(rest.len());
    (0..=reach).any(|end| rest.is_char_boundary(end) && matches(after, &rest[end..]))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(origin: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("tango.example:5000"));
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        headers
    }

    #[test]
    fn lets_in_its_own_pages_and_the_allowed_ones() {
        let allowed = ["https://*.tango.example".to_owned(), "http://localhost:3000".to_owned()];
        for origin in ["http://tango.example:5000", "https://app.tango.example", "http://LOCALHOST:3000"] {
            assert!(is_allowed(&headers(origin), &allowed), "{origin}");
        }
        for origin in [
            "null",
            "https://tango.example.evil.example",
            "https://evil.example/.tango.example",
            "http://localhost:30001",
            "https://eviltango.example",
        ] {
            assert!(!is_allowed(&headers(origin), &allowed), "{origin}");
        }
        assert!(is_allowed(&HeaderMap::new(), &[]));
    }
}
