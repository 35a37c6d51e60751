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

use super::layout::create_empty;
use crate::support::process::{clocked, output, program, run as run_command};
use crate::support::{debian, privilege, workspace};
use machine::Machine;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
/// Configuration of the backup. The master's priority is 150, and both advertise every 100 ms.
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
}

/// Tests the packages in `out`.
pub(super) fn run(out: &Path) -> Result<()> {
    privilege::require("the test of the packages", "cargo xtask dist --test")?;
    debian::install("dist", &["debootstrap"])?;
    let work = workspace::target().join("dist-work");
    let base = machine::base(&work)?;
    let packages = work.join("packages");
    let program = prepare(out, &packages)?;
    let scratch = work.join("root");
    create_empty(&scratch)?;

    let mut progress = clocked("dist");
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let mut peer = Agent::with_configuration(&lab, TWO, AgentKind::Vipd(program), BACKUP.to_owned())?;
    peer.start()?;
    let machine = Machine::boot(lab.host(ONE)?, &base, &scratch, &packages)?;
    let test = Test { machine, peer, capture, lab };
    for (name, step) in steps::ALL {
        step(&test).with_context(|| format!("{name}: the journal of vipd:\n{}", test.journal()))?;
        progress(name);
    }
    println!("{} steps passed", steps::ALL.len());
    Ok(())
}

/// Copies the packages, makes copies with higher versions, and returns the path of an executable
/// from the package.
fn prepare(out: &Path, packages: &Path) -> Result<PathBuf> {
    create_empty(packages)?;
    let version = env!("CARGO_PKG_VERSION");
    let architecture = output(program("dpkg").arg("--print-architecture"))?;
    let name = format!("vipd_{}-1_{}.deb", version.replace('-', "~"), architecture.trim());
    let package = out.join(&name);
    ensure!(package.is_file(), "{} does not exist; run without --no-build", package.display());
    let unpacked = packages.join("unpacked");
    run_command(program("dpkg-deb").arg("--raw-extract").arg(&package).arg(&unpacked))?;
    let control = unpacked.join("DEBIAN/control");
    let fields =
        fs::read_to_string(&control).with_context(|| format!("cannot read {}", control.display()))?;
    let own =
        fields.lines().find(|line| line.starts_with("Version: ")).context("a package without version")?;
    for number in 1..=steps::VERSIONS {
        fs::write(&control, fields.replace(own, &format!("{own}+{number}")))?;
        let target = packages.join(format!("vipd-{number}.deb"));
        let mut build = program("dpkg-deb");
        build.args(["--root-owner-group", "-Znone", "--build"]).arg(&unpacked).arg(target);
        output(&mut build)?;
    }
    let archive = format!("vipd-{version}-{}-linux-musl.tar.gz", std::env::consts::ARCH);
    let archive = out.join(archive);
    fs::copy(&archive, packages.join("vipd.tar.gz"))
        .with_context(|| format!("cannot copy {}", archive.display()))?;
    Ok(unpacked.join("usr/bin/vipd"))
}

impl Test {
    /// Waits until the agent of the system is in this state, as it reports itself.
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

    /// Returns how often each node became master.
    fn transitions(&self) -> Result<(String, u64)> {
        let own = self.machine.line("vipd stats --json | grep -o '\"master-transitions\":[0-9]*'")?;
        Ok((own, control::counter(&self.peer, "master-transitions")?))
    }

    /// Returns the longest interval in milliseconds between two adverts of node 1 since `start`.
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
        self.machine.run("journalctl --no-pager --lines 40 --unit vipd").unwrap_or_default()
    }
}
