use std::path::Path;
use std::sync::mpsc::Receiver;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::control::access::Credentials;
use crate::engine::id::Id as _;
use crate::service::bus::{Publisher, bus};
use crate::service::track::Readings;
use crate::xdp::Rows;

const CONFIG: &str =
    "[[instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvrid = 1\nvirtual_addresses = [\"10.0.0.1\"]\n";

/// An administrator for tests, without an engine.
struct Bench {
    administrator: Administrator,
    orders: Orders,
    commands: Receiver<Command>,
    tracker: SharedTracker,
    readings: Readings,
    /// The engine's end of the bus.
    _publisher: Publisher,
}

impl Bench {
    /// Creates an administrator for the instances in [`CONFIG`]. A reload reads `path`.
    fn new(path: &Path) -> Self {
        let config = Config::parse(CONFIG, "vipd.toml").expect("a valid configuration");
        let (engine, commands) = Handle::without_engine().expect("a handle");
        let (publisher, transitions) = bus(1);
        let (tracker, readings) = SharedTracker::new(engine.clone());
        let agent = Agent {
            sizes: Sizes { routers: 64, peers: 64, addresses: 64, senders: 4096, burst: 1 },
            engine,
            drained: Drained::load(path.parent().expect("a directory")),
            latest: transitions.latest(),
            tracker: tracker.clone(),
            configured: Configured::default(),
        };
        let roster = [(RouterId::new(0, 0), Arc::clone(&config.instances[0]))];
        let (administrator, orders) =
            Administrator::new(path.to_owned(), config.clone(), roster.into_iter(), agent);
        Self { administrator, orders, commands, tracker, readings, _publisher: publisher }
    }
}

fn reload() -> Order {
    Order { request: Request::Reload, by: Author::Signal(1) }
}

/// As the help of `vipd priority` states, a reload keeps the administrator's priority unless the
/// configured priority changes.
#[test]
fn instance_restarted_by_a_reload_keeps_the_administrators_priority() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vipd.toml");
    let Bench { mut administrator, orders, commands, tracker: _, readings: _, _publisher } =
        Bench::new(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (reply, answer) = oneshot::channel();
        let root = Credentials { uid: 0, pid: None, groups: Vec::new() };
        let request = Request::Priority { instance: "VI_1".to_owned(), priority: Some(200) };
        orders.send(Order { request, by: Author::Client(root, reply) }).await.expect("sent");
        std::fs::write(&path, format!("{CONFIG}accept = false\n")).expect("written");
        orders.send(reload()).await.expect("sent");
        assert!(matches!(administrator.next().await, Step::ReloadBegun));
        assert!(answer.await.expect("an answer").is_ok());
        let engine = spawn_blocking(move || {
            let reload = commands.iter().find_map(|command| match command {
                Command::Reload { changes, reply } => Some((changes, reply)),
                _ => None,
            });
            let (changes, reply) = reload.expect("a reload");
            let row = Rows::new(1).allocate().expect("a row");
            let added = changes.added.iter().map(|one| Added {
                router: RouterId::new(1, 0),
                row,
                settings: Arc::clone(&one.settings),
            });
            assert!(reply.send(added.collect()).is_ok());
            (changes.removed.len(), changes.added.iter().map(|one| one.priority).collect::<Vec<_>>())
        });
        assert!(matches!(administrator.next().await, Step::Reloaded(_)));
        assert_eq!(engine.await.expect("no panic"), (1, vec![200]));
        assert_eq!(administrator.tracker.lowest_priority(["VI_1".to_owned()].iter()), Some(200));
    });
}

/// The FIFO simulates a configuration file on an unresponsive file server.
#[test]
fn other_changes_do_not_wait_until_a_reload_has_read_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vipd.toml");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
    let Bench { mut administrator, orders, commands: _commands, tracker: _, readings: _, _publisher } =
        Bench::new(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        orders.send(reload()).await.expect("sent");
        assert!(matches!(administrator.next().await, Step::ReloadBegun));
        let (reply, mut answer) = oneshot::channel();
        let root = Credentials { uid: 0, pid: None, groups: Vec::new() };
        let request = Request::Drain { instances: vec!["VI_1".to_owned(), "VI_1".to_owned()] };
        orders.send(reload()).await.expect("sent");
        orders.send(Order { request, by: Author::Client(root, reply) }).await.expect("sent");
        let answer = tokio::select! {
            _ = administrator.next() => panic!("a reload ended before the file was written"),
            answer = &mut answer => answer.expect("an answer"),
        };
        assert_eq!(answer.map(|report| report.changes), Ok(vec!["VI_1: drained".to_owned()]));
        // Writes to the FIFO, which lets one reload finish reading. Called once for each of the two
        // reloads.
        let write = || {
            let path = path.clone();
            spawn_blocking(move || std::fs::write(path, "nonsense"))
        };
        let first = write();
        assert!(matches!(administrator.next().await, Step::ReloadRejected));
        first.await.expect("no panic").expect("written");
        assert!(matches!(administrator.next().await, Step::ReloadBegun));
        let second = write();
        assert!(matches!(administrator.next().await, Step::ReloadRejected));
        second.await.expect("no panic").expect("written");
    });
}

/// The priority of an added instance includes the weights of objects that no instance tracked
/// before, as it would after a start with the same file.
#[test]
fn added_instance_starts_with_the_readings_of_its_objects() {
    let directory = tempfile::tempdir().expect("a directory");
    let [path, manual] = ["vipd.toml", "manual"].map(|name| directory.path().join(name));
    std::fs::write(&manual, "50").expect("written");
    let text = format!(
        "{CONFIG}[[instance]]\nname = \"VI_2\"\ninterface = \"eth0\"\nvrid = 2\nvirtual_addresses = [\"10.0.0.2\"]\n\
         track = [{{ file = \"manual\", weight = 1 }}]\n[[file]]\nname = \"manual\"\npath = \"{}\"\n",
        manual.display()
    );
    std::fs::write(&path, text).expect("written");
    let Bench { mut administrator, orders, commands, tracker, mut readings, _publisher } = Bench::new(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let changes = runtime.block_on(async {
        orders.send(reload()).await.expect("sent");
        assert!(matches!(administrator.next().await, Step::ReloadBegun));
        loop {
            tokio::select! {
                biased;
                _ = administrator.next() => panic!("the reload ended without an engine reply"),
                _ = readings.next(&tracker) => {}
                () = sleep(Duration::from_millis(1)) => {}
            }
            if let Ok(Command::Reload { changes, reply: _ }) = commands.try_recv() {
                break changes;
            }
        }
    });
    let added: Vec<_> = changes.added.iter().map(|one| (one.faults.len(), one.priority)).collect();
    assert_eq!(added, [(0, 150)]);
}
