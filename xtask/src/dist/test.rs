//! `cargo xtask dist --test`: installs, upgrades and removes the packages on a Debian system.
//!
//! The system runs on node 1 of the lab, with systemd. Node 2 runs the agent of the package as the
//! backup, and shows whether the master on node 1 was interrupted.

mod machine;
mod steps;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use vipd_tests::agent::{Agent, AgentKind};
use vipd_tests::capture::Capture;
use vipd_tests::control;
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::try_wait_until;

use super::layout::{copy, create_empty};
use crate::support::process::{clocked, output, program, run as run_command};
use crate::support::{debian, privilege, workspace};
use machine::Machine;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
/// Configuration of the backup. The master's priority is 150. Both advertise every 100 ms, except
/// that the master advertises every second in the step `restart`.
const BACKUP: &str = r#"
[[instance]]
name = "VI_1"
interface = "eth1"
vrid = 51
priority = 100
advert_interval = "100ms"
virtual_addresses = ["192.168.122.50/24"]
"#;

/// The system under test and the network around it.
struct Test {
    machine: Machine,
    peer: Agent,
    capture: Capture,
    lab: Lab,
    files: Files,
}

/// Names of the files under test, which the system sees in [`DIST`] below [`machine::PACKAGES`].
struct Files {
    /// Debian's name of this machine's architecture.
    architecture: String,
    /// Name of the Debian package.
    package: String,
    /// Name of the archive with the static program.
    archive: String,
}

/// Directory of the packages below [`machine::PACKAGES`], as in README's commands.
const DIST: &str = "target/dist";

/// Tests the packages in `out`.
pub(super) fn run(out: &Path) -> Result<()> {
    privilege::require("the test of the packages", "cargo xtask dist --test")?;
    debian::install("dist", &["debootstrap"])?;
    let work = workspace::target().join("dist-work");
    let base = machine::base(&work)?;
    let packages = work.join("packages");
    let files = Files::names()?;
    let executable = files.prepare(out, &packages)?;
    let scratch = work.join("root");
    create_empty(&scratch)?;

    let mut progress = clocked("dist");
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let mut peer = Agent::with_configuration(&lab, TWO, AgentKind::Vipd(executable), BACKUP.to_owned())?;
    peer.start()?;
    let machine = Machine::boot(lab.host(ONE)?, &base, &scratch, &packages)?;
    progress("the system is running");
    let test = Test { machine, peer, capture, lab, files };
    for (name, step) in steps::ALL {
        step(&test).with_context(|| format!("step \"{name}\" failed; the journal:\n{}", test.journal()))?;
        progress(name);
    }
    println!("all {} steps passed", steps::ALL.len());
    Ok(())
}

impl Files {
    /// Returns the names for this version and architecture.
    fn names() -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION");
        let architecture = output(program("dpkg").arg("--print-architecture"))?;
        let architecture = architecture.trim().to_owned();
        Ok(Self {
            package: format!("vipd_{}-1_{architecture}.deb", version.replace('-', "~")),
            archive: format!("vipd-{version}-{}-linux-musl.tar.gz", std::env::consts::ARCH),
            architecture,
        })
    }

    /// Copies the files from `out` to the directory `packages`, adds copies of the package with
    /// higher versions, and returns the path of an executable from the package.
    fn prepare(&self, out: &Path, packages: &Path) -> Result<PathBuf> {
        create_empty(packages)?;
        for name in [&self.package, &self.archive] {
            let from = out.join(name);
            ensure!(from.is_file(), "{} does not exist; run without --no-build", from.display());
            copy(&from, &packages.join(DIST).join(name), 0o644)?;
        }
        let unpacked = packages.join("unpacked");
        let package = out.join(&self.package);
        run_command(program("dpkg-deb").arg("--raw-extract").arg(&package).arg(&unpacked))?;
        let control = unpacked.join("DEBIAN/control");
        let fields =
            fs::read_to_string(&control).with_context(|| format!("cannot read {}", control.display()))?;
        let version = fields.lines().find(|line| line.starts_with("Version: "));
        let version = version.with_context(|| format!("{} has no version", package.display()))?;
        for number in 1..=steps::VERSIONS {
            fs::write(&control, fields.replace(version, &format!("{version}+{number}")))?;
            let target = packages.join(format!("vipd-{number}.deb"));
            let mut build = program("dpkg-deb");
            build.args(["--root-owner-group", "-Znone", "--build"]).arg(&unpacked).arg(target);
            output(&mut build)?;
        }
        Ok(unpacked.join("usr/bin/vipd"))
    }
}

impl Test {
    /// Waits until the agent in the system reports this state for its instance.
    fn wait_for_state(&self, state: &str) -> Result<()> {
        let expected = format!(r#""state":"{state}""#);
        let mut last = String::new();
        try_wait_until(&format!("node 1 to be {state}"), steps::TIMEOUT, || {
            last = self.machine.run("vipd status --json || true")?;
            Ok(last.contains(&expected))
        })
        .with_context(|| format!("the last status: {last}"))
    }

    /// Returns the main process of the service.
    fn process(&self) -> Result<String> {
        self.machine.line("systemctl show --property=MainPID --value vipd.service")
    }

    /// Returns the number of transitions to master of each node.
    fn transitions(&self) -> Result<(String, u64)> {
        let own = self.machine.line("vipd stats --json | grep -o '\"master-transitions\":[0-9]*'")?;
        Ok((own, control::counter(&self.peer, "master-transitions")?))
    }

    /// Checks that no node has become master since [`Test::transitions`] returned `before`.
    fn expect_transitions(&self, before: &(String, u64)) -> Result<()> {
        let now = self.transitions()?;
        ensure!(now == *before, "transitions: {before:?}, now {now:?}");
        Ok(())
    }

    /// Returns the longest interval between two adverts of node 1 since `start`, in milliseconds.
    fn longest_gap(&self, start: WallTime) -> Result<f64> {
        let times = self
            .capture
            .filter_map(start, |frame| frame.advert().filter(|_| frame.from == ONE).map(|_| frame.time));
        ensure!(times.len() > 2, "node 1 sent {} adverts", times.len());
        Ok(times.windows(2).map(|pair| pair[1].millis_since(pair[0])).fold(0.0, f64::max))
    }

    /// Returns whether node 1 has the VIP.
    fn has_vip(&self) -> Result<bool> {
        let host = self.lab.host(ONE)?;
        Ok(vipd_tests::command::address_line(host, vipd_tests::station::VIP.into())?.is_some())
    }

    fn journal(&self) -> String {
        self.machine.run("journalctl --no-pager --lines 40 --unit vipd --unit keepalived").unwrap_or_default()
    }
}
