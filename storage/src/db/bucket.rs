//! The buckets of indexes.

use jiff::Timestamp;

const MILLIS_OF_A_DAY: i64 = 24 * 60 * 60 * 1000;

/// The day in which an id was made, counted from 1970, for an index whose keys are ids; `None` for what is no UUID of
/// version 7 in its usual form. The id begins with the time, so days and ids sort alike.
pub fn day_of_id(id: &str) -> Option<i64> {
    millis_of_id(id).map(|millis| millis / MILLIS_OF_A_DAY)
}

/// The time at which an id was made, to the millisecond; `None` for what is no UUID of version 7 in its usual form. An id may tell
/// of the year 10,889, and times end with the year 9999: later ones are the last.
pub fn time_of_id(id: &str) -> Option<Timestamp> {
    Some(Timestamp::from_millisecond(millis_of_id(id)?).unwrap_or(Timestamp::MAX))
}

/// The same in milliseconds since 1970.
pub(super) fn millis_of_id(id: &str) -> Option<i64> {
    let is_uuid = id.len() == 36
        && id.char_indices().all(|(index, c)| match index {
            8 | 13 | 18 | 23 => c == '-',
            14 => c == '7',
            19 => matches!(c, '8' | '9' | 'a' | 'b'),
            _ => matches!(c, '0'..='9' | 'a'..='f'),
        });
    if !is_uuid {
        return None;
    }
    i64::from_str_radix(&format!("{}{}", id.get(..8)?, id.get(9..13)?), 16).ok()
}

/// The minute in which an id was made, counted from 1970, for an index as [`day_of_id`] is for longer ones.
pub(super) fn minute_of_id(id: &str) -> Option<i64> {
    millis_of_id(id).map(|millis| millis / 60_000)
}

#[cfg(test)]
mod tests {
    use mundotango_protocol::new_id;

    use super::*;

    #[test]
    fn the_day_comes_from_the_id() {
        assert_eq!(day_of_id("00000000-0000-7000-8000-000000000000"), Some(0));
        assert_eq!(day_of_id("019ab2d4-6c00-7000-8000-000000000000"), Some(20_415)); // 2025-11-23
        assert!(day_of_id(&new_id()) >= Some(20_000));
        for bad in [
            "",
            "x",
            "019ab2d4-6c00-4000-8000-000000000000",
            "019AB2D4-6C00-7000-8000-000000000000",
            "019ab2d4-6c00-7000-0000-000000000000",
        ] {
            assert_eq!(day_of_id(bad), None, "{bad}");
        }
        assert_eq!(day_of_id(&"é".repeat(18)), None);
    }

    #[test]
    fn an_id_of_behind_the_last_year_is_one() {
        assert_eq!(time_of_id("ffffffff-ffff-7fff-bfff-ffffffffffff"), Some(Timestamp::MAX));
    }
}
