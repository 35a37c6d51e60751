//! A Debian system with systemd on a node of the lab.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vipd_tests::namespace::Namespace;
use vipd_tests::process::Process;
use vipd_tests::wait::try_wait_until;

use crate::dist::layout::{create_empty, write};
use crate::dist::progress;
use crate::support::process::{ask, program, run};

/// Packages of the system, besides those of debootstrap's smallest variant.
const INCLUDE: &str = "systemd,systemd-sysv,procps,iproute2,keepalived,zsh,fish,podman,crun,netavark";
/// File in the system with the list of these packages.
const LIST: &str = "etc/vipd-test-packages";
/// Time limit for systemd to start all units.
const START: Duration = Duration::from_secs(60);
/// Directory in the system at which the packages are mounted.
pub(super) const PACKAGES: &str = "/mnt";

/// Starts systemd as the init process of a container. The shell is already the first process of its
/// own PID namespace. Arguments: the base system, a scratch directory, the directory of packages,
/// the name of a control group.
///
/// Changes to the system are kept in memory. A control group without controllers suffices for
/// systemd.
const BOOT: &str = r#"
base=$1 scratch=$2 packages=$3
mount -t tmpfs tmpfs "$scratch"
root=$scratch/root
mkdir "$root" "$scratch/upper" "$scratch/work"
mount -t overlay -o "lowerdir=$base,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t devpts -o ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount --bind "$packages" "$root/mnt"
groups=$root/sys/fs/cgroup
mount -t cgroup2 cgroup2 "$groups"
mkdir "$groups/$4"
echo 0 >"$groups/$4/cgroup.procs"
umount "$groups"
cd "$root"
exec unshare --cgroup sh -ec '
mount -t cgroup2 cgroup2 sys/fs/cgroup
pivot_root . .
umount --lazy .
exec env --ignore-environment container=vipd PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /sbin/init
'
"#;

/// Root's search path in Debian.
const ROOT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Prefix of the name of the system's control group, before the process ID of the test.
const CONTROL_GROUP: &str = "vipd-dist-";

/// A running system. Dropping it kills all its processes and discards its changes.
pub(super) struct Machine {
    process: Process,
}

impl Machine {
    /// Boots the system below `base` on a node. `scratch` is an empty directory.
    pub(super) fn boot(node: &Namespace, base: &Path, scratch: &Path, packages: &Path) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--ipc", "--uts", "sh", "-ec", BOOT, "boot"]);
        command.args([base, scratch, packages]).arg(control_group());
        let machine = Self { process: Process::spawn(node, command)? };
        let mut state = None;
        try_wait_until("systemd to start all units", START, || {
            state = ask(&mut machine.command("systemctl is-system-running || true"));
            Ok(state.as_deref().is_some_and(|state| matches!(state.trim(), "running" | "degraded")))
        })
        .with_context(|| format!("systemd's state is {state:?}; its output: {:?}", machine.process.log()))?;
        Ok(machine)
    }

    /// Runs a shell script in the system and returns its output, standard error included.
    pub(super) fn run(&self, script: &str) -> Result<String> {
        let done = self.command(&format!("exec 2>&1\n{script}")).output().context("cannot start nsenter")?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        if !done.status.success() {
            let error = String::from_utf8_lossy(&done.stderr);
            bail!("`{script}` failed: {}\n{text}{error}", done.status);
        }
        Ok(text)
    }

    /// Runs a shell script that prints one line, and returns it.
    pub(super) fn line(&self, script: &str) -> Result<String> {
        Ok(self.run(script)?.trim().to_owned())
    }

    /// Checks the line that a shell script prints.
    pub(super) fn expect(&self, script: &str, expected: &str) -> Result<()> {
        let found = self.line(script)?;
        ensure!(found == expected, "`{script}` printed `{found}` instead of `{expected}`");
        Ok(())
    }

    fn command(&self, script: &str) -> Command {
        let mut command = program("nsenter");
        command.arg("--target").arg(self.process.pid().to_string());
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]);
        command.args(["env", "--ignore-environment", ROOT_PATH, "HOME=/root"]);
        command.args(["LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "sh", "-ec", script]);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // An error means that systemd has ended.
        let _ = self.process.kill();
        let mut remove = program("find");
        remove.args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path"]);
        remove.arg(format!("*/{}*", control_group())).args(["-exec", "rmdir", "{}", "+"]);
        // The kernel keeps a control group until its processes have been reaped; an empty one that
        // remains does no harm.
        let _ = ask(&mut remove);
    }
}

fn control_group() -> String {
    format!("{CONTROL_GROUP}{}", std::process::id())
}

/// Returns the directory of a base system of this machine's Debian version. It is installed from
/// Debian's mirror on first use, and when the list of packages changes.
pub(super) fn base(work: &Path) -> Result<PathBuf> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = suite.context("/etc/os-release has no VERSION_CODENAME")?;
    let base = work.join(format!("root-{suite}"));
    if fs::read_to_string(base.join(LIST)).ok().as_deref() != Some(INCLUDE) {
        progress(format_args!("installing Debian {suite} in {}", base.display()));
        let partial = work.join("root-partial");
        create_empty(&partial)?;
        let mut debootstrap = program("debootstrap");
        debootstrap.args(["--variant=minbase", &format!("--include={INCLUDE}"), suite]).arg(&partial);
        run(&mut debootstrap)?;
        write(&partial.join(LIST), INCLUDE)?;
        create_empty(&base)?;
        fs::rename(&partial, &base).with_context(|| format!("cannot create {}", base.display()))?;
    }
    Ok(base)
}
