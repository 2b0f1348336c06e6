//! A file that somebody says is a calendar: events or an error, and no more of them than are taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mundotango::icalendar::{MOST_EVENTS, read};

fuzz_target!(|text: &str| {
    let Ok(items) = read(text, None) else { return };
    assert!(items.len() <= MOST_EVENTS);
    for item in items {
        if let Ok(found) = item.when {
            assert!(found.end.is_none_or(|end| end > found.start), "it ends after it begins");
        }
    }
});
