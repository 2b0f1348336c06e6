//! A large partition while it is read: nobody knows until its last row whether all rows are of one version.

use std::io::{BufRead as _, BufReader, Seek as _, Write as _};

use super::TransferError;
use super::record::Record;
use crate::StoreError;
use crate::db::Schema;

/// Bytes that are kept in memory; the others wait in a file without a name in the system's folder for such files.
const IN_MEMORY: usize = 4 * 1024 * 1024;
/// Records that come back together.
const AT_ONCE: usize = 8;

/// The records of one partition, in order.
pub(super) struct Spool(tempfile::SpooledTempFile);

fn failed(error: &std::io::Error) -> TransferError {
    StoreError::Unavailable(format!("a temporary file: {error}")).into()
}

impl Spool {
    pub(super) fn new() -> Self {
        Self(tempfile::spooled_tempfile(IN_MEMORY))
    }

    pub(super) fn push(&mut self, record: &Record) -> Result<(), TransferError> {
        let mut line = Vec::new();
        record.write(&mut line)?;
        self.0.write_all(&line).map_err(|error| failed(&error))
    }

    /// Gives the records back, a few at a time.
    pub(super) fn replay(
        mut self,
        schema: &Schema,
    ) -> Result<impl Iterator<Item = Result<Vec<Record>, TransferError>> + '_, TransferError> {
        self.0.rewind().map_err(|error| failed(&error))?;
        let mut lines = BufReader::new(self.0).split(b'\n');
        let mut read = move || -> Result<Vec<Record>, TransferError> {
            let some = lines.by_ref().take(AT_ONCE);
            some.map(|line| Ok(Record::read(&line.map_err(|error| failed(&error))?, schema)?)).collect()
        };
        Ok(std::iter::from_fn(move || match read() {
            Ok(records) if records.is_empty() => None,
            outcome => Some(outcome),
        }))
    }
}
