//! The whole server, as its users meet it: the real binary, real clients, real faults.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "the modules of one test binary share helpers")]

mod cli;
mod cluster;
mod crowd;
mod doors;
mod durability;
mod earlier;
mod fairness;
mod faults;
mod hostile;
mod idempotency;
mod input;
mod jobs;
mod layers;
mod live;
mod logs;
mod mail;
mod metrics;
mod operations;
mod outages;
mod outbox;
mod proxy;
mod reactions;
mod recovery;
mod rest;
mod rolling;
mod schema;
mod sdk;
mod sdks;
mod secured;
mod server;
mod server_api;
mod services;
mod stores;
mod storm;
mod supervision;
mod tls;
mod tokens;
mod transfer;
mod transports;
