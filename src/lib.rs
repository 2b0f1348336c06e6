//! MundoTango: the community of tango dancers, built on the real-time engine.
//!
//! [`node`] puts everything together; [`community`] holds one file a feature; [`config`] and [`cli`] are how operators
//! reach it.

pub mod analytics;
mod chosen_traces;
pub mod cli;
pub mod community;
pub mod config;
mod data_folder;
pub mod doctor;
pub mod email;
pub mod engines;
mod export_route;
pub mod icalendar;
mod invalidations;
mod jobs_cli;
mod jobs_routes;
pub mod life_ceo;
mod mail_routes;
pub mod node;

mod node_client;
pub mod node_file;
mod open_files;
#[cfg(test)]
mod personal_page;
pub mod relay;
mod running_node;
pub mod schema;
pub mod search;
mod secrets;
pub mod seed;
mod server_reads;
mod service_manager;
mod signals;
pub mod texts;
mod transfer;
