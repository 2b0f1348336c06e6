//! Calendars and what is in them, as calendar programs read it.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::line::Lines;
use super::zone;

/// Who made a calendar, as a formal name (RFC 5545, 3.7.3).
const MADE_BY: &str = "-//MundoTango//Calendars//EN";
/// How often it is worth to look at a calendar that is subscribed to. Programs do as they like.
const LOOK_AGAIN: &str = "PT1H";
/// What may not stand in an address of mail as it is (RFC 6068, 2).
const OF_MAIL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// When something is.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// From one time to another, on the clocks of the first one's zone.
    Times {
        /// When it starts.
        start: ZonedDateTime,
        /// When it ends.
        end: ZonedDateTime,
    },
    /// Whole days.
    Days {
        /// The first of them.
        first: Date,
        /// The last of them.
        last: Date,
    },
}

/// Whether something takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does.
    Confirmed,
    /// It does, and whether the reader comes is not sure.
    Tentative,
    /// It does not.
    Cancelled,
}

/// Somebody with a mail address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// How that one is called.
    pub name: Option<String>,
    /// Where mail reaches that one.
    pub address: String,
}

/// Who invites whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participants {
    /// The sender of the mail, as programs take a cancellation from nobody else.
    pub organizer: Mailbox,
    /// The reader of the mail, who has said to come.
    pub attendee: Mailbox,
}

/// What a calendar holds (`VEVENT`).
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name in all calendars, for ever the same.
    pub uid: String,
    /// Rises with each change of its time, its place and its status.
    pub sequence: u32,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub changed: Timestamp,
    /// When this form of it was made; when it was changed last, unless it is sent by mail (RFC 5545, 3.8.7.2).
    pub stamp: Timestamp,
    /// When it is.
    pub when: When,
    /// What it is called.
    pub summary: String,
    /// What it is, at length.
    pub description: String,
    /// Where it is.
    pub location: String,
    /// Degrees north and east.
    pub point: Option<(f64, f64)>,
    /// Its page.
    pub url: String,
    /// Whom to ask.
    pub contact: Option<String>,
    /// Its kind.
    pub category: Option<String>,
    /// Whether it takes place.
    pub status: Status,
    /// Whether it takes the reader's time.
    pub is_busy: bool,
    /// Who invites whom, if it is sent by mail.
    pub participants: Option<Participants>,
}

/// What a mail with a calendar wants of its reader's program (RFC 5546).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// To put it there, or in the place of what is there.
    Request,
    /// To take it away.
    Cancel,
}

impl Method {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "REQUEST",
            Self::Cancel => "CANCEL",
        }
    }
}

/// A calendar (`VCALENDAR`).
#[derive(Clone, Copy, Debug)]
pub struct Calendar<'a> {
    /// How it is called where it is subscribed to.
    pub name: Option<&'a str>,
    /// What a mail with it wants.
    pub method: Option<Method>,
    /// What it holds.
    pub entries: &'a [Entry],
}

impl Calendar<'_> {
    /// The calendar as it is sent. The same calendar is the same text.
    pub fn text(&self) -> String {
        let mut lines = Lines::default();
        lines.value("BEGIN", "VCALENDAR");
        lines.value("VERSION", "2.0");
        lines.value("PRODID", MADE_BY);
        lines.value("CALSCALE", "GREGORIAN");
        if let Some(method) = self.method {
            lines.value("METHOD", method.name());
        }
        if let Some(name) = self.name {
            // The names of RFC 7986, and those that programs read which are older.
            lines.text("NAME", name);
            lines.text("X-WR-CALNAME", name);
            lines.value("REFRESH-INTERVAL;VALUE=DURATION", LOOK_AGAIN);
            lines.value("X-PUBLISHED-TTL", LOOK_AGAIN);
        }
        let mut zones: BTreeMap<&str, (&TimeZone, Timestamp, Timestamp)> = BTreeMap::new();
        for entry in self.entries {
            let Some((name, start, end)) = entry.when.on_clocks() else { continue };
            let (from, until) = (start.timestamp(), end.timestamp());
            let (_, first, last) = zones.entry(name).or_insert((start.time_zone(), from, until));
            (*first, *last) = ((*first).min(from), (*last).max(until));
        }
        for (name, (zone, from, until)) in zones {
            zone::write(&mut lines, zone, name, from, until);
        }
        for entry in self.entries {
            entry.write(&mut lines);
        }
        lines.value("END", "VCALENDAR");
        lines.into_text()
    }
}

impl When {
    /// The name of the zone, and the times on its clocks; `None` for days, and for what can only be told as UTC.
    fn on_clocks(&self) -> Option<(&str, &ZonedDateTime, &ZonedDateTime)> {
        let Self::Times { start, end } = self else { return None };
        let zone = start.time_zone();
        let name = zone.iana_name().filter(|name| !matches!(*name, "UTC" | "Etc/UTC"))?;
        // Of an hour that comes twice, clocks alone mean the first (3.3.5).
        let is_told = |time: &ZonedDateTime| {
            let local = time.with_time_zone(zone.clone()).datetime();
            zone.to_ambiguous_timestamp(local).compatible().is_ok_and(|read| read == time.timestamp())
        };
        (is_told(start) && is_told(end)).then_some((name, start, end))
    }

    fn write(&self, lines: &mut Lines) {
        match (self, self.on_clocks()) {
            (_, Some((zone, start, end))) => {
                let end = end.with_time_zone(start.time_zone().clone());
                for (name, time) in [("DTSTART", start), ("DTEND", &end)] {
                    let local = time.datetime();
                    lines.value(&format!("{name};TZID={zone}"), local.strftime("%Y%m%dT%H%M%S"));
                }
            }
            (Self::Times { start, end }, None) => {
                lines.value("DTSTART", utc(start.timestamp()));
                lines.value("DTEND", utc(end.timestamp()));
            }
            (Self::Days { first, last }, None) => {
                // The end is the day behind the last one.
                let end = last.tomorrow().unwrap_or(*last);
                lines.value("DTSTART;VALUE=DATE", first.strftime("%Y%m%d"));
                lines.value("DTEND;VALUE=DATE", end.strftime("%Y%m%d"));
            }
        }
    }
}

impl Entry {
    fn write(&self, lines: &mut Lines) {
        lines.value("BEGIN", "VEVENT");
        lines.text("UID", &self.uid);
        lines.value("DTSTAMP", utc(self.stamp));
        lines.value("CREATED", utc(self.created));
        lines.value("LAST-MODIFIED", utc(self.changed));
        lines.value("SEQUENCE", self.sequence);
        self.when.write(lines);
        lines.text("SUMMARY", &self.summary);
        lines.text("DESCRIPTION", &self.description);
        lines.text("LOCATION", &self.location);
        if let Some((latitude, longitude)) = self.point {
            lines.value("GEO", format_args!("{latitude:.6};{longitude:.6}"));
        }
        lines.value("URL", &self.url);
        if let Some(contact) = &self.contact {
            lines.text("CONTACT", contact);
        }
        if let Some(category) = &self.category {
            lines.text("CATEGORIES", category);
        }
        let status = match self.status {
            Status::Confirmed => "CONFIRMED",
            Status::Tentative => "TENTATIVE",
            Status::Cancelled => "CANCELLED",
        };
        lines.value("STATUS", status);
        lines.value("TRANSP", if self.is_busy { "OPAQUE" } else { "TRANSPARENT" });
        if let Some(Participants { organizer, attendee }) = &self.participants {
            mailbox(lines, "ORGANIZER", organizer);
            // Nobody waits for an answer to the mail: it was given before.
            let who_comes = "ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=ACCEPTED;RSVP=FALSE";
            mailbox(lines, who_comes, attendee);
        }
        lines.value("END", "VEVENT");
    }
}

fn mailbox(lines: &mut Lines, name: &str, mailbox: &Mailbox) {
    let called: Vec<_> = mailbox.name.iter().map(|name| ("CN", name.as_str())).collect();
    let address = utf8_percent_encode(&mailbox.address, OF_MAIL);
    lines.with(name, &called, format_args!("mailto:{address}"));
}

fn utc(time: Timestamp) -> impl std::fmt::Display {
    time.strftime("%Y%m%dT%H%M%SZ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> ZonedDateTime {
        time.parse().unwrap()
    }

    fn entry(when: When) -> Entry {
        Entry {
            uid: "1@example.com".to_owned(),
            sequence: 2,
            created: "2026-01-01T00:00:00Z".parse().unwrap(),
            changed: "2026-02-01T00:00:00.5Z".parse().unwrap(),
            stamp: "2026-02-01T00:00:00.5Z".parse().unwrap(),
            when,
            summary: "Milonga, con orquesta; 💃".to_owned(),
            description: "Live music.\nFrom ten on.".to_owned(),
            location: "La Viruta, Armenia 1366".to_owned(),
            point: Some((-34.59, -58.42)),
            url: "https://example.com/events/1".to_owned(),
            contact: Some("Ana".to_owned()),
            category: Some("MILONGA".to_owned()),
            status: Status::Confirmed,
            is_busy: true,
            participants: None,
        }
    }

    fn lines(when: When) -> String {
        let entries = [entry(when)];
        let text = Calendar { name: None, method: None, entries: &entries }.text();
        assert!(text.replace("\r\n", "").chars().all(|character| !character.is_control()), "{text:?}");
        text.replace("\r\n ", "").replace("\r\n", "\n")
    }

    #[test]
    fn a_calendar_is_written_whole() {
        let (start, end) = (
            at("2026-12-04T22:00-03:00[America/Argentina/Buenos_Aires]"),
            at("2026-12-05T04:00-03:00[America/Argentina/Buenos_Aires]"),
        );
        let wanted = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//MundoTango//Calendars//EN\nCALSCALE:GREGORIAN\n\
            BEGIN:VTIMEZONE\nTZID:America/Argentina/Buenos_Aires\nBEGIN:STANDARD\nDTSTART:20090315T000000\n\
            TZOFFSETFROM:-0200\nTZOFFSETTO:-0300\nTZNAME:-03\nEND:STANDARD\nEND:VTIMEZONE\n\
            BEGIN:VEVENT\nUID:1@example.com\nDTSTAMP:20260201T000000Z\nCREATED:20260101T000000Z\n\
            LAST-MODIFIED:20260201T000000Z\nSEQUENCE:2\n\
            DTSTART;TZID=America/Argentina/Buenos_Aires:20261204T220000\n\
            DTEND;TZID=America/Argentina/Buenos_Aires:20261205T040000\n\
            SUMMARY:Milonga\\, con orquesta\\; 💃\nDESCRIPTION:Live music.\\nFrom ten on.\n\
            LOCATION:La Viruta\\, Armenia 1366\nGEO:-34.590000;-58.420000\nURL:https://example.com/events/1\n\
            CONTACT:Ana\nCATEGORIES:MILONGA\nSTATUS:CONFIRMED\nTRANSP:OPAQUE\nEND:VEVENT\nEND:VCALENDAR\n";
        assert_eq!(lines(When::Times { start, end }), wanted);
    }

    #[test]
    fn the_end_of_days_is_the_day_behind_the_last() {
        let days = |first: &str, last: &str| {
            lines(When::Days { first: first.parse().unwrap(), last: last.parse().unwrap() })
        };
        let one = days("2026-12-31", "2026-12-31");
        assert!(one.contains("DTSTART;VALUE=DATE:20261231\nDTEND;VALUE=DATE:20270101\n"), "{one}");
        let festival = days("2026-02-26", "2026-03-01");
        assert!(festival.contains("DTSTART;VALUE=DATE:20260226\nDTEND;VALUE=DATE:20260302\n"), "{festival}");
        assert!(!festival.contains("VTIMEZONE"));
    }

    #[test]
    fn what_clocks_alone_cannot_tell_is_told_as_utc() {
        // The second of two half past two.
        let start = at("2026-10-25T02:30+01:00[Europe/Berlin]");
        let end = at("2026-10-25T05:00+01:00[Europe/Berlin]");
        let second = lines(When::Times { start, end: end.clone() });
        assert!(second.contains("DTSTART:20261025T013000Z\nDTEND:20261025T040000Z\n"), "{second}");
        assert!(!second.contains("VTIMEZONE"));
        let first = lines(When::Times { start: at("2026-10-25T02:30+02:00[Europe/Berlin]"), end });
        assert!(first.contains("DTSTART;TZID=Europe/Berlin:20261025T023000\n"), "{first}");
        let utc = at("2026-12-04T22:00+00:00[UTC]");
        assert!(lines(When::Times { start: utc.clone(), end: utc }).contains("DTSTART:20261204T220000Z\n"));
    }

    #[test]
    fn each_zone_is_written_once_for_all_that_is_in_it() {
        let berlin = |date: &str| {
            let start = at(&format!("{date}T20:00[Europe/Berlin]"));
            entry(When::Times { end: start.clone(), start })
        };
        let lisbon = at("2026-08-01T20:00[Europe/Lisbon]");
        let entries = [
            berlin("2026-07-01"),
            entry(When::Times { start: lisbon.clone(), end: lisbon }),
            berlin("2027-01-01"),
        ];
        let text = Calendar { name: Some("Mine, all"), method: None, entries: &entries }.text();
        assert_eq!(text.matches("BEGIN:VTIMEZONE").count(), 2);
        assert!(text.contains("\r\nX-WR-CALNAME:Mine\\, all\r\n"), "{text}");
    }

    #[test]
    fn a_mail_says_who_invites_whom() {
        let start = at("2026-12-04T22:00+00:00[UTC]");
        let mut invitation = entry(When::Times { end: start.clone(), start });
        let mailbox =
            |name: &str, address: &str| Mailbox { name: Some(name.to_owned()), address: address.to_owned() };
        invitation.participants = Some(Participants {
            organizer: mailbox("MundoTango", "no-reply@example.com"),
            attendee: mailbox("Pérez, \"la ñata\"", "a%b+c@example.com"),
        });
        let entries = [invitation];
        let text = Calendar { name: None, method: Some(Method::Cancel), entries: &entries }.text();
        let text = text.replace("\r\n ", "");
        assert!(text.contains("\r\nMETHOD:CANCEL\r\n"));
        assert!(text.contains("\r\nORGANIZER;CN=\"MundoTango\":mailto:no-reply@example.com\r\n"), "{text}");
        let attendee = "\r\nATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=ACCEPTED;RSVP=FALSE;\
            CN=\"Pérez, 'la ñata'\":mailto:a%25b+c@example.com\r\n";
        assert!(text.contains(attendee), "{text}");
    }
}
