//! A process as in a container: a root of its own that is read-only, processes of its own, a user without rights.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use std::{fs, io};

use anyhow::Context as _;

use super::{DATA, LOOK_INTERVAL, PATIENCE, USER};

/// Makes the folder the root, with places to write in memory alone, and becomes the program. `$1` is the folder, `$2` the
/// folder of data in it, `$3` the user; the program follows.
const ENTER: &str = r#"
image=$1 data=$2 user=$3
shift 3
mount --bind "$image" "$image"
mount -t tmpfs -o mode=1777 tmpfs "$image/tmp"
mount -t tmpfs -o "mode=0700,uid=$user,gid=$user" tmpfs "$image/$data"
mount -t proc proc "$image/proc"
mount -o remount,bind,ro "$image"
exec setpriv --no-new-privs unshare --root="$image" --wd="/$data" --setgid="$user" --setuid="$user" -- "$@"
"#;

/// A command that runs in the image. Mounts and processes are gone when it ends.
pub(super) fn command(image: &Path, program: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--", "sh", "-euc", ENTER, "sh"]);
    command.arg(image).args([DATA, &USER.to_string()]).args(program);
    // As a container has it: nothing of this machine's.
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(environment.iter().copied());
    command.stdin(Stdio::null());
    command
}

/// A node in the image; killed when this goes.
pub(super) struct Contained(Child);

impl Contained {
    pub(super) fn start(mut command: Command, log: File) -> anyhow::Result<Self> {
        command.stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn().context("cannot run unshare (Debian's util-linux)")?))
    }

    pub(super) fn must_run(&mut self) -> anyhow::Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("the node ended with {status}"),
        }
    }

    /// The node's own process: `unshare` waits for it.
    fn pid(&self) -> anyhow::Result<u32> {
        let parent = self.0.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        children.split_whitespace().next().context("no process in the image")?.parse().context("no pid")
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        // The shell's own `kill` is there also where the program is not.
        crate::run(Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &self.pid()?.to_string()]))
    }

    /// The node is the user of the image, can gain nothing and cannot write its root.
    pub(super) fn has_no_rights(&self) -> anyhow::Result<()> {
        let pid = self.pid()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let user = USER.to_string();
        for (field, wanted) in
            [("Uid:", user.as_str()), ("Gid:", &user), ("CapEff:", "0000000000000000"), ("NoNewPrivs:", "1")]
        {
            let found = status.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next());
            anyhow::ensure!(found == Some(wanted), "{field} {found:?} instead of {wanted}");
        }
        // Root itself cannot, seen from where the node is.
        let written = File::create(format!("/proc/{pid}/root/written"));
        let refused = written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem);
        anyhow::ensure!(refused, "the root can be written: {written:?}");
        let temporary = File::create(format!("/proc/{pid}/root/tmp/written"));
        anyhow::ensure!(temporary.is_ok(), "nothing can be written to /tmp: {temporary:?}");
        Ok(())
    }

    /// The node gets what a container gets that is stopped, and ends well.
    pub(super) fn ends(&mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.0.try_wait()? {
                anyhow::ensure!(status.success(), "the node that was stopped ended with {status}");
                return Ok(());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        anyhow::bail!("the node did not end within {PATIENCE:?}")
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        // It has ended already if all went well. `unshare` does not take the node along, as a process that changes its
        // user is not told any more that its parent ended.
        let _ = self.signal("KILL");
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
