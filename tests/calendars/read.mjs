// Reads a calendar from its input by ical.js, as Thunderbird and Nextcloud do, and writes what is in it as JSON.
import { readFileSync } from "node:fs";
import ICAL from "ical.js";

const calendar = new ICAL.Component(ICAL.parse(readFileSync(0, "utf8")));
for (const zone of calendar.getAllSubcomponents("vtimezone")) {
    ICAL.TimezoneService.register(new ICAL.Timezone(zone));
}
const time = (value) => (value.isDate ? value.toString() : value.toJSDate().toISOString());
const events = calendar.getAllSubcomponents("vevent").map((component) => {
    const event = new ICAL.Event(component);
    return {
        uid: event.uid,
        sequence: event.sequence,
        start: time(event.startDate),
        end: time(event.endDate),
        zone: event.startDate.zone.tzid,
        summary: event.summary,
        description: event.description,
        location: event.location,
        status: component.getFirstPropertyValue("status"),
    };
});
const name = calendar.getFirstPropertyValue("x-wr-calname");
const method = calendar.getFirstPropertyValue("method");
process.stdout.write(JSON.stringify({ name, method, events }));
