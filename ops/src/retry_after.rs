//! The header by which a server says when to come back.

use std::time::{Duration, SystemTime};

/// Reads `Retry-After`: seconds or a date (RFC 9110, 10.2.3). A date that has passed means: now.
pub fn retry_after(value: &str, now: SystemTime, longest: Duration) -> Option<Duration> {
    let value = value.trim();
    let wait = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_wait_is_read_in_all_its_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, wanted) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:00:00 GMT", Some(86_400)),
            ("-5", None),
            ("soon", None),
        ] {
            let read = retry_after(value, now, Duration::from_hours(24));
            assert_eq!(read, wanted.map(Duration::from_secs), "{value}");
        }
    }
}
