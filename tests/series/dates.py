"""The dates of rules by dateutil and zoneinfo: a rule as a line of JSON comes in, its dates go out as a line of JSON."""

import itertools
import json
import sys
import zoneinfo
from datetime import date, datetime, time, timedelta, timezone

from dateutil import rrule

FREQUENCIES = {"daily": rrule.DAILY, "weekly": rrule.WEEKLY, "monthly": rrule.MONTHLY}


def rule_of(asked):
    start = datetime.combine(date.fromisoformat(asked["first"]), time.fromisoformat(asked["start"]))
    options = {"dtstart": start, "interval": asked["interval"], "wkst": rrule.MO}
    if asked["until"] is not None:
        options["until"] = datetime.combine(date.fromisoformat(asked["until"]), time.max)
    if asked["count"] is not None:
        options["count"] = asked["count"]
    if asked["days"] is not None:
        options["byweekday"] = [rrule.weekday(day, nth) for nth, day in asked["days"]]
    if asked["day_of_month"] is not None:
        options["bymonthday"] = asked["day_of_month"]
    return rrule.rrule(FREQUENCIES[asked["frequency"]], **options)


def instant(local, zone):
    # A time in a gap is read by the offset before it, and of one that comes twice this is the first (PEP 495).
    return local.replace(tzinfo=zone, fold=0).astimezone(timezone.utc)


def shown(point):
    return point.strftime("%Y-%m-%dT%H:%M:%SZ")


def dates(asked):
    zone = zoneinfo.ZoneInfo(asked["zone"])
    last = date.fromisoformat(asked["last"])
    excluded = {date.fromisoformat(day) for day in asked["excluded"]}
    given = itertools.takewhile(lambda one: one.date() <= last + timedelta(days=1), rule_of(asked))
    given = [one for one in given if one.date() not in excluded]
    found = []
    for one, following in itertools.zip_longest(given, given[1:]):
        start = instant(one, zone)
        # On a day that the zone leaves out: the next one is at the same instant.
        is_twin = following is not None and instant(following, zone) <= start
        if is_twin or one.date() > last:
            continue
        end = None
        if asked["end"] is not None:
            local = datetime.combine(one.date() + timedelta(days=asked["end"][0]), time.fromisoformat(asked["end"][1]))
            end = instant(local, zone)
            if end <= start:
                end = start + (local - one)
            end = shown(end)
        found.append([str(one.date()), shown(start), end])
    return found


def main():
    # The packaged zones, and not the machine's.
    zoneinfo.reset_tzpath(to=[])
    for line in sys.stdin:
        print(json.dumps(dates(json.loads(line)), separators=(",", ":")))


if __name__ == "__main__":
    main()
