//! A calendar as the answer to a request, or that it is the one which the caller has.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::icalendar::Calendar;

/// The media type of a calendar (RFC 5545, 8.1).
const CONTENT_TYPE: &str = "text/calendar; charset=utf-8";
/// A calendar is for one user alone, and a program has to ask for it each time.
const CACHE_CONTROL: &str = "private, no-cache";

/// Answers with a calendar, whose file is called so where it is kept.
pub(super) fn calendar(asked: &HeaderMap, calendar: &Calendar<'_>, file: &str) -> Response {
    let text = calendar.text();
    let tag = tag_of(&text);
    let changed = calendar.entries.iter().map(|entry| entry.changed).max();
    let mut response = if is_known(asked, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let disposition = format!("inline; filename=\"{file}\"");
        let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (header::CONTENT_DISPOSITION, &disposition)];
        (headers, text).into_response()
    };
    let headers = [
        (header::CACHE_CONTROL, Some(HeaderValue::from_static(CACHE_CONTROL))),
        (header::ETAG, HeaderValue::from_str(&tag).ok()),
        (header::LAST_MODIFIED, changed.and_then(date)),
    ];
    response.headers_mut().extend(headers.into_iter().filter_map(|(name, value)| Some((name, value?))));
    response
}

/// The tag of a text. It is a weak one, as what is sent may be compressed.
fn tag_of(text: &str) -> String {
    format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(text)))
}

/// Whether the caller has what has a tag (RFC 9110, 13.1.2). A date tells nothing: what leaves a calendar leaves it no later one.
fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let wanted = opaque(tag);
    let sent = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    sent.flat_map(|value| value.split(',')).any(|one| one.trim() == "*" || opaque(one) == wanted)
}

/// A time as HTTP tells it (RFC 9110, 5.6.7).
fn date(time: Timestamp) -> Option<HeaderValue> {
    HeaderValue::from_str(&time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(tags: &[&str]) -> HeaderMap {
        tags.iter().map(|tag| (header::IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap())).collect()
    }

    #[test]
    fn who_has_the_calendar_is_told_so() {
        let tag = tag_of("BEGIN:VCALENDAR");
        let strong = tag.trim_start_matches("W/").to_owned();
        let one_of = format!("\"x\", {tag}");
        for sent in [tag.as_str(), &strong, &one_of, "*"] {
            assert!(is_known(&asked(&[sent]), &tag), "{sent}");
        }
        assert!(is_known(&asked(&["\"x\"", &tag]), &tag), "two headers are one list");
        for sent in ["", "\"x\"", "W/\"\"", &tag_of("another")] {
            assert!(!is_known(&asked(&[sent]), &tag), "{sent}");
        }
        assert!(!is_known(&HeaderMap::new(), &tag));
        assert_eq!(date("2026-07-04T22:00:00Z".parse().unwrap()).unwrap(), "Sat, 04 Jul 2026 22:00:00 GMT");
    }

    #[test]
    fn a_calendar_that_is_known_is_not_sent_again() {
        let calendar = Calendar { name: Some("Mine"), method: None, entries: &[] };
        let whole = super::calendar(&HeaderMap::new(), &calendar, "a.ics");
        assert_eq!(whole.status(), StatusCode::OK);
        assert_eq!(whole.headers()[header::CONTENT_TYPE], "text/calendar; charset=utf-8");
        assert_eq!(whole.headers()[header::CONTENT_DISPOSITION], "inline; filename=\"a.ics\"");
        let tag = whole.headers()[header::ETAG].to_str().unwrap();
        let same = super::calendar(&asked(&[tag]), &calendar, "a.ics");
        assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
        assert!(!same.headers().contains_key(header::CONTENT_TYPE));
        assert_eq!(same.headers()[header::CACHE_CONTROL], "private, no-cache");
    }
}
