//! The data folder of a node alone, and the disk that it is on.

use std::fs::{self, DirEntry, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use mundotango_storage::embedded::{self, FORMAT_VERSION, OLDEST_FORMAT};
use rustix::fs::Access;

use super::finding::{Finding, Kind, kinds};
use crate::config::Config;
use crate::data_folder::{SECRET_FILE, shown};
use crate::engines::{HOT_STATE_FILE, store_path};

kinds! { "store";
    NO_DATA: Hint "no-data",
        "a node makes it at its first start; if there was data, this is another folder",
        "look whether `data_dir` is the right one, and whether its disk is mounted";
    NOT_WRITABLE: Broken "not-writable",
        "a node cannot start on a folder that its user cannot write",
        "give the folder to the node's user (chown -R), and mount its file system for writing";
    FOREIGN_FILES: Broken "foreign-files",
        "a node cannot open files that another user left in its folder, as a command of root does",
        "chown -R the folder to its owner";
    OPEN_FOLDER: Warning "open-folder",
        "others on this machine can read it: channels' last publications, or the key of all tokens",
        "chmod 0700 the folder and 0600 the file; if others were on the machine, set a new `auth.secret`";
    NO_ROOM: Broken "no-room",
        "with less than `store.reserve_bytes` free nothing is written, and a node does not start",
        "make room, or move the folder to a larger disk";
    LITTLE_ROOM: Warning "little-room",
        "writes stop once only `store.reserve_bytes` are free",
        "make room, or move the folder to a larger disk";
    FEW_INODES: Warning "few-inodes",
        "a file system without inodes takes no new file, however much room there is",
        "delete small files, or make the file system anew with more inodes";
    NETWORK_DISK: Warning "network-disk",
        "locks and syncs of a network file system may not hold what is acknowledged through a crash",
        "use a disk of the machine, or a block device over the network; for several nodes a cluster";
    FLEETING_DISK: Warning "fleeting-disk",
        "what lies there is gone with the container or at the next boot",
        "mount a volume or a disk at `data_dir`";
    FORMAT: Broken "format",
        "this version of mundotango cannot read the store",
        "use the version that wrote it, or a newer one";
    OLD_FORMAT: Hint "old-format",
        "a node brings it to its own format when it starts, and older versions cannot read it then",
        "take a backup before: `mundotango backup FILE`";
    SET_ASIDE: Warning "set-aside",
        "a start could not read what lies there, so something may be lost",
        "compare with a backup (docs/data-folder.md), then keep the files elsewhere or delete them";
    CLOCK_WENT_BACK: Warning "clock-went-back",
        "new records look older than those before, and a clock that was ahead may have deleted histories",
        "set the clock by NTP before the node serves";
}

/// How many times `store.reserve_bytes` should be free at least.
const RESERVES: u64 = 4;
/// Inodes that should be free at least.
const MIN_INODES: u64 = 10_000;
/// Files that are looked at, at most.
const MAX_FILES: usize = 20_000;
/// How far folders in the data folder are gone into: `store/database/keyspaces/N/`.
const MAX_DEPTH: usize = 6;
/// How far in the future a file may have been written, as clocks are set a little at times.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);
/// The store's file that is written with each commit.
const WITNESS_FILE: &str = "witness";
/// Where the store puts what it cannot read.
const SET_ASIDE_FOLDER: &str = "set-aside";

/// File systems by their magic numbers (statfs(2)), with the finding that each is.
const FILE_SYSTEMS: [(u32, &str, &Kind); 11] = [
    (0x6969, "NFS", &NETWORK_DISK),
    (0x517B, "SMB", &NETWORK_DISK),
    (0xFF53_4D42, "CIFS", &NETWORK_DISK),
    (0xFE53_4D42, "SMB", &NETWORK_DISK),
    (0x5346_414F, "AFS", &NETWORK_DISK),
    (0x0102_1997, "9p", &NETWORK_DISK),
    (0x00C3_6400, "Ceph", &NETWORK_DISK),
    (0x6573_5546, "FUSE", &NETWORK_DISK),
    (0x0102_1994, "tmpfs", &FLEETING_DISK),
    (0x8584_58F6, "ramfs", &FLEETING_DISK),
    (0x794C_7630, "overlayfs", &FLEETING_DISK),
];

/// Looks at the folder without opening the store, also while a node serves. Blocks.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let folder = &config.data_dir;
    let Ok(metadata) = fs::metadata(folder) else {
        // The disk is that of the nearest folder that is there.
        let there = folder.ancestors().skip(1).find(|path| path.is_dir()).unwrap_or(Path::new("."));
        let mut findings = disk(there, config.store.reserve_bytes);
        findings.insert(0, NO_DATA.says(format!("there is no folder {}", shown(folder))));
        return findings;
    };
    let mut findings = disk(folder, config.store.reserve_bytes);
    findings.extend(rights(folder, &metadata));
    let store = store_path(folder);
    if store.is_dir() {
        findings.extend(format(&store));
        findings.extend(leftovers(&store));
    } else if !findings.iter().any(|finding| finding.id == NOT_WRITABLE.id) {
        findings.push(NO_DATA.says(format!("there is no data in {}", shown(folder))));
    }
    findings
}

fn rights(folder: &Path, metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = shown(folder);
    let rights = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    if let Err(error) = rustix::fs::access(folder, rights) {
        let owner = metadata.uid();
        let user = rustix::process::geteuid().as_raw();
        findings.push(
            NOT_WRITABLE.says(format!("user {user} cannot write {name}, which is user {owner}'s: {error}")),
        );
    }
    let foreign = foreign_files(folder, metadata.uid());
    if let Some((first, owner)) = foreign {
        let says =
            format!("{} is user {owner}'s, and the folder is user {}'s", first.display(), metadata.uid());
        findings.push(FOREIGN_FILES.says(says));
    }
    let files = [SECRET_FILE, HOT_STATE_FILE].map(|name| folder.join(name));
    // Nobody comes to files in a folder that is closed.
    if metadata.mode() & 0o077 != 0 {
        findings.push(OPEN_FOLDER.says(format!("{name} has the mode {:04o}", metadata.mode() & 0o7777)));
        for file in files {
            let mode = fs::metadata(&file).map_or(0, |metadata| metadata.mode());
            if mode & 0o077 != 0 {
                findings.push(OPEN_FOLDER.says(format!(
                    "{} has the mode {:04o}",
                    file.display(),
                    mode & 0o7777
                )));
            }
        }
    }
    findings
}

/// The first file below a folder that belongs to somebody else, with its owner.
fn foreign_files(folder: &Path, owner: u32) -> Option<(std::path::PathBuf, u32)> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let mut waiting: Vec<(usize, DirEntry)> = entries(folder).map(|entry| (1, entry)).collect();
    let mut looked = 0;
    while let Some((depth, entry)) = waiting.pop() {
        looked += 1;
        // Files may go while a node serves.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.uid() != owner {
            return Some((entry.path(), metadata.uid()));
        }
        if looked >= MAX_FILES {
            return None;
        }
        if metadata.is_dir() && depth < MAX_DEPTH {
            waiting.extend(entries(&entry.path()).map(|entry| (depth + 1, entry)));
        }
    }
    None
}

fn disk(folder: &Path, reserve: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Ok(disk) = rustix::fs::statvfs(folder) {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let says =
            || format!("{} MB are free at {}, of which {} stay", free >> 20, shown(folder), reserve >> 20);
        if free < reserve {
            findings.push(NO_ROOM.says(says()));
        } else if free < reserve.saturating_mul(RESERVES) {
            findings.push(LITTLE_ROOM.says(says()));
        }
        // File systems that make inodes as they need them tell 0.
        if disk.f_files > 0 && disk.f_favail < MIN_INODES {
            findings.push(FEW_INODES.says(format!("{} inodes are free at {}", disk.f_favail, shown(folder))));
        }
    }
    if let Ok(disk) = rustix::fs::statfs(folder) {
        // The numbers have 32 bits; the field is wider, and signed on some machines.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "32 bits are meant")]
        let number = disk.f_type as u32;
        let known = FILE_SYSTEMS.iter().find(|(magic, ..)| *magic == number);
        findings.extend(known.map(|(_, name, kind)| kind.says(format!("{} is on {name}", shown(folder)))));
    }
    findings
}

fn format(store: &Path) -> Option<Finding> {
    let name = shown(store);
    match embedded::format_of(store) {
        Err(error) => Some(FORMAT.says(error.to_string())),
        // One without a format is a folder that a node is just making.
        Ok(Some(FORMAT_VERSION) | None) => None,
        Ok(Some(format)) if (OLDEST_FORMAT..FORMAT_VERSION).contains(&format) => Some(
            OLD_FORMAT.says(format!("{name} has format {format}, and this version writes {FORMAT_VERSION}")),
        ),
        Ok(Some(format)) => Some(FORMAT.says(format!(
            "{name} has format {format}; this version reads {OLDEST_FORMAT} to {FORMAT_VERSION}"
        ))),
    }
}

fn leftovers(store: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let aside = store.join(SET_ASIDE_FOLDER);
    let count = fs::read_dir(&aside).map_or(0, Iterator::count);
    if count > 0 {
        findings.push(SET_ASIDE.says(format!("{count} files lie in {}", shown(&aside))));
    }
    let written = fs::metadata(store.join(WITNESS_FILE)).and_then(|metadata| metadata.modified());
    let ahead = written.ok().and_then(|written| written.duration_since(SystemTime::now()).ok());
    if let Some(ahead) = ahead.filter(|ahead| *ahead > CLOCK_TOLERANCE) {
        let says =
            format!("the store's last write is {} s in the future by this machine's clock", ahead.as_secs());
        findings.push(CLOCK_WENT_BACK.says(says));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// What is found, but for where the tests' own folder is.
    fn ids(config: &Config) -> Vec<&'static str> {
        let all = look(config).into_iter().map(|finding| finding.id);
        all.filter(|id| ![FLEETING_DISK.id, NETWORK_DISK.id, LITTLE_ROOM.id, FEW_INODES.id].contains(id))
            .collect()
    }

    #[test]
    fn a_folder_is_told_that_is_not_there_or_open_or_of_another_format() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
        assert_eq!(ids(&config), [NO_DATA.id]);
        let store = store_path(&config.data_dir);
        fs::create_dir_all(&store).unwrap();
        let mode = |mode| fs::set_permissions(&config.data_dir, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o700);
        fs::write(store.join("format"), FORMAT_VERSION.to_string()).unwrap();
        assert_eq!(ids(&config), Vec::<&str>::new());
        fs::write(store.join("format"), (FORMAT_VERSION + 1).to_string()).unwrap();
        assert_eq!(ids(&config), [FORMAT.id]);
        fs::write(store.join("format"), FORMAT_VERSION.to_string()).unwrap();
        mode(0o755);
        assert_eq!(ids(&config), [OPEN_FOLDER.id]);
        mode(0o700);
        let later = SystemTime::now() + Duration::from_hours(1);
        fs::File::create(store.join(WITNESS_FILE)).unwrap().set_modified(later).unwrap();
        assert_eq!(ids(&config), [CLOCK_WENT_BACK.id]);
        config.store.reserve_bytes = u64::MAX;
        assert_eq!(ids(&config), [NO_ROOM.id, CLOCK_WENT_BACK.id]);
    }
}
