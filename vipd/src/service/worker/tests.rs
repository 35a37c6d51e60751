use super::*;
use crate::engine::id::Id as _;
use crate::xdp::{Framing, Preference};

struct Refusing;

impl LinkWork for Refusing {
    fn open(&mut self, spec: &LinkSpec) -> anyhow::Result<LinkIo> {
        anyhow::bail!("cannot open {}", spec.name)
    }

    fn renew_groups<'a>(&mut self, _specs: impl IntoIterator<Item = &'a LinkSpec>) -> Vec<LinkSpec> {
        Vec::new()
    }

    fn has_unjoined(&self) -> bool {
        false
    }

    fn check<'a>(&mut self, specs: impl IntoIterator<Item = &'a LinkSpec>) -> Vec<LinkSpec> {
        specs.into_iter().cloned().collect()
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

fn spec(ifindex: u32) -> LinkSpec {
    LinkSpec {
        link: LinkId::new(0, 0),
        ifindex,
        name: "eth0".to_owned(),
        xdp: Preference::Auto,
        framing: Framing::Ethernet,
        routers: Vec::new(),
    }
}

fn state() -> State<Refusing> {
    let (engine, _commands) = Handle::without_engine().expect("a handle");
    State {
        work: Refusing,
        engine,
        fatal: None,
        open: BTreeMap::new(),
        failed: BTreeMap::new(),
        unused: Vec::new(),
        is_shared: false,
        stopping: Arc::default(),
        _running: mpsc::channel().0,
    }
}

#[test]
fn link_is_reopened_when_its_fence_changes() {
    let mut state = state();
    state.open.insert(LinkId::new(0, 0), spec(1));
    state.check();
    assert_eq!(state.failed.len(), 1, "opened again, and refused");
}

/// The former spec may contain removed routers and keys.
#[test]
fn link_that_could_not_be_reopened_is_not_checked_with_its_former_spec() {
    let mut state = state();
    state.open.insert(LinkId::new(0, 0), LinkSpec { name: "former".to_owned(), ..spec(1) });
    state.open(spec(1));
    state.check();
    let failures: Vec<_> = state.failed.values().map(|failure| failure.reason.as_str()).collect();
    assert_eq!(failures, ["cannot open eth0"]);
}

/// Otherwise, the second upgrade would share the links for good, and a third one would wait
/// forever.
#[test]
fn upgrades_that_fail_at_once_do_not_share_the_links_for_good() {
    let mut state = state();
    state.is_shared = true;
    let share = Request::Share(Recipient::Running, oneshot::channel().0);
    let mut queue = VecDeque::from([Request::EndSharing, share, Request::EndSharing]);
    state.carry_out_meanwhile(&mut queue);
    assert!(!state.is_shared);
    assert!(matches!(queue.make_contiguous(), [Request::Share(..), Request::EndSharing]));
}

#[test]
fn retry_delay_doubles_until_the_reason_or_the_interface_changes() {
    let mut state = state();
    let delay =
        |state: &State<Refusing>| state.failed.values().map(|failure| failure.delay.as_secs()).sum::<u64>();
    let mut delays = Vec::new();
    for _ in 0..7 {
        state.open(spec(1));
        delays.push(delay(&state));
    }
    assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
    state.record_failure(spec(1), "another reason");
    assert_eq!(delay(&state), 1);
    state.open(spec(2));
    assert_eq!(delay(&state), 1);
    state.carry_out(Request::Close { link: LinkId::new(0, 0), ifindex: 2, io: None });
    assert!(state.failed.is_empty());
}

#[test]
fn reattaching_takes_precedence_over_jobs_for_other_links() {
    let link = |slot, ifindex| LinkSpec { link: LinkId::new(slot, 0), ..spec(ifindex) };
    let mut queue = VecDeque::from([
        Request::Open(link(1, 1)),
        Request::Close { link: LinkId::new(2, 0), ifindex: 2, io: None },
        Request::Reattach(link(2, 2)),
        Request::Reattach(link(3, 3)),
    ]);
    let order = std::iter::from_fn(|| take_next(&mut queue)).map(|request| match request {
        Request::Open(spec) => ("open", spec.ifindex),
        Request::Reattach(spec) => ("reattach", spec.ifindex),
        Request::Close { ifindex, .. } => ("close", ifindex),
        _ => ("other", 0),
    });
    assert_eq!(order.collect::<Vec<_>>(), [("reattach", 3), ("open", 1), ("close", 2), ("reattach", 2)],);
}

#[test]
fn first_failure_of_the_only_link_is_fatal() {
    let (engine, commands) = Handle::without_engine().expect("a handle");
    let (fatal, mut failed) = oneshot::channel();
    let worker = Worker::start(Refusing, engine, Some(fatal)).expect("a worker");
    assert!(worker.submit(Request::Open(spec(1))));
    // Later failures go to the engine.
    assert!(worker.submit(Request::Open(spec(1))));
    let opened = commands.recv().expect("an answer");
    assert!(matches!(opened, Command::Opened { io: Err(reason), .. } if reason == "cannot open eth0"));
    assert_eq!(failed.try_recv().expect("the first failure").to_string(), "cannot open eth0");
    assert!(worker.stop(Duration::from_secs(60)));
}

#[test]
fn failure_of_the_only_link_is_retried_after_a_reload() {
    let (fatal, mut failed) = oneshot::channel();
    let mut state = State { fatal: Some(fatal), ..state() };
    failed.close();
    state.open(spec(1));
    assert_eq!(state.failed.len(), 1);
}
