//! Hours in which a user is not to be disturbed, on the clocks of the user's zone, and the hour of the digest.

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Hours in which a user is not to be disturbed. They may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct QuietHours {
    /// From this time of day on.
    pub(super) from: Time,
    /// Until this time of day.
    pub(super) to: Time,
}

/// How often a user gets a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Digests {
    /// Never.
    Off,
    /// Each day.
    Daily,
    /// Each Monday.
    #[default]
    Weekly,
}

impl QuietHours {
    fn holds(self, time: Time) -> bool {
        if self.from <= self.to {
            self.from <= time && time < self.to
        } else {
            self.from <= time || time < self.to
        }
    }

    /// When a user may be disturbed who is not to be now; `None` if that is now. A time that the clocks leave out comes at the
    /// first instant after the gap, and of one that they show twice the second ends the quiet: nobody is woken an hour early.
    pub(super) fn over_at(self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let local = now.to_zoned_datetime(zone.clone()).datetime();
        if self.from == self.to || !self.holds(local.time()) {
            return None;
        }
        let today = local.date().to_datetime(self.to);
        let end = if local.time() < self.to {
            today
        } else {
            today.checked_add(SignedDuration::from_hours(24)).ok()?
        };
        let end = instant_of(end, Shown::Last, zone)?;
        // Where the clocks were just set back, the hour before the end is shown again.
        (end > now).then_some(end)
    }
}

/// Which time of one that the clocks show twice.
#[derive(Clone, Copy)]
enum Shown {
    First,
    Last,
}

/// When the clocks of a zone show a time. One that they leave out comes at the first instant after the gap.
fn instant_of(local: DateTime, shown: Shown, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    if let AmbiguousOffset::Gap { .. } = ambiguous.offset() {
        // Read by the offset behind the gap, the time lies before it.
        let before = ambiguous.earlier().ok()?;
        return zone.following(before).next().map(|change| change.timestamp());
    }
    match shown {
        Shown::First => ambiguous.earlier().ok(),
        Shown::Last => ambiguous.later().ok(),
    }
}

/// When the next digest is due after a time, at an hour of the user's day. An hour that the clocks show twice is used once, the
/// first time.
pub(super) fn next_digest(
    digests: Digests,
    hour: Time,
    now: Timestamp,
    zone: &TimeZone,
) -> Option<Timestamp> {
    let is_day = |day: Weekday| match digests {
        Digests::Off => false,
        Digests::Daily => true,
        Digests::Weekly => day == Weekday::Monday,
    };
    let mut date = now.to_zoned_datetime(zone.clone()).date();
    // A week and the day on which it begins.
    for _ in 0..=7 {
        let due = instant_of(date.to_datetime(hour), Shown::First, zone)?;
        if is_day(date.weekday()) && due > now {
            return Some(due);
        }
        date = date.tomorrow().ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use mundotango_storage::zone_named;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn over_at(from: &str, to: &str, zone: &str, now: &str) -> Option<String> {
        let quiet = QuietHours { from: from.parse().unwrap(), to: to.parse().unwrap() };
        quiet.over_at(at(now), &zone_named(zone).unwrap()).map(|end| end.to_string())
    }

    #[test]
    fn t48_quiet_hours_go_over_midnight_on_the_users_clocks() {
        let paris = |now| over_at("22:00", "08:00", "Europe/Paris", now);
        assert_eq!(paris("2026-06-01T19:59:00Z"), None);
        assert_eq!(paris("2026-06-01T20:00:00Z").as_deref(), Some("2026-06-02T06:00:00Z"));
        assert_eq!(paris("2026-06-02T05:59:00Z").as_deref(), Some("2026-06-02T06:00:00Z"));
        assert_eq!(paris("2026-06-02T06:00:00Z"), None);
        let noon = |now| over_at("12:00", "14:00", "Asia/Kolkata", now);
        assert_eq!(noon("2026-06-01T06:30:00Z").as_deref(), Some("2026-06-01T08:30:00Z"));
        assert_eq!(noon("2026-06-01T08:30:00Z"), None);
        assert_eq!(over_at("08:00", "08:00", "UTC", "2026-06-01T08:00:00Z"), None);
    }

    #[test]
    fn t48_the_end_of_the_quiet_follows_the_clocks() {
        // The night has an hour less in spring and one more in autumn.
        let spring = over_at("22:00", "08:00", "America/New_York", "2026-03-08T04:00:00Z");
        assert_eq!(spring.as_deref(), Some("2026-03-08T12:00:00Z"));
        let autumn = over_at("22:00", "08:00", "America/New_York", "2026-11-01T04:00:00Z");
        assert_eq!(autumn.as_deref(), Some("2026-11-01T13:00:00Z"));
        // Half past two is left out, and half past one comes twice.
        let gap = over_at("22:00", "02:30", "Europe/Paris", "2026-03-29T00:30:00Z");
        assert_eq!(gap.as_deref(), Some("2026-03-29T01:00:00Z"));
        let fold = over_at("22:00", "01:30", "America/New_York", "2026-11-01T05:10:00Z");
        assert_eq!(fold.as_deref(), Some("2026-11-01T06:30:00Z"));
    }

    #[test]
    fn digests_come_at_the_users_hour() {
        let hour = "09:00".parse().unwrap();
        let next = |digests, zone: &str, now| {
            next_digest(digests, hour, at(now), &zone_named(zone).unwrap()).map(|due| due.to_string())
        };
        let daily = |zone, now| next(Digests::Daily, zone, now);
        assert_eq!(daily("Europe/Paris", "2026-10-24T12:00:00Z").as_deref(), Some("2026-10-25T08:00:00Z"));
        assert_eq!(daily("Europe/Paris", "2026-10-25T07:59:00Z").as_deref(), Some("2026-10-25T08:00:00Z"));
        assert_eq!(daily("Europe/Paris", "2026-10-25T08:00:00Z").as_deref(), Some("2026-10-26T08:00:00Z"));
        let weekly = next(Digests::Weekly, "Asia/Tehran", "2026-11-30T05:29:00Z");
        assert_eq!(weekly.as_deref(), Some("2026-11-30T05:30:00Z"), "a Monday");
        let weekly = next(Digests::Weekly, "Asia/Tehran", "2026-11-30T05:30:00Z");
        assert_eq!(weekly.as_deref(), Some("2026-12-07T05:30:00Z"));
        // The clocks of Santiago go from midnight to one.
        let at_quarter_past = |zone: &str, now| {
            let quarter_past = "00:15".parse().unwrap();
            next_digest(Digests::Daily, quarter_past, at(now), &zone_named(zone).unwrap())
        };
        let gap = at_quarter_past("America/Santiago", "2026-09-06T03:59:00Z");
        assert_eq!(gap, Some(at("2026-09-06T04:00:00Z")));
        let after = at_quarter_past("America/Santiago", "2026-09-06T04:00:00Z");
        assert_eq!(after, Some(at("2026-09-07T03:15:00Z")));
        assert_eq!(next(Digests::Off, "UTC", "2026-11-30T05:30:00Z"), None);
    }
}
