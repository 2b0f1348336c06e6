"""Reads a calendar from its input by the package icalendar, strictly, and writes what is in it as JSON."""

import datetime
import json
import sys

import icalendar


def time(value):
    if not isinstance(value, datetime.datetime):
        return value.isoformat()
    return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def text(component, name):
    value = component.get(name)
    return None if value is None else str(value)


calendar = icalendar.Calendar.from_ical(sys.stdin.buffer.read())
problems = list(calendar.errors)
events = []
for event in calendar.walk("VEVENT"):
    problems += event.errors
    start = event.decoded("DTSTART")
    events.append({
        "uid": text(event, "UID"),
        "sequence": int(event.get("SEQUENCE")),
        "start": time(start),
        "end": time(event.decoded("DTEND")),
        "zone": event["DTSTART"].params.get("TZID", "UTC"),
        "summary": text(event, "SUMMARY"),
        "description": text(event, "DESCRIPTION"),
        "location": text(event, "LOCATION"),
        "status": text(event, "STATUS"),
    })
if problems:
    sys.exit(f"the calendar has errors: {problems}")
# A zone of the file's own rules: that its offsets are right is seen in the times.
for zone in calendar.walk("VTIMEZONE"):
    zone.to_tz()
json.dump({"name": text(calendar, "X-WR-CALNAME"), "method": text(calendar, "METHOD"), "events": events}, sys.stdout)
