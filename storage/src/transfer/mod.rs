//! All that a store holds as one stream, out of either engine and into either.
//!
//! The stream is NDJSON: lines of JSON that any text tool reads. What an operator needs of it:
//!
//! - The first line tells the format, the program, the engine and the names of all tables:
//!   `{"mundotango":{"format":1,…}}`.
//! - A partition is `{"table":…,"id":…,"version":…,"marks":[…],"facts":…,"head":…,"rows":[[key,body],…]}`. One with
//!   many rows says `"goesOn":true`, and its next line holds more of them. Kinds come before indexes, so that what is made
//!   while a CQL server is read leaves entries that lead nowhere and not partitions that nothing leads to.
//! - An entry is `{"table":…,"list":…,"key":…,"body":…}`, a publication of a long history
//!   `{"table":"publications","channel":…,"offset":…,"epoch":…,"end":…,"publication":…}`, the last in base 64, as it is kept.
//! - After some hundred kilobytes a line closes a block: `{"block":7,"lines":812,"sha256":…}`. The digest is of the block's
//!   bytes behind the digest of the block before, so no block is missing, doubled or from another stream.
//! - The last line, `{"trailer":…,"sha256":…}`, has counts and a checksum for each table. A stream without it is cut off.
//!
//! A table's checksum is the sum of the SHA-256 of its items (a partition without its rows, a row, an entry), so it does not
//! depend on their order: two stores hold the same if their checksums are the same, whichever engine keeps them.

mod check;
mod decode;
mod encode;
mod import;
mod record;
mod spool;
mod totals;
mod walk;

pub use check::{CheckReport, LeadsTo, check};
pub use decode::{Block, Decoder, Part, Trailer};
pub use encode::{Header, export};
pub use import::{Import, Outcome, Progress, TableOutcome};
pub use totals::{Total, Totals};

use crate::StoreError;

/// The version of the stream's format that this program writes. Raised with every change that an older program cannot read.
pub const STREAM_FORMAT: u32 = 1;
/// The name of the long histories among the tables.
pub const PUBLICATIONS: &str = "publications";

/// Why a stream did not get to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransferError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream is not what was written.
    #[error("the stream is damaged at line {line} (byte {byte}): {why}")]
    Damaged {
        /// The line, from 1.
        line: u64,
        /// Where the line, or the block whose digest is wrong, begins.
        byte: u64,
        /// What is wrong.
        why: String,
    },
    /// It cannot be done as it was asked for.
    #[error("{0}")]
    Refused(String),
    /// Nobody takes the stream any more.
    #[error("nobody reads the stream any more")]
    Gone,
}

/// Runs what takes long on the processor where it holds up no session.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string()).into()))
}
