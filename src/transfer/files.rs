//! Streams in files, read and written by threads of their own: they stay the user who started the command when it goes on
//! as the owner of a data folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use anyhow::Context as _;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that wait.
const WAITING: usize = 4;
/// What a compressed file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The name for standard input and output.
const STANDARD: &str = "-";

/// What a writer is told.
enum Order {
    Write(Bytes),
    /// All has come.
    Finish,
}

/// Writes a stream. A file has its name only when all of it is on disk; what is left of one that did not get that far is
/// removed.
pub(super) struct StreamWriter {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl StreamWriter {
    /// Opens the file, which must not be there.
    pub(super) fn start(path: &Path) -> anyhow::Result<Self> {
        let (orders, waiting) = mpsc::channel(WAITING);
        let thread = if path.as_os_str() == STANDARD {
            std::thread::spawn(move || write_all(waiting, io::stdout()).map(drop).map_err(Into::into))
        } else {
            anyhow::ensure!(!path.exists(), "{} is there already", path.display());
            let partial = partial_path(path);
            let open = || format!("cannot write {}", partial.display());
            // Passwords are in it as digests, and messages as they are.
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
            let (file, path) = (file.with_context(open)?, path.to_owned());
            std::thread::spawn(move || write_file(waiting, file, &partial, &path))
        };
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Writes a piece; an error if those before could not be written.
    pub(super) async fn write(&mut self, piece: Bytes) -> anyhow::Result<()> {
        match &self.orders {
            Some(orders) if orders.send(Order::Write(piece)).await.is_ok() => Ok(()),
            _ => self.end(),
        }
    }

    /// Has all on disk, under its name.
    pub(super) async fn finish(mut self) -> anyhow::Result<()> {
        if let Some(orders) = &self.orders {
            // If nobody takes it, the thread has ended and tells why.
            let _ = orders.send(Order::Finish).await;
        }
        self.end()
    }

    /// Waits for the thread, which has nothing more to come; what it says.
    fn end(&mut self) -> anyhow::Result<()> {
        drop(self.orders.take());
        let Some(thread) = self.thread.take() else { anyhow::bail!("the stream cannot be written") };
        tokio::task::block_in_place(|| thread.join()).map_err(|_| anyhow::anyhow!("the writer panicked"))?
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        // So that nothing is left of a file when the command ends.
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// Writes what comes; the writer if all has come, an error if not.
fn write_all<W: Write>(mut orders: mpsc::Receiver<Order>, mut writer: W) -> io::Result<W> {
    loop {
        match orders.blocking_recv() {
            Some(Order::Write(piece)) => writer.write_all(&piece)?,
            Some(Order::Finish) => {
                writer.flush()?;
                return Ok(writer);
            }
            None => return Err(io::Error::other("the stream did not come to its end")),
        }
    }
}

fn write_file(orders: mpsc::Receiver<Order>, file: File, partial: &Path, path: &Path) -> anyhow::Result<()> {
    let written = if is_compressed(path) {
        write_all(orders, GzEncoder::new(BufWriter::new(file), Compression::fast()))
            .and_then(GzEncoder::finish)
            .and_then(|writer| writer.into_inner().map_err(io::IntoInnerError::into_error))
    } else {
        write_all(orders, BufWriter::new(file))
            .and_then(|writer| writer.into_inner().map_err(io::IntoInnerError::into_error))
    };
    let named = written.and_then(|file| {
        file.sync_all()?;
        fs::rename(partial, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    });
    if named.is_err() {
        let _ = fs::remove_file(partial);
    }
    named.with_context(|| format!("{} was not written", path.display()))
}

/// Reads a stream.
pub(super) struct StreamReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    shown: String,
}

impl StreamReader {
    /// Opens the file.
    pub(super) fn start(path: &Path) -> anyhow::Result<Self> {
        let (sender, pieces) = mpsc::channel(WAITING);
        let input: Box<dyn Read + Send> = if path.as_os_str() == STANDARD {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?)
        };
        std::thread::spawn(move || read_all(BufReader::with_capacity(PIECE_BYTES, input), &sender));
        Ok(Self { pieces, shown: path.display().to_string() })
    }

    /// The next piece, in the order of the stream.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        let piece = self.pieces.recv().await.transpose();
        piece.with_context(|| format!("cannot read on in {}", self.shown))
    }
}

fn read_all(mut input: impl io::BufRead + Send + 'static, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    let mut reader: Box<dyn Read> = match input.fill_buf() {
        Ok(start) if start.starts_with(&GZIP) => Box::new(MultiGzDecoder::new(input)),
        _ => Box::new(input),
    };
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let piece: io::Result<Bytes> = match reader.read(&mut piece) {
            Ok(0) => return,
            Ok(read) => {
                piece.truncate(read);
                Ok(piece.into())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_last = piece.is_err();
        if pieces.blocking_send(piece).is_err() || is_last {
            return;
        }
    }
}
