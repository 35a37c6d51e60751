//! Nobody who is stuck stops the adverts.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};
use vipd_tests::TestResult;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::ask::{self, count, until, until_state};
use vipd_tests::binary::vipd;
use vipd_tests::lab::Lab;
use vipd_tests::namespace::Namespace;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);
/// The shortest there is: whoever makes the master wait for 36 ms is found out.
const INTERVAL: Duration = Duration::from_millis(10);

fn prepared(lab: &Lab, station: Station, priority: u8) -> Result<Agent> {
    let instance = Instance { priority, interval: INTERVAL, ..Instance::default() };
    Agent::new(lab, station, vipd()?, &[instance])
}

/// Starts the pair; while `trouble` lasts, the master adverts for 3 seconds, the backup stays one, and
/// both answer.
fn keeps_going<T>(
    lab: &Lab,
    mut master: Agent,
    trouble: impl FnOnce(&Agent) -> Result<T>,
    meanwhile: impl Fn(&mut T) -> Result<()>,
) -> Result<()> {
    let capture = lab.capture()?;
    master.start()?;
    until_state(&master, "master", TIMEOUT)?;
    let mut backup = prepared(lab, TWO, 100)?;
    backup.start()?;
    until(&backup, "to follow node 1", TIMEOUT, |status| {
        status.text("state") == "backup" && status.address("last-adv-source") == Some(ONE.ipv4().into())
    })?;
    // A busy machine may have had it take over while it started.
    let before = count(&backup, "master-transitions")?;

    let mut trouble = trouble(&master)?;
    let start = WallTime::now();
    let adverts = || capture.search(start, |frame| frame.advert().filter(|_| frame.from == ONE)).len();
    while adverts() < 300 {
        meanwhile(&mut trouble)?;
        assert_eq!(ask::status(&master)?[0].text("state"), "master");
        let so_far = adverts();
        wait_until("the master's adverts to go on", TIMEOUT, || adverts() > so_far)?;
    }
    assert_eq!(count(&backup, "master-transitions")? - before, 0, "{:#?}", backup.log());
    assert_eq!(count(&master, "master-transitions")?, 1, "{:#?}", master.log());
    assert!(!capture.has(start, |frame| frame.from == TWO && frame.advert().is_some()));
    // It stops in good order while the trouble lasts.
    let stopped = WallTime::now();
    assert!(master.stop()?.success());
    assert!(
        capture.has(stopped, |frame| frame.from == ONE && frame.advert().is_some_and(|a| a.priority == 0))
    );
    drop(trouble);
    Ok(())
}

fn connect(host: &Namespace) -> Result<UnixStream> {
    let stream = host.run(|| UnixStream::connect(Agent::control_socket()));
    stream.context("connecting to the control socket")
}

/// Asks until the socket takes no more, and never reads. The agent may hang up on us.
fn ask_without_reading(stream: &mut UnixStream) -> Result<()> {
    loop {
        match stream.write(b"{\"command\":\"stats\"}\n") {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error).context("asking"),
        }
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn stuck_control_clients_do_not_delay_adverts() -> TestResult {
    let lab = Lab::new(2)?;
    let master = prepared(&lab, ONE, 200)?;
    keeps_going(
        &lab,
        master,
        |master| {
            let mut half = connect(master.host())?;
            half.write_all(b"{\"comm")?;
            let deaf: Vec<_> = (0..4).map(|_| connect(master.host())).collect::<Result<_>>()?;
            deaf.iter().try_for_each(|stream| stream.set_nonblocking(true))?;
            Ok((half, deaf))
        },
        |(_, deaf)| deaf.iter_mut().try_for_each(ask_without_reading),
    )?;
    Ok(())
}

/// Writes until there is no room.
fn fill(mut sink: impl io::Write) -> Result<()> {
    loop {
        match sink.write(&[b'x'; 512]) {
            Ok(written) if written > 0 => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => return Ok(()),
            Err(error) => return Err(error).context("filling"),
        }
    }
}

/// Has the master log as much as it can, to where there is no room for a single line.
fn with_stderr(lab: &Lab, to: OwnedFd) -> Result<()> {
    let mut master = prepared(lab, ONE, 200)?;
    master.set_environment("VIPD_LOG", "trace");
    master.redirect_stderr(to);
    keeps_going(lab, master, |_| Ok(()), |()| Ok(()))
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unread_log_pipe_does_not_delay_adverts() -> TestResult {
    let lab = Lab::new(2)?;
    let (_nobody_reads, writer) = io::pipe()?;
    // The mode belongs to the pipe's end, which the agent gets blocking, as from a shell.
    rustix::io::ioctl_fionbio(&writer, true)?;
    fill(&writer)?;
    rustix::io::ioctl_fionbio(&writer, false)?;
    with_stderr(&lab, writer.into())?;
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn full_log_disk_does_not_delay_adverts() -> TestResult {
    let lab = Lab::new(2)?;
    let file = lab.host(ONE)?.run(|| -> Result<File> {
        let disk = Agent::runtime_dir().join("disk");
        std::fs::create_dir(&disk)?;
        mount("tmpfs", &disk, "tmpfs", MountFlags::NOSUID, Some(c"size=4k"))
            .context("mounting a small disk")?;
        let file = File::create(disk.join("log"))?;
        fill(&file)?;
        Ok(file)
    })?;
    with_stderr(&lab, file.into())?;
    Ok(())
}
