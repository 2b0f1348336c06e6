//! The data folder: made by a node alone, for its user alone, and the secret in it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mundotango_gateway::Secret;
use rand::RngExt as _;
use rustix::process::{Gid, Uid, geteuid};

use crate::config::{Config, MIN_SECRET_BYTES};
use crate::engines::store_path;

/// The file in which a secret is kept that was made.
pub(crate) const SECRET_FILE: &str = "secret";

/// Makes the folder if there is none. Channels' last publications lie in it, so nobody else may look into it.
pub(crate) fn make(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the data folder {}", shown(path)))?;
    if let Some(owner) = other_owner(path) {
        tracing::warn!(
            folder = %shown(path),
            owner = owner.0.as_raw(),
            "root serves on another user's data folder: that user cannot read the files that are made now"
        );
    }
    Ok(())
}

/// Where letters lie that are written and not sent.
pub(crate) fn letters(data_dir: &Path) -> PathBuf {
    data_dir.join("mail")
}

/// Where the index of words lies.
pub(crate) fn search_index(config: &Config) -> PathBuf {
    config.search.folder.clone().unwrap_or_else(|| config.data_dir.join("search"))
}

/// The folder as a person finds it from anywhere.
pub(crate) fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Has a command go on as the user to whom the folder belongs, as the node could not open what root leaves in it. Has to
/// be called before the process has other threads.
pub(crate) fn act_as_owner(path: &Path) -> anyhow::Result<()> {
    let Some((user, group)) = other_owner(path) else { return Ok(()) };
    rustix::thread::set_thread_groups(&[group])
        .and_then(|()| rustix::thread::set_thread_gid(group))
        .and_then(|()| rustix::thread::set_thread_uid(user))
        .with_context(|| format!("cannot go on as user {}, to whom {} belongs", user.as_raw(), shown(path)))
}

/// The user and group of a folder that is not root's, if this process is root's.
fn other_owner(path: &Path) -> Option<(Uid, Gid)> {
    let folder = fs::metadata(path).ok()?;
    (geteuid().is_root() && folder.uid() != 0)
        .then(|| (Uid::from_raw(folder.uid()), Gid::from_raw(folder.gid())))
}

/// The store of a folder that a node has made; an error that names the folder if there is none, as only nodes make
/// folders and a command in the wrong place must not.
pub(crate) fn existing_store(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let store = store_path(data_dir);
    anyhow::ensure!(
        store.is_dir(),
        "there is no data in {}: say where it is with --data-dir, or start a node there first (mundotango serve)",
        shown(data_dir)
    );
    Ok(store)
}

/// The configured secret, or the one that the folder's node has made.
pub(crate) fn existing_secret(config: &Config) -> anyhow::Result<Secret> {
    let path = config.data_dir.join(SECRET_FILE);
    match &config.auth.secret {
        Some(secret) => Ok(secret.clone()),
        None if path.exists() => read_secret(&path),
        None => anyhow::bail!(
            "there is no secret to sign with: no node has made {} yet, and auth.secret is not set; say with --data-dir \
             where the node's data is",
            shown(&path)
        ),
    }
}

/// The configured secret, or the folder's, made if there is none.
pub(crate) fn secret_or_made(config: &Config) -> anyhow::Result<Secret> {
    let path = config.data_dir.join(SECRET_FILE);
    if config.auth.secret.is_none() && !path.exists() {
        make_secret(&path).with_context(|| format!("cannot make {}", shown(&path)))?;
        tracing::info!(file = %shown(&path), "made a secret; tokens of an earlier one are not good any more");
    }
    existing_secret(config)
}

fn read_secret(path: &Path) -> anyhow::Result<Secret> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", shown(path)))?;
    let secret = Secret::new(text.trim().to_owned());
    let holds_enough = secret.expose().len() >= MIN_SECRET_BYTES;
    anyhow::ensure!(holds_enough, "{} holds less than {MIN_SECRET_BYTES} bytes", shown(path));
    Ok(secret)
}

/// Writes a random secret, unless another process has just done so. A crash leaves either none or a whole one.
fn make_secret(path: &Path) -> io::Result<()> {
    let secret: [u8; 32] = rand::rng().random();
    let temporary = path.with_extension(std::process::id().to_string());
    // Nobody but the node's own user may read the secret.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    for byte in secret {
        write!(file, "{byte:02x}")?;
    }
    writeln!(file)?;
    file.sync_all()?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_by_nodes_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data_dir: folder.path().join("data"), ..Config::default() };
        let error = existing_secret(&config).unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()) && !config.data_dir.exists(), "{error}");
        make(&config.data_dir).unwrap();
        assert_eq!(fs::metadata(&config.data_dir).unwrap().permissions().mode() & 0o777, 0o700);
        let first = secret_or_made(&config).unwrap();
        assert_eq!((&first, first.expose().len()), (&secret_or_made(&config).unwrap(), 64));
        assert_eq!(existing_secret(&config).unwrap(), first);
    }
}
