//! Room on the disk: writes stop before it is full.

use std::path::{Path, PathBuf};

use super::folder::OpenError;
use crate::StoreError;

/// The disk that a folder is on, and how much of it has to stay free.
#[derive(Clone, Debug)]
pub(super) struct Space {
    folder: PathBuf,
    reserve: u64,
}

impl Space {
    pub(super) fn new(folder: &Path, reserve: u64) -> Self {
        Self { folder: folder.to_owned(), reserve }
    }

    /// Fails if there is too little room to open the store, which writes before it serves.
    pub(super) fn check_start(&self) -> Result<(), OpenError> {
        let (path, reserve) = (self.folder.clone(), self.reserve);
        self.check().map_err(|_| OpenError::NoSpace { path, reserve })
    }

    /// Fails if there is too little room for a write.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match rustix::fs::statvfs(&self.folder) {
            Ok(disk) => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                mundotango_ops::metrics().store_disk_free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
                if free < self.reserve { Err(StoreError::NoSpace) } else { Ok(()) }
            }
            // The write itself will tell.
            Err(error) => {
                tracing::warn!(%error, "free space not known");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_some_room_and_not_all() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Space::new(folder.path(), 1).check().is_ok());
        assert!(matches!(Space::new(folder.path(), u64::MAX).check(), Err(StoreError::NoSpace)));
    }
}
