//! The gateway's doors, without an application behind them.
#![allow(unreachable_pub, reason = "test modules share what they need")]

mod conformance;
mod keys;
