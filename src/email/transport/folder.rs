//! Messages as files in a folder, for development and tests. Mail programs open them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{SendError, TemporaryScope, Transport};
use crate::email::Message;

/// Writes each message into a file `<date>-<id>.eml`. A message that is sent again overwrites its file.
#[derive(Clone, Debug)]
pub struct FolderTransport {
    folder: PathBuf,
    /// Held while a file is written, so that two attempts of one message do not mix in one temporary file.
    writing: Arc<Mutex<()>>,
}

impl FolderTransport {
    /// Writes into a folder, which is made if it does not exist, now or before a message: a node of a cluster
    /// may have no disk that it can write to, and sends no letter then. Only the process's own user may look
    /// into it.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        if let Err(error) = make(&folder) {
            tracing::warn!(%error, folder = %folder.display(), "no folder for letters: they wait");
        }
        Self { folder, writing: Arc::default() }
    }

    /// Where a message is written.
    pub fn path(&self, message: &Message) -> PathBuf {
        self.folder.join(file_name(message))
    }
}

#[async_trait]
impl Transport for FolderTransport {
    async fn send(&self, message: &Message) -> Result<(), SendError> {
        let (folder, writing) = (self.folder.clone(), Arc::clone(&self.writing));
        let (name, bytes) = (file_name(message), message.bytes().to_vec());
        let written = tokio::task::spawn_blocking(move || {
            let _one_at_a_time = writing.lock();
            make(&folder)?;
            write(&folder, &name, &bytes)
        });
        written.await.map_err(io::Error::other).flatten().map_err(|error| SendError::Temporary {
            why: format!("cannot write into {}: {error}", self.folder.display()),
            retry_after: None,
            scope: TemporaryScope::Server,
        })
    }
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The name of a message's file. Names in order are messages in order.
fn file_name(message: &Message) -> String {
    format!("{}-{}.eml", message.date().strftime("%Y%m%dT%H%M%SZ"), message.id().as_str())
}

/// Writes a file that is whole or absent, also after a power cut.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!(".{name}.tmp"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    // The new name lasts only when the folder is written too.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::email::{Mailbox, MessageId, Rendered};

    fn message(subject: &str) -> Message {
        let rendered = Rendered {
            subject: subject.to_owned(),
            html: "<p>x</p>".to_owned(),
            text: "x".to_owned(),
            unsubscribe: None,
        };
        let ana: Mailbox = "Ana <ana@example.com>".parse().unwrap();
        let date = "2026-07-04T22:00:00.5Z".parse().unwrap();
        Message::compose(&ana, &ana, &rendered, MessageId::of_job("job-1").unwrap(), "example.com", date)
            .unwrap()
    }

    #[tokio::test]
    async fn a_message_is_one_file_for_its_user_alone_and_sending_again_overwrites_it() {
        let folder = tempfile::tempdir().unwrap();
        let transport = FolderTransport::new(folder.path().join("a/mail"));
        transport.send(&message("first")).await.unwrap();
        transport.send(&message("second")).await.unwrap();
        let files: Vec<_> = fs::read_dir(folder.path().join("a/mail")).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].file_name(), "20260704T220000Z-job-1.eml");
        assert_eq!(transport.path(&message("x")), files[0].path());
        assert_eq!(fs::read(files[0].path()).unwrap(), message("second").bytes());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&files[0].path()), mode(&folder.path().join("a/mail"))), (0o600, 0o700));
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_a_failure_for_now() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("mail");
        fs::write(&place, "a file").unwrap();
        let transport = FolderTransport::new(&place);
        assert!(matches!(transport.send(&message("x")).await, Err(SendError::Temporary { .. })));
        fs::remove_file(&place).unwrap();
        transport.send(&message("x")).await.unwrap();
    }
}
