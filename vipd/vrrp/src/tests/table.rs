//! The transition table: each state with each input, in both versions of VRRP. Cleared impediments,
//! priority changes, failover requests, suspensions and sync groups have their own tests.

use super::*;

/// An interval for which Skew_Time differs between VRRPv2 and VRRPv3.
const INTERVAL: u64 = 2 * SECOND;
/// Time that the router has been in its state when it receives the input.
const SINCE: u64 = 300 * MILLI;
/// The quiet time after a losing advert before the addresses are announced again.
const QUIET: u64 = 100 * MILLI;

const FAULTS: [Fault; 4] =
    [Fault::NoInterface, Fault::InterfaceDown, Fault::NoPrimaryAddress, Fault::NotAttached];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Initialize,
    OwnerInitialize,
    Fault,
    Backup,
    Master,
    OwnerMaster,
}

const STARTS: [Start; 6] = [
    Start::Initialize,
    Start::OwnerInitialize,
    Start::Fault,
    Start::Backup,
    Start::Master,
    Start::OwnerMaster,
];

#[derive(Clone, Copy, Debug)]
enum In {
    Available,
    OtherPrimary,
    Unavailable(Fault),
    Shutdown,
    Advert(u8, IpAddr),
    FeedLoss,
    OursRestored,
    OtherRestored,
    TimeoutEarly,
    TimeoutDue,
}

/// Priorities and sources just below and above the router's own (priority 100), and the special
/// priorities.
const ADVERTS: [(u8, IpAddr); 11] = [
    (0, LOWER),
    (0, HIGHER),
    (1, HIGHER),
    (99, HIGHER),
    (100, LOWER),
    (100, OURS),
    (100, HIGHER),
    (101, LOWER),
    (254, LOWER),
    (255, LOWER),
    (255, HIGHER),
];

fn inputs() -> Vec<In> {
    let plain = [
        In::Available,
        In::OtherPrimary,
        In::Shutdown,
        In::FeedLoss,
        In::OursRestored,
        In::OtherRestored,
        In::TimeoutEarly,
        In::TimeoutDue,
    ];
    let faults = FAULTS.map(In::Unavailable);
    let adverts = ADVERTS.map(|(priority, source)| In::Advert(priority, source));
    plain.into_iter().chain(faults).chain(adverts).collect()
}

/// The expected next timeout after the input.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Never,
    Unchanged,
    In(u64),
}

/// The expected result, preceded by the item that requires it.
struct Cell(&'static str, State, Vec<Action>, Next);

fn down(version: Version, priority: u64) -> u64 {
    let skew = match version {
        Version::V2 => (256 - priority) * SECOND / 256,
        Version::V3 => (256 - priority) * INTERVAL / 256,
    };
    3 * INTERVAL + skew
}

fn expected(version: Version, start: Start, input: In) -> Cell {
    match start {
        Start::Initialize => at_rest(version, State::Initialize, false, input),
        Start::OwnerInitialize => at_rest(version, State::Initialize, true, input),
        Start::Fault => at_rest(version, State::Fault(Fault::NoPrimaryAddress), false, input),
        Start::Backup => in_backup(version, input),
        Start::Master => in_master(version, 100, input),
        Start::OwnerMaster => in_master(version, 255, input),
    }
}

fn at_rest(version: Version, state: State, owner: bool, input: In) -> Cell {
    match input {
        In::Available | In::OtherPrimary if owner => {
            let advert = Action::SendAdvert { priority: 255 };
            Cell("S1", State::Master, vec![advert, ADD, ANNOUNCE], Next::In(INTERVAL))
        }
        In::Available | In::OtherPrimary => Cell("S2", State::Backup, vec![], Next::In(down(version, 100))),
        In::Unavailable(fault) => Cell("S27", State::Fault(fault), vec![], Next::Never),
        In::Shutdown => Cell("S27", State::Initialize, vec![], Next::Never),
        _ => Cell("S27", state, vec![], Next::Never),
    }
}

fn in_backup(version: Version, input: In) -> Cell {
    let backup = |item, next| Cell(item, State::Backup, vec![], next);
    let down = down(version, 100);
    match input {
        In::Shutdown => Cell("S8", State::Initialize, vec![], Next::Never),
        In::Unavailable(fault) => Cell("S8", State::Fault(fault), vec![], Next::Never),
        In::TimeoutDue => Cell("S9", State::Master, vec![ADVERT, ADD, ANNOUNCE], Next::In(INTERVAL)),
        In::Advert(_, OURS) => backup("S28", Next::Unchanged),
        In::Advert(0, _) => backup("S10", Next::In(down - 3 * INTERVAL)),
        In::Advert(100, _) => backup("S11, S13", Next::In(down)),
        In::Advert(priority, _) if priority > 100 => backup("S11", Next::In(down)),
        In::Advert(..) => backup("S12", Next::Unchanged),
        In::FeedLoss => backup("the master is assumed to be alive", Next::In(down)),
        In::Available | In::OtherPrimary | In::OursRestored | In::OtherRestored | In::TimeoutEarly => {
            backup("not an RFC event", Next::Unchanged)
        }
    }
}

fn in_master(version: Version, own: u8, input: In) -> Cell {
    let advert = Action::SendAdvert { priority: own };
    let master = |item, actions, next| Cell(item, State::Master, actions, next);
    match input {
        In::Shutdown => {
            Cell("S19", State::Initialize, vec![PRIORITY_ZERO, Action::RemoveAddresses], Next::Never)
        }
        In::Unavailable(fault @ (Fault::NoInterface | Fault::InterfaceDown)) => {
            Cell("S19, link down", State::Fault(fault), vec![Action::RemoveAddresses], Next::Never)
        }
        In::Unavailable(fault) => {
            Cell("S19", State::Fault(fault), vec![PRIORITY_ZERO, Action::RemoveAddresses], Next::Never)
        }
        In::TimeoutDue => master("S20", vec![advert], Next::In(INTERVAL)),
        In::Advert(_, OURS) => master("S28", vec![], Next::Unchanged),
        // A VRRPv2 owner discards all adverts, but announces its addresses again if another router
        // advertised as master.
        In::Advert(0, _) if own == 255 && version == Version::V2 => master("R7", vec![], Next::Unchanged),
        In::Advert(..) if own == 255 && version == Version::V2 => master("R7", vec![], Next::In(QUIET)),
        In::Advert(0, _) => master("S21", vec![advert], Next::In(INTERVAL)),
        In::Advert(priority, source) if priority > own || (priority == own && source > OURS) => {
            let next = Next::In(down(version, u64::from(own)));
            Cell("S22, S26, R7", State::Backup, vec![advert, Action::RemoveAddresses], next)
        }
        In::Advert(..) if version == Version::V2 => master("discard", vec![], Next::In(QUIET)),
        In::Advert(..) => master("S23", vec![advert], Next::In(QUIET)),
        In::OtherPrimary => master("S26: sources are compared", vec![advert], Next::Unchanged),
        In::OursRestored => {
            let one = Addresses::One(VIPS[1]);
            let announce = Action::Announce { addresses: one, rounds: 1 };
            master("S14", vec![announce], Next::Unchanged)
        }
        In::FeedLoss | In::Available | In::OtherRestored | In::TimeoutEarly => {
            master("not an RFC event", vec![], Next::Unchanged)
        }
    }
}

fn script(version: Version, start: Start) -> Script {
    let mut script = match start {
        Start::Initialize => Script::new(config(version, INTERVAL)),
        Start::OwnerInitialize => Script::new(owner(version, INTERVAL)),
        Start::Fault => {
            let mut script = Script::new(config(version, INTERVAL));
            script.input(Input::Impede(Fault::NoPrimaryAddress));
            script
        }
        Start::Backup => Script::started(config(version, INTERVAL)),
        Start::Master => Script::master(config(version, INTERVAL)),
        Start::OwnerMaster => Script::master(owner(version, INTERVAL)),
    };
    script.wait(SINCE);
    script
}

fn apply(script: &mut Script, input: In) -> Vec<Action> {
    let input = match input {
        In::Available => Input::PrimaryAddress(OURS),
        In::OtherPrimary => Input::PrimaryAddress(IpAddr::from([10, 0, 0, 9])),
        In::Unavailable(fault) => Input::Impede(fault),
        In::Shutdown => Input::Shutdown,
        In::Advert(priority, source) => Input::Advert(script.received(priority, source)),
        In::FeedLoss => Input::FeedLoss,
        In::OursRestored => Input::AddressRestored(VIPS[1]),
        In::OtherRestored => Input::AddressRestored(VirtualAddress { prefix: 8, ..VIPS[1] }),
        In::TimeoutEarly => Input::Timeout,
        In::TimeoutDue => {
            script.now = script.router.next_timeout().unwrap_or(script.now);
            Input::Timeout
        }
    };
    script.input(input)
}

#[test]
fn s1_to_s28_every_input_in_every_state_has_the_expected_result() {
    let mut cells = 0;
    for version in VERSIONS {
        for start in STARTS {
            for input in inputs() {
                let mut script = script(version, start);
                let before = script.router.next_timeout();
                let from = script.state();
                let actions = apply(&mut script, input);
                let Cell(item, state, wanted, next) = expected(version, start, input);
                let cell = format!("{item}: VRRPv{version} {start:?} {input:?}");
                assert_eq!(script.state(), state, "{cell}");
                assert_eq!(actions, wanted, "{cell}");
                match next {
                    Next::Never => assert_eq!(script.next(), None, "{cell}"),
                    Next::Unchanged => assert_eq!(script.router.next_timeout(), before, "{cell}"),
                    Next::In(nanos) => assert_eq!(script.next(), Some(nanos), "{cell}"),
                }
                let changes = script.events.iter().filter_map(|event| match event {
                    Event::StateChanged { from, to, .. } => Some((*from, *to)),
                    _ => None,
                });
                let expected: Vec<_> = (from != state).then_some((from, state)).into_iter().collect();
                assert_eq!(changes.collect::<Vec<_>>(), expected, "{cell}: each change is logged once");
                cells += 1;
            }
        }
    }
    assert_eq!(cells, 2 * 6 * (8 + 4 + 11));
}
