//! The way of lines to standard error: through a bounded queue, by a thread of its own. Who logs never waits; lines
//! that the reader is too slow for are dropped and counted.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::metrics::{DROPPED_SLOW, DROPPED_UNWRITTEN, metrics};

/// Most lines that wait for the reader.
const MAX_LINES: usize = 8192;
/// Most bytes of lines that wait for the reader.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Pause before writing again to an output that is not blocking and full.
const WRITE_PAUSE: Duration = Duration::from_millis(10);
/// Pause between two looks whether the queue has room for a flush.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);
/// Shortest time between two lines that say how many were dropped.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

enum Entry {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The queue.
pub(super) struct Lines {
    queue: SyncSender<Entry>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Lines {
    /// Starts the thread that writes to an output.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, entries) = sync_channel(MAX_LINES);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let lines = Self { queue, waiting_bytes: Arc::clone(&waiting_bytes) };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&entries, &waiting_bytes, output))?;
        Ok(lines)
    }

    fn push(&self, line: &[u8]) {
        let waiting = self.waiting_bytes.fetch_add(line.len(), Ordering::Relaxed);
        let has_room = waiting + line.len() <= MAX_BYTES;
        if !has_room || self.queue.try_send(Entry::Line(line.to_vec())).is_err() {
            self.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            metrics().count_dropped_line(DROPPED_SLOW);
        }
    }

    /// Waits until all lines before this are written, or the time is over.
    pub(super) fn flush(&self, patience: Duration) {
        let (done, written) = sync_channel(1);
        let deadline = Instant::now() + patience;
        while let Err(TrySendError::Full(_)) = self.queue.try_send(Entry::Flush(done.clone())) {
            if Instant::now() > deadline {
                return;
            }
            thread::sleep(FLUSH_PAUSE);
        }
        // Where the time is over nobody reads the log, and nothing is left to do.
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what comes until the process ends.
fn write_all(entries: &Receiver<Entry>, waiting_bytes: &AtomicUsize, mut output: impl Write) {
    let mut reported = (0, Instant::now());
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                let written = write_whole(&mut output, &line);
                waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                match written {
                    Ok(()) => report_dropped(&mut reported),
                    // The reader is gone; another one may come, as with a terminal that is opened again.
                    Err(_) => metrics().count_dropped_line(DROPPED_UNWRITTEN),
                }
            }
            Entry::Flush(done) => drop(done.try_send(())),
        }
    }
}

fn write_whole(output: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match output.write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => line = line.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(WRITE_PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Logs how many lines were dropped since the last such report.
fn report_dropped((known, at): &mut (u64, Instant)) {
    let dropped = metrics().dropped_lines();
    if dropped > *known && at.elapsed() > REPORT_INTERVAL {
        tracing::warn!(
            lines = dropped - *known,
            "lines of the log were dropped: they repeated each other, or their reader was too slow"
        );
        (*known, *at) = (dropped, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Takes what it is allowed to take, one write each.
    struct Reader {
        allowed: Receiver<io::Result<()>>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.allowed.recv().unwrap_or_else(|_| Err(ErrorKind::BrokenPipe.into()))?;
            self.read.send(bytes.to_vec()).map_err(|_| ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(mut lines: &Lines, text: &[u8]) {
        lines.write_all(text).unwrap();
    }

    #[test]
    fn who_logs_waits_for_no_reader_and_errors_end_nothing() {
        let (allow, allowed) = channel();
        let (read, lines_read) = channel();
        let lines = Lines::start(Reader { allowed, read }).unwrap();
        let dropped = metrics().dropped_lines();
        for _ in 0..MAX_LINES * 2 {
            log(&lines, b"line");
        }
        let dropped = metrics().dropped_lines() - dropped;
        assert!(dropped >= MAX_LINES as u64 - 2, "{dropped}");
        let start = Instant::now();
        lines.flush(Duration::from_millis(50));
        assert!(start.elapsed() < Duration::from_secs(5));

        for outcome in [Err(ErrorKind::WouldBlock.into()), Err(ErrorKind::BrokenPipe.into()), Ok(())] {
            allow.send(outcome).unwrap();
        }
        assert_eq!(lines_read.recv().unwrap(), b"line");
        drop(allow);
        lines.flush(Duration::from_mins(1));
        // Without a reader lines go nowhere, and the thread goes on.
        log(&lines, b"more");
        lines.flush(Duration::from_mins(1));
        assert_eq!(lines.waiting_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn lines_that_wait_are_bounded_in_bytes() {
        let (_allow, allowed) = channel();
        let lines = Lines::start(Reader { allowed, read: channel().0 }).unwrap();
        for _ in 0..100 {
            log(&lines, &vec![b'x'; MAX_BYTES / 10]);
        }
        assert!(lines.waiting_bytes.load(Ordering::Relaxed) <= MAX_BYTES);
    }
}
