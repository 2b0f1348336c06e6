//! What a deployment does (`cargo xtask release`), and what it then asks of the community that it changed: does it work
//! (`cargo xtask smoke`), and does it keep what was promised (`cargo xtask slo-watch`).

mod http;
mod release;
mod slo;
mod smoke;
mod socket;

pub(crate) use release::{Release, release};
pub(crate) use slo::{Watch, watch};
pub(crate) use smoke::{Smoke, smoke};
pub(crate) use socket::Socket;
