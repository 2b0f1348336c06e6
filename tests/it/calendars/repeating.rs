//! Repeating events out of the files of other programs.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::import::{import, outcomes};
use crate::server::{Server, User, until};

/// A weekly milonga as Google Calendar exports it: one date is left out, one is another, and one is cancelled.
const GOOGLE: &str = "BEGIN:VCALENDAR\r
PRODID:-//Google Inc//Google Calendar 70.9054//EN\r
VERSION:2.0\r
CALSCALE:GREGORIAN\r
METHOD:PUBLISH\r
X-WR-CALNAME:Milongas\r
X-WR-TIMEZONE:Europe/Berlin\r
BEGIN:VTIMEZONE\r
TZID:Europe/Berlin\r
X-LIC-LOCATION:Europe/Berlin\r
BEGIN:DAYLIGHT\r
TZOFFSETFROM:+0100\r
TZOFFSETTO:+0200\r
TZNAME:CEST\r
DTSTART:19700329T020000\r
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r
END:DAYLIGHT\r
BEGIN:STANDARD\r
TZOFFSETFROM:+0200\r
TZOFFSETTO:+0100\r
TZNAME:CET\r
DTSTART:19701025T030000\r
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\r
END:STANDARD\r
END:VTIMEZONE\r
BEGIN:VEVENT\r
DTSTART;TZID=Europe/Berlin:20400504T210000\r
DTEND;TZID=Europe/Berlin:20400505T030000\r
RRULE:FREQ=WEEKLY;WKST=MO;UNTIL=20400629T215959Z;BYDAY=FR\r
EXDATE;TZID=Europe/Berlin:20400518T210000\r
DTSTAMP:20400101T120000Z\r
UID:4u3jd8sk2@google.com\r
CREATED:20391201T120000Z\r
DESCRIPTION:Live music\r
LAST-MODIFIED:20391201T120000Z\r
LOCATION:Ballhaus\\, Berlin\r
SEQUENCE:1\r
STATUS:CONFIRMED\r
SUMMARY:Milonga\r
TRANSP:OPAQUE\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART;TZID=Europe/Berlin:20400525T220000\r
DTEND;TZID=Europe/Berlin:20400526T040000\r
DTSTAMP:20400101T120000Z\r
UID:4u3jd8sk2@google.com\r
RECURRENCE-ID;TZID=Europe/Berlin:20400525T210000\r
DESCRIPTION:Live music\r
LOCATION:Ballhaus\\, Berlin\r
SEQUENCE:2\r
STATUS:CONFIRMED\r
SUMMARY:Gran Milonga\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART;TZID=Europe/Berlin:20400601T210000\r
DTEND;TZID=Europe/Berlin:20400602T030000\r
DTSTAMP:20400101T120000Z\r
UID:4u3jd8sk2@google.com\r
RECURRENCE-ID;TZID=Europe/Berlin:20400601T210000\r
LOCATION:Ballhaus\\, Berlin\r
STATUS:CANCELLED\r
SUMMARY:Milonga\r
END:VEVENT\r
END:VCALENDAR\r
";

/// The last Friday of each month as Outlook exports it.
const OUTLOOK: &str = "BEGIN:VCALENDAR\r
PRODID:-//Microsoft Corporation//Outlook 16.0 MIMEDIR//EN\r
VERSION:2.0\r
METHOD:PUBLISH\r
X-MS-OLK-FORCEINSPECTOROPEN:TRUE\r
BEGIN:VTIMEZONE\r
TZID:W. Europe Standard Time\r
BEGIN:STANDARD\r
DTSTART:16011028T030000\r
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\r
TZOFFSETFROM:+0200\r
TZOFFSETTO:+0100\r
END:STANDARD\r
BEGIN:DAYLIGHT\r
DTSTART:16010325T020000\r
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3\r
TZOFFSETFROM:+0100\r
TZOFFSETTO:+0200\r
END:DAYLIGHT\r
END:VTIMEZONE\r
BEGIN:VEVENT\r
CLASS:PUBLIC\r
DTEND;TZID=\"W. Europe Standard Time\":20400525T233000\r
DTSTAMP:20400101T120000Z\r
DTSTART;TZID=\"W. Europe Standard Time\":20400525T200000\r
LOCATION:Club\r
PRIORITY:5\r
RRULE:FREQ=MONTHLY;COUNT=4;BYDAY=FR;BYSETPOS=-1\r
SEQUENCE:0\r
SUMMARY;LANGUAGE=en-us:Practica\r
TRANSP:OPAQUE\r
UID:040000008200E00074C5B7101A82E00800000000\r
X-MICROSOFT-CDO-BUSYSTATUS:BUSY\r
END:VEVENT\r
END:VCALENDAR\r
";

/// The dates of a series that take place, by their original starts, once its events are as it says.
async fn dates(server: &Server, user: &User, series: &str) -> Vec<Value> {
    let path = format!("/api/events/series/{series}");
    until("the series is settled", async || {
        let (_, series) = server.get(&path, user).await;
        (series["isSettled"] == true).then_some(())
    })
    .await;
    let (status, page) = server.get(&format!("{path}/dates?limit=100"), user).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let dates = page["items"].as_array().unwrap().iter();
    dates.filter(|date| date["state"] == "made").cloned().collect()
}

fn starts(dates: &[Value]) -> Vec<&str> {
    dates.iter().map(|date| date["event"]["localStart"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeating_event_of_google_becomes_a_series_once() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let report = import(&server, &ana, GOOGLE.to_owned()).await;
    assert_eq!(outcomes(&report), ["created", "changed", "cancelled"], "{report}");
    let series = report["items"][0]["seriesId"].as_str().unwrap();
    assert_eq!(report["items"][1]["originalStart"], "2040-05-25T21:00:00");
    let made = dates(&server, &ana, series).await;
    let wanted = [
        "2040-05-04T21:00:00",
        "2040-05-11T21:00:00",
        "2040-05-25T22:00:00",
        "2040-06-08T21:00:00",
        "2040-06-15T21:00:00",
        "2040-06-22T21:00:00",
        "2040-06-29T21:00:00",
    ];
    assert_eq!(starts(&made), wanted);
    assert_eq!(
        (&made[2]["event"]["title"], &made[1]["event"]["title"]),
        (&json!("Gran Milonga"), &json!("Milonga"))
    );
    assert_eq!(made[1]["event"]["timeZone"], "Europe/Berlin");

    let again = import(&server, &ana, GOOGLE.to_owned()).await;
    assert_eq!(outcomes(&again), ["unchanged", "unchanged", "cancelled"], "{again}");
    assert_eq!(again["items"][0]["seriesId"], series);

    // What the file does not tell stays, and so do the events.
    let path = format!("/api/events/series/{series}");
    let (status, _) =
        server.call(Method::PATCH, &path, Some(&ana.token), Some(json!({"capacity": 30}))).await;
    assert_eq!(status, StatusCode::OK);
    let changed = GOOGLE.replace("UNTIL=20400629", "UNTIL=20400616").replace("Live music", "No music");
    let report = import(&server, &ana, changed.clone()).await;
    assert_eq!(outcomes(&report)[0], "changed", "{report}");
    let after = dates(&server, &ana, series).await;
    assert_eq!(starts(&after), wanted[..5]);
    let same = |date: &Value| (date["eventId"].clone(), date["originalStart"].clone());
    assert_eq!(after.iter().map(same).collect::<Vec<_>>(), made[..5].iter().map(same).collect::<Vec<_>>());
    assert!(
        after
            .iter()
            .all(|date| date["event"]["description"] == "No music" && date["event"]["capacity"] == 30)
    );
    assert_eq!(outcomes(&import(&server, &ana, changed).await)[0], "unchanged");

    let gone = GOOGLE.replacen("STATUS:CONFIRMED", "STATUS:CANCELLED", 1);
    assert_eq!(outcomes(&import(&server, &ana, gone).await), ["cancelled"]);
    assert_eq!(dates(&server, &ana, series).await, Vec::<Value>::new());
    assert_eq!(
        outcomes(&import(&server, &ana, GOOGLE.to_owned()).await),
        ["refused"],
        "it is cancelled for good"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeating_event_of_outlook_becomes_a_series_in_the_zone_of_its_name() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let (one, other) =
        tokio::join!(import(&server, &ana, OUTLOOK.to_owned()), import(&server, &ana, OUTLOOK.to_owned()));
    let series = &one["items"][0]["seriesId"];
    assert!(series.is_string() && *series == other["items"][0]["seriesId"], "{one} {other}");
    let made = dates(&server, &ana, series.as_str().unwrap()).await;
    let wanted = ["2040-05-25T20:00:00", "2040-06-29T20:00:00", "2040-07-27T20:00:00", "2040-08-31T20:00:00"];
    assert_eq!(starts(&made), wanted);
    assert_eq!(made[0]["event"]["timeZone"], "Europe/Berlin");
    let (_, listed) = server.get("/api/events?limit=100", &ana).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 4, "both made the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_a_series_cannot_say_nothing_is_taken() {
    let server = Server::start().await;
    let ana = server.register("ana").await;
    let weekly = "RRULE:FREQ=WEEKLY;WKST=MO;UNTIL=20400629T215959Z;BYDAY=FR\r\n";
    let gala = "RECURRENCE-ID;TZID=Europe/Berlin:20400525T210000";
    for (from, to, why) in [
        (weekly, "RRULE:FREQ=MONTHLY;BYDAY=1FR,3FR\r\n", "RRULE: must name one day of a month"),
        (weekly, "RRULE:FREQ=WEEKLY;BYDAY=TU\r\n", "DTSTART: must be one of the dates"),
        (weekly, "RRULE:FREQ=WEEKLY;BYHOUR=9,21\r\n", "RRULE: BYHOUR"),
        (weekly, &format!("{weekly}RDATE;TZID=Europe/Berlin:20400506T210000\r\n"), "RDATE"),
        (gala, &gala.replace(";TZID", ";RANGE=THISANDFUTURE;TZID"), "RECURRENCE-ID: RANGE"),
        ("SUMMARY:Gran Milonga", "SUMMARY:", "RECURRENCE-ID 2040-05-25T21:00:00: SUMMARY"),
        ("20400505T030000", "20400705T030000", "DTEND"),
    ] {
        let report = import(&server, &ana, GOOGLE.replace(from, to)).await;
        assert_eq!(outcomes(&report), ["refused"], "{to}: {report}");
        let reason = report["items"][0]["reason"].as_str().unwrap();
        assert!(reason.starts_with(why), "{to}: {reason}");
    }
    let (_, listed) = server.get("/api/events", &ana).await;
    assert_eq!(listed["items"], json!([]));

    // A name is that of a series or of one event, and a user has twenty series.
    let once = GOOGLE.replace(weekly, "");
    assert_eq!(outcomes(&import(&server, &ana, once).await), ["created", "refused", "refused"]);
    assert_eq!(outcomes(&import(&server, &ana, GOOGLE.to_owned()).await), ["refused"]);
    let (head, event) = OUTLOOK.split_once("BEGIN:VEVENT").unwrap();
    let many =
        (0..21).map(|number| format!("BEGIN:VEVENT{event}").replace("UID:04", &format!("UID:{number}-")));
    let many: String = many.map(|one| one.replace("END:VCALENDAR\r\n", "")).collect();
    let report = import(&server, &ana, format!("{head}{many}END:VCALENDAR\r\n")).await;
    assert_eq!((&report["created"], &report["refused"]), (&json!(20), &json!(1)), "{report}");
}
