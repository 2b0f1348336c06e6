//! Time in quarters of an hour, counted from 1970 in UTC: the unit in which events are counted. Every time
//! zone of today is a whole number of quarters from UTC, so days of any zone are made of them.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Slots of an hour.
pub const OF_HOUR: u8 = 4;
/// Slots of a UTC day.
pub const OF_DAY: u8 = 96;
const SECONDS: i64 = 15 * 60;
/// A slot that is not folded is read from several partitions.
const FRESH_COST: usize = 4;

/// A quarter of an hour, counted from 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u32);

impl Slot {
    /// The slot of a time. Times before 1970 count as its beginning.
    pub fn of(time: Timestamp) -> Self {
        Self(u32::try_from(time.as_second().div_euclid(SECONDS)).unwrap_or_default())
    }

    /// When it begins.
    pub fn begin(self) -> Timestamp {
        // Every u32 of quarters lies within the range of times.
        Timestamp::from_second(i64::from(self.0) * SECONDS).unwrap_or_default()
    }

    /// The UTC day that it is in.
    pub fn day(self) -> Day {
        Day(self.0 / u32::from(OF_DAY))
    }

    /// Its number within the day, from 0 to 95.
    pub fn in_day(self) -> u8 {
        u8::try_from(self.0 % u32::from(OF_DAY)).unwrap_or_default()
    }
}

/// A UTC day, counted from 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub u32);

impl Day {
    /// The day's slot of a number within it.
    pub fn slot(self, in_day: u8) -> Slot {
        Slot(self.0 * u32::from(OF_DAY) + u32::from(in_day))
    }

    /// Its ISO week, counted from the one that 1970 began in: weeks begin on Mondays, and 1970-01-01 was a
    /// Thursday.
    pub fn week(self) -> Week {
        Week((self.0 + 3) / 7)
    }
}

/// An ISO week in UTC, counted from the one that 1970 began in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Week(pub u32);

impl Week {
    /// The Monday that it begins with.
    pub fn monday(self) -> Day {
        Day((self.0 * 7).saturating_sub(3))
    }
}

/// How much of a day a stored total is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The whole day.
    Day,
    /// An hour of it.
    Hour,
    /// A slot of it.
    Slot,
}

impl Level {
    /// Its part of a row's key.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Day => "d",
            Self::Hour => "h",
            Self::Slot => "s",
        }
    }
}

/// A part of a range that is read as one: consecutive totals of one level of a day, or a slot whose day does
/// not have it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Totals of a day: its own, or those of consecutive hours or slots by their numbers.
    Folded(Day, Level, Range<u8>),
    /// A slot that is read as events left it.
    Fresh(Slot),
}

impl Piece {
    /// The UTC day that it is in.
    pub fn day(&self) -> Day {
        match self {
            Self::Folded(day, ..) => *day,
            Self::Fresh(slot) => slot.day(),
        }
    }

    /// How many totals it reads.
    pub fn cost(&self) -> usize {
        match self {
            Self::Folded(_, _, numbers) => numbers.len(),
            // Each shard of a bucket is read.
            Self::Fresh(_) => FRESH_COST,
        }
    }
}

/// The least pieces that cover a range of slots, where `fresh` names the slots of days that are not folded.
pub fn cover(range: &Range<Slot>, fresh: &BTreeMap<Day, Vec<u8>>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut at, end) = (range.start.0, range.end.0);
    while at < end {
        let slot = Slot(at);
        let (day, in_day) = (slot.day(), slot.in_day());
        let of_day = fresh.get(&day).map(Vec::as_slice).unwrap_or_default();
        let is_folded = |length: u8| {
            let numbers = in_day..in_day.saturating_add(length);
            in_day.is_multiple_of(length)
                && at + u32::from(length) <= end
                && !of_day.iter().any(|fresh| numbers.contains(fresh))
        };
        let (level, length) = if is_folded(OF_DAY) {
            (Level::Day, OF_DAY)
        } else if is_folded(OF_HOUR) {
            (Level::Hour, OF_HOUR)
        } else {
            (Level::Slot, 1)
        };
        at += u32::from(length);
        if level == Level::Slot && of_day.contains(&in_day) {
            pieces.push(Piece::Fresh(slot));
            continue;
        }
        let number = in_day / length;
        match pieces.last_mut() {
            Some(Piece::Folded(last_day, last_level, numbers))
                if *last_day == day && *last_level == level && numbers.end == number =>
            {
                numbers.end += 1;
            }
            _ => pieces.push(Piece::Folded(day, level, number..number + 1)),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The slots that pieces read.
    fn slots_of(pieces: &[Piece]) -> Vec<u32> {
        let of = |piece: &Piece| match piece {
            Piece::Fresh(slot) => slot.0..slot.0 + 1,
            Piece::Folded(day, level, numbers) => {
                let length = match level {
                    Level::Day => u32::from(OF_DAY),
                    Level::Hour => u32::from(OF_HOUR),
                    Level::Slot => 1,
                };
                let begin = day.0 * u32::from(OF_DAY);
                begin + u32::from(numbers.start) * length..begin + u32::from(numbers.end) * length
            }
        };
        pieces.iter().flat_map(of).collect()
    }

    #[test]
    fn times_fall_into_their_slots_and_weeks() {
        let slot = |text: &str| Slot::of(text.parse().unwrap());
        let last = slot("2026-11-29T23:59:59.999Z");
        assert_eq!((last.in_day(), last.begin().to_string().as_str()), (95, "2026-11-29T23:45:00Z"));
        assert_eq!(slot("2026-11-30T00:00:00Z").0, last.0 + 1);
        assert_eq!(slot("1969-12-31T23:59:59Z"), Slot(0));
        // 2026-11-30 is a Monday.
        let week = slot("2026-11-30T00:00:00Z").day().week();
        assert_eq!(week.0, last.day().week().0 + 1);
        assert_eq!(week.monday().slot(0).begin().to_string(), "2026-11-30T00:00:00Z");
    }

    #[test]
    fn a_month_of_a_half_hour_zone_is_days_with_hours_and_slots_at_its_ends() {
        let range = Slot::of("2026-06-30T20:30:00Z".parse().unwrap())
            ..Slot::of("2026-07-31T20:30:00Z".parse().unwrap());
        let day = range.start.day();
        let mut expected =
            vec![Piece::Folded(day, Level::Slot, 82..84), Piece::Folded(day, Level::Hour, 21..24)];
        expected.extend((1..31).map(|number| Piece::Folded(Day(day.0 + number), Level::Day, 0..1)));
        let last = Day(day.0 + 31);
        expected.extend([Piece::Folded(last, Level::Hour, 0..20), Piece::Folded(last, Level::Slot, 80..82)]);
        assert_eq!(cover(&range, &BTreeMap::new()), expected);
    }

    proptest! {
        #[test]
        fn every_slot_is_read_once_and_no_fresh_one_from_its_day(
            start in 0..400_u32, length in 0..400_u32, fresh in prop::collection::btree_set((0..9_u32, 0..96_u8), 0..20),
        ) {
            let mut of_days: BTreeMap<Day, Vec<u8>> = BTreeMap::new();
            for (day, slot) in &fresh {
                of_days.entry(Day(*day)).or_default().push(*slot);
            }
            let pieces = cover(&(Slot(start)..Slot(start + length)), &of_days);
            prop_assert_eq!(slots_of(&pieces), (start..start + length).collect::<Vec<_>>());
            for piece in &pieces {
                if let Piece::Folded(..) = piece {
                    let read = slots_of(std::slice::from_ref(piece));
                    prop_assert!(!read.iter().any(|slot| fresh.contains(&(Slot(*slot).day().0, Slot(*slot).in_day()))));
                }
            }
        }
    }
}
