//! Stuck control clients and a blocked standard error do not delay adverts.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};
use vipd_tests::TestResult;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::control::{self, counter, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::namespace::Namespace;
use vipd_tests::routers::wait_for_backup_of;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);
/// The minimum interval: the backup takes over after 36 ms without an advert from the master.
const INTERVAL: Duration = Duration::from_millis(10);

fn router(lab: &Lab, station: Station, priority: u8) -> Result<Agent> {
    let instance = Instance { priority, interval: INTERVAL, ..Instance::default() };
    Agent::new(lab, station, vipd()?, &[instance])
}

/// Starts a pair of routers, applies `disturb` to the master, and checks that the master sends
/// another 300 adverts and answers queries while the backup remains in Backup. Calls `meanwhile`
/// repeatedly.
fn check_undisturbed<T>(
    lab: &Lab,
    mut master: Agent,
    disturb: impl FnOnce(&Agent) -> Result<T>,
    meanwhile: impl Fn(&mut T) -> Result<()>,
) -> Result<()> {
    let capture = lab.capture()?;
    master.start()?;
    wait_for_state(&master, "master", TIMEOUT)?;
    let mut backup = router(lab, TWO, 100)?;
    backup.start()?;
    wait_for_backup_of(&backup, ONE.ipv4())?;
    // On a busy machine, the backup may have taken over during startup.
    let before = counter(&backup, "master-transitions")?;

    let mut disturbance = disturb(&master)?;
    let start = WallTime::now();
    let adverts = || capture.filter_map(start, |frame| frame.advert().filter(|_| frame.from == ONE)).len();
    while adverts() < 300 {
        meanwhile(&mut disturbance)?;
        assert_eq!(control::status(&master)?[0].text("state"), "master");
        let so_far = adverts();
        wait_until("more adverts from the master", TIMEOUT, || adverts() > so_far)?;
    }
    assert_eq!(counter(&backup, "master-transitions")? - before, 0, "{:#?}", backup.log());
    assert_eq!(counter(&master, "master-transitions")?, 1, "{:#?}", master.log());
    assert!(!capture.has(start, |frame| frame.from == TWO && frame.advert().is_some()));
    // A clean shutdown must also work during the disturbance.
    let stopped = WallTime::now();
    assert!(master.stop()?.success());
    assert!(
        capture.has(stopped, |frame| frame.from == ONE && frame.advert().is_some_and(|a| a.priority == 0))
    );
    drop(disturbance);
    Ok(())
}

fn connect(host: &Namespace) -> Result<UnixStream> {
    let stream = host.run(|| UnixStream::connect(Agent::control_socket()));
    stream.context("connecting to the control socket")
}

/// Sends requests without reading replies, until the socket is full or the agent closes the
/// connection.
fn request_without_reading(stream: &mut UnixStream) -> Result<()> {
    loop {
        match stream.write(b"{\"command\":\"stats\"}\n") {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error).context("sending a request"),
        }
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn stuck_control_clients_do_not_delay_adverts() -> TestResult {
    let lab = Lab::new(2)?;
    let master = router(&lab, ONE, 200)?;
    check_undisturbed(
        &lab,
        master,
        |master| {
            let mut half = connect(master.host())?;
            half.write_all(b"{\"comm")?;
            let unread: Vec<_> = (0..4).map(|_| connect(master.host())).collect::<Result<_>>()?;
            unread.iter().try_for_each(|stream| stream.set_nonblocking(true))?;
            Ok((half, unread))
        },
        |(_, unread)| unread.iter_mut().try_for_each(request_without_reading),
    )?;
    Ok(())
}

/// Writes until the sink is full.
fn fill(mut sink: impl io::Write) -> Result<()> {
    loop {
        match sink.write(&[b'x'; 512]) {
            Ok(written) if written > 0 => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => return Ok(()),
            Err(error) => return Err(error).context("filling the sink"),
        }
    }
}

/// Runs [`check_undisturbed`] on a master whose standard error is already full, with trace logging.
fn check_full_stderr(lab: &Lab, to: OwnedFd) -> Result<()> {
    let mut master = router(lab, ONE, 200)?;
    master.set_env("VIPD_LOG", "trace");
    master.redirect_stderr(to);
    check_undisturbed(lab, master, |_| Ok(()), |()| Ok(()))
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unread_log_pipe_does_not_delay_adverts() -> TestResult {
    let lab = Lab::new(2)?;
    let (_unread, writer) = io::pipe()?;
    // Fill the pipe without blocking, then restore blocking mode: the agent must cope with a
    // blocking pipe, such as a shell creates.
    rustix::io::ioctl_fionbio(&writer, true)?;
    fill(&writer)?;
    rustix::io::ioctl_fionbio(&writer, false)?;
    check_full_stderr(&lab, writer.into())?;
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
    check_full_stderr(&lab, file.into())?;
    Ok(())
}
