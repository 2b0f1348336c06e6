//! Differences: any bytes are one or an error, and what is made of two texts gives the second back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mundotango_protocol::delta;

const LIMIT: usize = 1 << 16;

fuzz_target!(|parts: (&[u8], &[u8])| {
    let (source, other) = parts;
    if let Ok(target) = delta::apply(source, other, LIMIT) {
        assert!(target.len() <= LIMIT);
    }
    let made = delta::create(source, other);
    assert_eq!(delta::apply(source, &made, usize::MAX).as_deref(), Ok(other));
    if std::str::from_utf8(source).is_ok() && std::str::from_utf8(other).is_ok() {
        assert!(std::str::from_utf8(&made).is_ok());
    }
});
