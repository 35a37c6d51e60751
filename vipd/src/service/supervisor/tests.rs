use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::*;
use crate::config::Config;
use crate::config::operate::Metrics;
use crate::control::access::Credentials;
use crate::control::client::Client;
use crate::control::model::{ChangeReport, StatsReport, StatusReport};

use crate::engine::id::{Id as _, LinkId, RouterId};
use crate::engine::link_io::{Holdings, LinkIo};
use crate::engine::link_spec::{LinkSpec, XdpEntry};
use crate::engine::succession::Recipient;
use crate::process::raise;
use crate::service::administrator::Agent;
use crate::service::bus::bus;
use crate::service::configured::Configured;
use crate::service::drained::Drained;
use crate::service::events::EventLog;
use crate::vrrp::{Event, Reason, State};
use crate::web;
use crate::xdp::{Framing, Preference, Sizes};

/// Answers `status` requests, and sends SIGTERM to the control thread before each answer.
struct Terminating;

impl Source for Terminating {
    async fn status(&self) -> Result<StatusReport, String> {
        raise(libc::SIGTERM);
        Ok(StatusReport { instances: Vec::new(), guardian: None })
    }

    async fn stats(&self) -> Result<StatsReport, String> {
        Err("unexpected request".to_owned())
    }

    async fn change(&self, _request: Change, _by: Credentials) -> Result<ChangeReport, String> {
        Err("unexpected request".to_owned())
    }
}

impl web::Source for Terminating {
    async fn scrape(&self) -> Result<web::Scrape, String> {
        Err("unexpected request".to_owned())
    }
}

impl DiscardCounters for Terminating {
    fn take_discarded(&self) -> bool {
        false
    }

    fn row(&self, _row: Row) -> CounterRow {
        CounterRow::default()
    }
}

/// Simulates a driver whose attach call blocks until the test releases it.
struct Slow {
    opening: Sender<()>,
    attached: Receiver<()>,
}

impl LinkWork for Slow {
    fn open(&mut self, _spec: &LinkSpec) -> anyhow::Result<LinkIo> {
        self.opening.send(()).expect("the test is waiting");
        self.attached.recv().expect("the test releases the driver");
        anyhow::bail!("the driver refused")
    }

    fn renew_groups<'a>(&mut self, _specs: impl IntoIterator<Item = &'a LinkSpec>) -> Vec<LinkSpec> {
        Vec::new()
    }

    fn has_unjoined(&self) -> bool {
        false
    }

    fn check<'a>(&mut self, _specs: impl IntoIterator<Item = &'a LinkSpec>) -> Vec<LinkSpec> {
        Vec::new()
    }

    fn close(&mut self, _ifindex: u32) {}

    fn forget(&mut self, _ifindex: Option<u32>, _entry: &XdpEntry) {}

    fn clear_rows(&mut self, _rows: &[Row]) {}

    fn holdings(&self, _recipient: Recipient) -> io::Result<Holdings> {
        Ok(Holdings::default())
    }

    fn hand_over(&mut self) {}

    fn take_over(&mut self) {}

    fn set_down(&mut self, _ifindex: u32, _wanted_up: &AtomicBool) {}
}

/// An engine without a thread.
struct Ignored;

impl EngineControl for Ignored {
    fn start(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn ended(&mut self) {}
}

const CONFIGURATION: &str =
    "[[instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvrid = 1\nvirtual_addresses = [\"10.0.0.1\"]\n";

fn supervisor(
    runtime_dir: &RuntimeDir,
    engine: Handle,
    transitions: &Transitions,
    notifications: Notifications,
) -> Supervisor<Terminating> {
    let config = Config::parse(CONFIGURATION, "vipd.toml").expect("a valid configuration");
    let sizes = Sizes { routers: 1, peers: 0, addresses: 0, senders: 1, burst: 1 };
    let drained = Drained::load(runtime_dir.path());
    let path = runtime_dir.path().join("vipd.toml");
    let (tracker, readings) = SharedTracker::new(engine.clone());
    let agent = Agent {
        sizes,
        engine: engine.clone(),
        drained,
        latest: transitions.latest(),
        tracker: tracker.clone(),
        configured: Configured::default(),
    };
    let (administrator, orders) = Administrator::new(path, config, std::iter::empty(), agent);
    let listener = runtime_dir.listen(&Access::default()).expect("a control socket");
    let descriptor = || listener.as_fd().try_clone_to_owned().expect("duplicated");
    let estate = Estate {
        executable: PathBuf::new(),
        maps: BTreeMap::new(),
        lock: descriptor(),
        lock_file: descriptor(),
        control_socket: descriptor(),
    };
    Supervisor {
        estate: Arc::new(estate),
        listener,
        engine,
        source: Arc::new(Terminating),
        web: Endpoint::new(Arc::new(Terminating), Metrics::default()),
        administrator,
        orders,
        notifications,
        access: Access::default(),
        tracker,
        readings,
        early: Vec::new(),
        events: Recorder::new(EventLog::new(), transitions.latest()),
        log: Log::new(&[]),
        is_stopping: false,
        has_single_link: false,
    }
}

#[test]
fn slow_driver_delays_neither_status_nor_shutdown() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let runtime_dir = RuntimeDir::open(directory.path()).expect("a runtime directory");
    let (engine, commands) = Handle::without_engine().expect("a handle");
    let (requests, requested) = mpsc::unbounded_channel();
    let (reports, reported) = mpsc::channel(1);
    let (_publisher, transitions) = bus(1);
    let (opening, is_opening) = channel();
    let (attach, attached) = channel();
    let spec = LinkSpec {
        link: LinkId::new(0, 0),
        ifindex: 1,
        name: "eth0".to_owned(),
        xdp: Preference::Auto,
        framing: Framing::Ethernet,
        routers: Vec::new(),
    };
    assert!(requests.send(Request::Open(spec)).is_ok());

    let client = Client::new(directory.path());
    let test = thread::spawn(move || {
        is_opening.recv().expect("the driver is attaching");
        client.status().expect("status is served while the driver attaches");
        let Ok(Command::Ping(_)) = commands.recv() else { panic!("the agent checks the engine first") };
        assert!(matches!(commands.recv(), Ok(Command::Stop)), "shutdown does not wait for the driver");
        // The engine ends before the driver's attach call returns.
        drop(reports);
        attach.send(()).expect("the worker is waiting");
    });
    let supervisor = supervisor(&runtime_dir, engine, &transitions, Notifications::new([], &[]));
    let from_engine = FromEngine { requests: requested, reports: reported, transitions };
    let signals = Signals::block().expect("signals");
    let work = Slow { opening, attached };
    supervisor.run(signals, &runtime_dir, work, from_engine, None, &mut Ignored).expect("clean shutdown");
    test.join().expect("no panic");
}

/// Ends as soon as it is started. [`ended`](EngineControl::ended) creates the file for which a
/// notification command waits.
struct Failing {
    reports: Option<mpsc::Sender<Report>>,
    file: PathBuf,
}

impl EngineControl for Failing {
    fn start(&mut self) -> anyhow::Result<()> {
        drop(self.reports.take());
        Ok(())
    }

    fn ended(&mut self) {
        fs::write(&self.file, "").expect("a file");
    }
}

/// If the VIPs of a failed engine were removed only after notification commands have ended, two
/// nodes could answer for them until then.
#[test]
fn failed_engine_is_cleaned_up_before_notification_commands_have_ended() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let runtime_dir = RuntimeDir::open(directory.path()).expect("a runtime directory");
    let (engine, _commands) = Handle::without_engine().expect("a handle");
    let (_requests, requested) = mpsc::unbounded_channel();
    let (reports, reported) = mpsc::channel(1);
    let (_publisher, transitions) = bus(1);
    let (opening, _) = channel();
    let (_, attached) = channel();
    let [cleaned, ended] = ["cleaned", "ended"].map(|name| directory.path().join(name));
    let command = format!("until test -e {}; do sleep 0.01; done; : >{}", cleaned.display(), ended.display());
    let configuration =
        format!("{CONFIGURATION}[instance.notify]\nmaster = [\"/bin/sh\", \"-c\", \"{command}\"]\n");
    let config = Config::parse(&configuration, "vipd.toml").expect("a valid configuration");
    let [instance] = config.instances.as_slice() else { panic!("one instance") };
    let notifications = Notifications::new([instance], &[]);
    let row = Row::new(1).expect("a row");
    let router = RouterId::new(0, 0);
    let event = Event::StateChanged {
        from: State::Backup,
        to: State::Master,
        reason: Reason::MasterTimeout,
        late: 0,
    };
    assert!(reports.try_send(Report::Router { router, event }).is_ok());
    let mut supervisor = supervisor(&runtime_dir, engine, &transitions, notifications);
    supervisor.log = Log::new(&[(router, row, Arc::clone(instance))]);
    let from_engine = FromEngine { requests: requested, reports: reported, transitions };
    let signals = Signals::block().expect("signals");
    let mut failing = Failing { reports: Some(reports), file: cleaned };
    let work = Slow { opening, attached };
    supervisor.run(signals, &runtime_dir, work, from_engine, None, &mut failing).expect("no other error");
    assert!(ended.exists(), "the command has ended by itself");
}
