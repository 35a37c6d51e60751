use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::control::access::Credentials;
use crate::engine::id::Id as _;
use crate::service::bus::bus;

const CONFIG: &str =
    "[[instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvrid = 1\nvirtual_addresses = [\"10.0.0.1\"]\n";

/// The FIFO stands for a configuration file on a file server that does not respond.
#[test]
fn other_changes_do_not_wait_until_a_reload_has_read_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vipd.toml");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
    let config = Config::parse(CONFIG, "vipd.toml").expect("a valid configuration");
    let (engine, _commands) = Handle::without_engine().expect("a handle");
    let (_publisher, transitions) = bus(1);
    let agent = Agent {
        sizes: Sizes { routers: 64, peers: 64, closed: 64, senders: 4096, burst: 1 },
        engine: engine.clone(),
        drained: Drained::load(directory.path()),
        latest: transitions.latest(),
        tracker: SharedTracker::new(engine).0,
        configured: Configured::default(),
    };
    let roster = [(RouterId::new(0, 0), Arc::clone(&config.instances[0]))];
    let (mut administrator, orders) =
        Administrator::new(path.clone(), config.clone(), roster.into_iter(), agent);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let by_signal = || Order { request: Request::Reload, by: Author::Signal(1) };
        orders.send(by_signal()).await.expect("sent");
        assert!(matches!(administrator.next().await, Step::ReloadBegun));
        let (reply, mut answer) = oneshot::channel();
        let root = Credentials { uid: 0, pid: None, groups: Vec::new() };
        let request = Request::Drain { instances: vec!["VI_1".to_owned(), "VI_1".to_owned()] };
        orders.send(by_signal()).await.expect("sent");
        orders.send(Order { request, by: Author::Client(root, reply) }).await.expect("sent");
        let answer = tokio::select! {
            _ = administrator.next() => panic!("the file cannot be read yet"),
            answer = &mut answer => answer.expect("an answer"),
        };
        assert_eq!(answer.map(|report| report.changes), Ok(vec!["VI_1: drained".to_owned()]));
        // Now the file can be read, for each of the two reloads.
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
