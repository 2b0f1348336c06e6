//! Weeks in which clocks change, for tests that go through them.

/// Zones, and the weeks in which their clocks change. Tehran's have not changed since 2022.
pub(super) const WEEKS: [(&str, &str, &str); 10] = [
    ("America/New_York", "2027-03-11", "14 March, an hour forward"),
    ("America/New_York", "2026-10-29", "1 November, an hour back"),
    ("Europe/Paris", "2027-03-25", "28 March, an hour forward"),
    ("Europe/Paris", "2026-10-22", "25 October, an hour back"),
    ("America/Santiago", "2026-04-02", "5 April, an hour back at midnight"),
    ("America/Santiago", "2026-09-03", "6 September, midnight is left out"),
    ("Australia/Lord_Howe", "2026-04-02", "5 April, half an hour back"),
    ("Australia/Lord_Howe", "2026-10-01", "4 October, half an hour forward"),
    ("Asia/Tehran", "2021-03-18", "22 March, midnight is left out"),
    ("Asia/Tehran", "2021-09-18", "22 September, an hour back at midnight"),
];
