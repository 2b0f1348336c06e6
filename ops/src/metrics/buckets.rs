//! Upper bounds of buckets. Each kind of time has those in which its values differ, and one at each objective: a quantile
//! cannot tell more than between which bounds it lies.

/// Seconds of a request: from an answer out of memory to one that times out. Objectives: 0.1 from the cache, 0.5 otherwise.
pub(super) const REQUEST: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Seconds of a call of the store: from a row in memory, which the embedded store reads in a few microseconds, to a server
/// that hangs.
pub(super) const STORE: &[f64] = &[
    0.000_001,
    0.000_002_5,
    0.000_01,
    0.000_05,
    0.000_25,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.5,
    2.5,
    10.0,
];
/// Seconds of a search. Objective: 0.1.
pub(super) const SEARCH: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
/// Seconds until a job begins. Objectives: 0.02 while all is well, 5 after the loss of a node.
pub(super) const WAIT: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0, 3_600.0];
/// Seconds of an attempt at a job, of which the longest may take five minutes.
pub(super) const JOB: &[f64] =
    &[0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Seconds of a model's answer.
pub(super) const ANSWER: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
/// Seconds of a session: from a client that cannot stay to one that stays for a day.
pub(super) const LIFE: &[f64] = &[0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0];
/// Writes that share a commit.
pub(super) const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1_024.0];
