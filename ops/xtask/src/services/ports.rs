//! Ports for a folder's servers: away from those that servers have by default, and others in every folder.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::Context as _;

use super::kind::BLOCK;

/// Where blocks begin.
const FIRST: u16 = 20_000;
/// How many blocks there are.
const BLOCKS: u16 = 600;
// From there on the system gives ports to outgoing connections.
const _: () = assert!(FIRST + BLOCKS * BLOCK < 32_768);

/// The first port of a block that nothing has a port of.
///
/// Looks first where the folder's name points to, so that two folders that look at the same moment find different ones.
pub(crate) fn free_block(folder: &Path) -> anyhow::Result<u16> {
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    let from = u16::try_from(hasher.finish() % u64::from(BLOCKS))?;
    (0..BLOCKS)
        .map(|step| FIRST + (from + step) % BLOCKS * BLOCK)
        .find(|first| (*first..first + BLOCK).all(|port| is_free(Ipv4Addr::UNSPECIFIED, port)))
        .context("no ports are free")
}

/// Whether a server could listen there.
pub(crate) fn is_free(ip: Ipv4Addr, port: u16) -> bool {
    TcpListener::bind((ip, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_with_a_port_taken_is_passed_over() {
        let folder = Path::new("/a/folder");
        let first = free_block(folder).unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first + 3)).unwrap();
        assert_ne!(free_block(folder).unwrap(), first);
        assert!(!is_free(Ipv4Addr::LOCALHOST, first + 3));
    }
}
