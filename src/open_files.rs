//! How many files the process may have open, and what of the configuration fits.

use mundotango_gateway::{EXTRA_CONNECTIONS, INTERNAL_CONNECTIONS};

use crate::config::Config;

/// Open files that are neither clients' nor the embedded store's: connections to engines, and those that are refused.
const OWN_FILES: usize = 64 + EXTRA_CONNECTIONS;
/// Open files of the internal listener.
const INTERNAL_FILES: usize = INTERNAL_CONNECTIONS + EXTRA_CONNECTIONS;

/// Raises the process' limit of open files as far as it may be, as many systems begin with 1,024, and has the store and
/// clients make do with it: each connection is an open file.
pub(crate) fn fit_open_files(config: &mut Config) {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        tracing::warn!(%error, "limit of open files not known");
        u64::MAX
    });
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    config.store.max_open_files = config.store.max_open_files.min(files / 4);
    let possible = connections_within(files, config);
    let wanted = config.http.max_connections;
    if possible < wanted {
        tracing::warn!(
            files,
            possible,
            wanted,
            "fewer connections than http.max_connections, as no more files may be open"
        );
        config.http.max_connections = possible;
    }
}

/// How many connections of clients so many open files leave.
pub(crate) fn connections_within(files: usize, config: &Config) -> usize {
    let has_internal = config.http.internal_listen.is_some() || config.http.tls.certificate.is_some();
    let own = OWN_FILES + if has_internal { INTERNAL_FILES } else { 0 };
    files.saturating_sub(config.store.max_open_files.min(files / 4) + own).max(1)
}
