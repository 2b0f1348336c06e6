//! `cargo xtask image`: what the last stage of `ops/deploy/Dockerfile` does, done natively into a folder, and a node that
//! runs in it as in a container: another root that is read-only, a user that has no name and no rights, no shell.

mod contained;
mod libraries;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use self::contained::Contained;
use crate::{parts, target_folder};

/// The user of the image.
const USER: u32 = 10_001;
/// Where the program is in the image.
const PROGRAM: &str = "usr/local/bin/mundotango";
/// The roots of TLS, as the base image has them.
const ROOTS: &str = "etc/ssl/certs/ca-certificates.crt";
/// Where the node may write.
const DATA: &str = "var/lib/mundotango";
/// How long a node may take to be ready, or to be gone.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at a node.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Lays the image out and tries it.
pub(crate) fn check(binary: &Path) -> anyhow::Result<()> {
    let image = target_folder().join("image");
    lay_out(binary, &image)?;
    print_files(&image)?;
    serves(&image)
}

/// Copies what the image has into a folder of its own.
fn lay_out(binary: &Path, image: &Path) -> anyhow::Result<()> {
    if image.exists() {
        fs::remove_dir_all(image)?;
    }
    for (folder, mode) in [("tmp", 0o1777), ("proc", 0o555), (DATA, 0o700)] {
        fs::create_dir_all(image.join(folder))?;
        fs::set_permissions(image.join(folder), fs::Permissions::from_mode(mode))?;
    }
    chown(image.join(DATA), Some(USER), Some(USER))
        .context("run it as root: the image has a user of its own")?;
    copy(binary, &image.join(PROGRAM))?;
    let libraries = libraries::of(binary)?;
    for library in &libraries {
        copy(library, &image.join(library.strip_prefix("/")?))?;
    }
    let roots = Path::new("/").join(ROOTS);
    if !roots.exists() {
        parts::apt_install(&["ca-certificates"])?;
    }
    copy(&roots, &image.join(ROOTS))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to.parent().context("no folder")?)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// Says what is in the image, with modes and sizes.
fn print_files(image: &Path) -> anyhow::Result<()> {
    let mut folders = vec![image.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push((entry.path(), entry.metadata()?));
            }
        }
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (path, metadata) in &files {
        let mode = metadata.permissions().mode() & 0o7777;
        println!("{mode:04o} {:>12} /{}", metadata.len(), path.strip_prefix(image)?.display());
    }
    let total: u64 = files.iter().map(|(_, metadata)| metadata.len()).sum();
    println!("{} files, {total} bytes", files.len());
    Ok(())
}

/// A node in the image becomes ready, has no rights, and leaves in order.
fn serves(image: &Path) -> anyhow::Result<()> {
    // Taken again by the node at once.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let listen = address.to_string();
    let environment =
        [("MUNDOTANGO__LISTEN", listen.as_str()), ("MUNDOTANGO__DATA_DIR", "/var/lib/mundotango")];
    let log = target_folder().join("image.log");
    let command = contained::command(image, &["/usr/local/bin/mundotango", "serve"], &environment);
    let mut node = Contained::start(command, File::create(&log)?)?;
    let outcome = is_ready(address, &mut node)
        .and_then(|()| node.has_no_rights())
        .and_then(|()| probe(image, &environment))
        .and_then(|()| node.ends());
    if outcome.is_err() {
        print!("{}", fs::read_to_string(&log).unwrap_or_default());
    }
    outcome?;
    println!("ready as user {USER} on a read-only root, and drained");
    Ok(())
}

fn is_ready(address: SocketAddr, node: &mut Contained) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        match answer(address) {
            Ok(status) if status.contains(" 200 ") => return Ok(()),
            told => anyhow::ensure!(start.elapsed() < PATIENCE, "the node is not ready: {told:?}"),
        }
        node.must_run()?;
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// The first line of what the node says to a look at its readiness.
fn answer(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(b"GET /api/health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The image's HEALTHCHECK, which has no shell and no `curl` to ask with.
fn probe(image: &Path, environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let arguments = ["/usr/local/bin/mundotango", "doctor", "--probe"];
    let status = contained::command(image, &arguments, environment).status().context("cannot run unshare")?;
    anyhow::ensure!(status.success(), "`mundotango doctor --probe` of a ready node ended with {status}");
    Ok(())
}
