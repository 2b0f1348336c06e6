//! The recorder's clock: microseconds since the process began, which never go back.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Microseconds since the process began; 0 where no time is known.
pub(crate) type Micros = u64;

/// The begin of the process by both clocks, a microsecond early so that no time of an event is 0.
static BEGIN: LazyLock<(Instant, Timestamp)> = LazyLock::new(|| {
    let now = Instant::now();
    (now.checked_sub(Duration::from_micros(1)).unwrap_or(now), Timestamp::now())
});

/// The time now.
pub(crate) fn now() -> Micros {
    u64::try_from(BEGIN.0.elapsed().as_micros()).unwrap_or(Micros::MAX)
}

/// A time as the calendar has it.
pub(crate) fn at(micros: Micros) -> Timestamp {
    BEGIN.1.checked_add(Duration::from_micros(micros)).unwrap_or(Timestamp::MAX)
}
