//! Times and days as people write them, for letters.

use jiff::ZonedDateTime;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

use super::Language;
use super::texts::{DateTexts, Texts};

/// Writes times in every language.
#[derive(Debug)]
pub struct Dates {
    english: DateTexts,
    spanish: DateTexts,
}

impl Dates {
    /// Reads the names of months and days. An error is a defect in a language's texts.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { english: Texts::of(Language::En)?.dates, spanish: Texts::of(Language::Es)?.dates })
    }

    /// When something is, in its own zone: `Saturday, 4 July 2026, 22:00 (Buenos Aires time)`, up to its end
    /// if that is known. The same in the reader's zone stands beside it if the clocks there differ.
    pub fn when(
        &self,
        start: &ZonedDateTime,
        end: Option<&ZonedDateTime>,
        language: Language,
        reader_zone: Option<&TimeZone>,
    ) -> String {
        let texts = self.texts(language);
        let there = times(texts, start, end);
        let Some(zone) = reader_zone else { return there };
        let start_here = start.with_time_zone(zone.clone());
        let end_here = end.map(|end| end.with_time_zone(zone.clone()));
        let same = |there: &ZonedDateTime, here: &ZonedDateTime| there.offset() == here.offset();
        if same(start, &start_here)
            && end.zip(end_here.as_ref()).is_none_or(|(there, here)| same(there, here))
        {
            return there;
        }
        let here = times(texts, &start_here, end_here.as_ref());
        fill(&texts.reader, &[("{there}", &there), ("{here}", &here)])
    }

    /// The days from the first to the last: `4–7 July 2026`.
    pub fn days(&self, first: Date, last: Date, language: Language) -> String {
        let texts = self.texts(language);
        let one = |date: Date| {
            let (day, year) = (date.day().to_string(), date.year().to_string());
            fill(&texts.one_day, &[("{day}", &day), ("{month}", month(texts, date)), ("{year}", &year)])
        };
        if first == last {
            return one(first);
        }
        if first.year() != last.year() {
            return fill(&texts.days, &[("{first}", &one(first)), ("{last}", &one(last))]);
        }
        let pattern = if first.month() == last.month() { &texts.days_of_month } else { &texts.days_of_year };
        let places = [
            ("{day}", first.day().to_string()),
            ("{month}", month(texts, first).to_owned()),
            ("{end_day}", last.day().to_string()),
            ("{end_month}", month(texts, last).to_owned()),
            ("{year}", last.year().to_string()),
        ];
        fill(pattern, &places.each_ref().map(|(place, text)| (*place, text.as_str())))
    }

    fn texts(&self, language: Language) -> &DateTexts {
        match language {
            Language::En => &self.english,
            Language::Es => &self.spanish,
        }
    }
}

/// A time or a span of time, with the zone of its start.
fn times(texts: &DateTexts, start: &ZonedDateTime, end: Option<&ZonedDateTime>) -> String {
    // An end is read beside its start, so it is on the same clock.
    let end = end.map(|end| end.with_time_zone(start.time_zone().clone()));
    let span = match &end {
        None => fill(&texts.moment, &[("{date}", &date(texts, start)), ("{time}", &time(start))]),
        Some(end) => {
            let pattern = if end.date() == start.date() { &texts.same_day } else { &texts.other_day };
            let places = [
                ("{date}", date(texts, start)),
                ("{time}", time(start)),
                ("{end_date}", date(texts, end)),
                ("{end_time}", time(end)),
            ];
            fill(pattern, &places.each_ref().map(|(place, text)| (*place, text.as_str())))
        }
    };
    format!("{span} ({})", zone(texts, start))
}

/// A day with its weekday.
fn date(texts: &DateTexts, at: &ZonedDateTime) -> String {
    let weekday = usize::from(at.weekday().to_monday_zero_offset().unsigned_abs());
    let weekday = texts.weekdays.get(weekday).map_or("", String::as_str);
    let (day, year) = (at.day().to_string(), at.year().to_string());
    let month = month(texts, at.date());
    fill(&texts.date, &[("{weekday}", weekday), ("{day}", &day), ("{month}", month), ("{year}", &year)])
}

fn month(texts: &DateTexts, date: Date) -> &str {
    let at = usize::from(date.month().unsigned_abs()).saturating_sub(1);
    texts.months.get(at).map_or("", String::as_str)
}

/// The time of a clock. In the hour that comes twice in autumn, its offset from UTC tells which is meant.
fn time(at: &ZonedDateTime) -> String {
    let clock = at.strftime("%H:%M");
    if at.time_zone().to_ambiguous_timestamp(at.datetime()).is_ambiguous() {
        format!("{clock} {}", offset(at.offset()))
    } else {
        clock.to_string()
    }
}

/// What people call a zone: the city of its IANA name, or its distance from UTC where it has no city.
fn zone(texts: &DateTexts, at: &ZonedDateTime) -> String {
    let name = at.time_zone().iana_name().unwrap_or("Etc");
    if let Some(city) = texts.cities.get(name) {
        return fill(&texts.zone, &[("{city}", city)]);
    }
    match name.rsplit_once('/') {
        Some((area, city)) if area != "Etc" => fill(&texts.zone, &[("{city}", &city.replace('_', " "))]),
        _ => offset(at.offset()),
    }
}

/// The distance from UTC, as in `UTC−03:00`.
fn offset(offset: Offset) -> String {
    let minutes = offset.seconds() / 60;
    if minutes == 0 {
        return "UTC".to_owned();
    }
    let sign = if minutes < 0 { '−' } else { '+' };
    format!("UTC{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

/// Puts texts into the places of a pattern, in one pass: a text that looks like a place stays as it is.
fn fill(pattern: &str, texts: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(pattern.len() * 2);
    let mut rest = pattern;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at(at);
        filled.push_str(before);
        let known = texts.iter().find(|(place, _)| behind.starts_with(place));
        let (place, text) = known.copied().unwrap_or(("{", "{"));
        filled.push_str(text);
        rest = behind.strip_prefix(place).unwrap_or_default();
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn when(start: &str, end: Option<&str>, language: Language, reader: Option<&str>) -> String {
        let zoned = |text: &str| text.parse::<ZonedDateTime>().unwrap();
        let reader = reader.map(|name| TimeZone::get(name).unwrap());
        let end = end.map(zoned);
        Dates::new().unwrap().when(&zoned(start), end.as_ref(), language, reader.as_ref())
    }

    const MILONGA: &str = "2026-07-04T22:00[America/Argentina/Buenos_Aires]";

    #[test]
    fn a_time_is_written_as_people_write_it() {
        assert_eq!(
            when(MILONGA, None, Language::En, None),
            "Saturday, 4 July 2026, 22:00 (Buenos Aires time)"
        );
        assert_eq!(
            when(MILONGA, None, Language::Es, None),
            "sábado, 4 de julio de 2026, 22:00 (hora de Buenos Aires)"
        );
    }

    #[test]
    fn an_end_tells_its_day_if_that_is_another() {
        let same = Some("2026-07-04T23:30[America/Argentina/Buenos_Aires]");
        let next = Some("2026-07-05T04:00[America/Argentina/Buenos_Aires]");
        assert_eq!(
            when(MILONGA, same, Language::En, None),
            "Saturday, 4 July 2026, 22:00 until 23:30 (Buenos Aires time)"
        );
        assert_eq!(
            when(MILONGA, next, Language::En, None),
            "Saturday, 4 July 2026, 22:00 until Sunday, 5 July 2026, 04:00 (Buenos Aires time)"
        );
        assert_eq!(
            when(MILONGA, same, Language::Es, None),
            "sábado, 4 de julio de 2026, de 22:00 a 23:30 (hora de Buenos Aires)"
        );
        assert_eq!(
            when(MILONGA, next, Language::Es, None),
            "sábado, 4 de julio de 2026, 22:00, hasta el domingo, 5 de julio de 2026, 04:00 \
             (hora de Buenos Aires)"
        );
        // The same instant, written in another zone.
        let utc = Some("2026-07-05T02:30[UTC]");
        assert_eq!(when(MILONGA, utc, Language::En, None), when(MILONGA, same, Language::En, None));
    }

    #[test]
    fn the_reader_sees_the_own_clock_if_it_shows_another_time() {
        assert_eq!(
            when(MILONGA, None, Language::En, Some("Europe/Paris")),
            "Saturday, 4 July 2026, 22:00 (Buenos Aires time); for you: Sunday, 5 July 2026, 03:00 \
             (Paris time)"
        );
        assert_eq!(
            when(MILONGA, None, Language::Es, Some("America/New_York")),
            "sábado, 4 de julio de 2026, 22:00 (hora de Buenos Aires); para ti: sábado, 4 de julio de 2026, \
             21:00 (hora de Nueva York)"
        );
        for same in ["America/Argentina/Buenos_Aires", "America/Montevideo", "Etc/GMT+3"] {
            assert_eq!(
                when(MILONGA, None, Language::En, Some(same)),
                when(MILONGA, None, Language::En, None)
            );
        }
        // The clocks of both show the same at the start, and not at the end.
        let start = "2026-03-28T22:00[Europe/Paris]";
        let end = Some("2026-03-29T04:00[Europe/Paris]");
        let seen = when(start, end, Language::En, Some("Africa/Algiers"));
        assert!(seen.ends_with("until Sunday, 29 March 2026, 03:00 (Algiers time)"), "{seen}");
    }

    #[test]
    fn t23_the_hour_that_comes_twice_tells_which_it_is() {
        let at = |offset: &str| {
            when(&format!("2026-11-01T01:30{offset}[America/New_York]"), None, Language::En, None)
        };
        assert_eq!(at("-04:00"), "Sunday, 1 November 2026, 01:30 UTC−04:00 (New York time)");
        assert_eq!(at("-05:00"), "Sunday, 1 November 2026, 01:30 UTC−05:00 (New York time)");
    }

    #[test]
    fn zones_without_a_city_tell_their_distance_from_utc() {
        let zone = |name: &str| {
            let text = when(&format!("2026-07-04T22:00{name}"), None, Language::En, None);
            text.split_once('(').unwrap().1.to_owned()
        };
        assert_eq!(zone("[UTC]"), "UTC)");
        assert_eq!(zone("[Etc/GMT+3]"), "UTC−03:00)");
        assert_eq!(zone("+05:30[+05:30]"), "UTC+05:30)");
        assert_eq!(zone("[CET]"), "UTC+02:00)");
        assert_eq!(zone("[America/Indiana/Knox]"), "Knox time)");
        assert_eq!(zone("[America/Port-au-Prince]"), "Port-au-Prince time)");
    }

    #[test]
    fn days_are_written_without_what_they_share() {
        let dates = Dates::new().unwrap();
        for (first, last, english, spanish) in [
            (date(2026, 7, 4), date(2026, 7, 4), "4 July 2026", "4 de julio de 2026"),
            (date(2026, 7, 4), date(2026, 7, 7), "4–7 July 2026", "del 4 al 7 de julio de 2026"),
            (
                date(2026, 6, 29),
                date(2026, 7, 5),
                "29 June – 5 July 2026",
                "del 29 de junio al 5 de julio de 2026",
            ),
            (
                date(2026, 12, 28),
                date(2027, 1, 3),
                "28 December 2026 – 3 January 2027",
                "del 28 de diciembre de 2026 al 3 de enero de 2027",
            ),
        ] {
            assert_eq!(dates.days(first, last, Language::En), english);
            assert_eq!(dates.days(first, last, Language::Es), spanish);
        }
    }

    #[test]
    fn no_time_of_any_language_has_a_place_left() {
        let dates = Dates::new().unwrap();
        for language in Language::ALL {
            let mut day = date(2026, 1, 1).to_zoned_datetime(TimeZone::UTC).unwrap();
            for _ in 0..366 {
                let end = &day + jiff::Span::new().hours(30);
                let zone = TimeZone::get("Asia/Kolkata").unwrap();
                let text = dates.when(&day, Some(&end), language, Some(&zone));
                assert!(!text.contains(['{', '}']), "{text}");
                let text = dates.days(day.date(), end.date(), language);
                assert!(!text.contains(['{', '}']), "{text}");
                day = day.tomorrow().unwrap();
            }
        }
        assert_eq!(fill("{a} {b} {", &[("{a}", "{b}"), ("{b}", "x")]), "{b} x {");
    }
}
