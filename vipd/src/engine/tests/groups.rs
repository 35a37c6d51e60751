//! Sync groups in the engine: an IPv4 and an IPv6 router in a group, and a router without a group.

use std::sync::Arc;

use vipd_tests::links;

use super::probe::block_probes;
use super::*;
use crate::config::operate::Group;
use crate::vrrp::{Fault, Impediment, Reason};

const CONFIGURATION: &str = "realtime = \"off\"\n\
    [[instance]]\nname = \"v4\"\ninterface = \"eth1\"\nvrid = 1\npriority = 150\nadvert_interval = \"10ms\"\n\
    virtual_addresses = [\"10.1.9.1\"]\n\
    [[instance]]\nname = \"v6\"\ninterface = \"eth1\"\nvrid = 1\npriority = 120\nadvert_interval = \"10ms\"\n\
    virtual_addresses = [\"fe80::9:1\"]\n\
    [[instance]]\nname = \"alone\"\ninterface = \"eth1\"\nvrid = 2\nadvert_interval = \"10ms\"\n\
    virtual_addresses = [\"10.1.9.2\"]\n";

fn group(members: &[&str]) -> Vec<Arc<Group>> {
    let members = members.iter().map(|name| (*name).to_owned()).collect();
    vec![Arc::new(Group { name: "both".to_owned(), members, track: Vec::new(), notify: None })]
}

fn states(bench: &Bench) -> [State; 3] {
    let instances = bench.engine.topology().routers.iter().map(|(_, instance)| instance);
    let mut states = [State::Initialize; 3];
    for (state, instance) in states.iter_mut().zip(instances) {
        *state = instance.router.state();
    }
    states
}

fn priorities(bench: &Bench) -> Vec<u8> {
    let instances = bench.engine.topology().routers.iter();
    instances.map(|(_, instance)| instance.router.snapshot().priority).collect()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn members_share_state_and_priority_until_the_group_is_removed() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut config =
            Config::parse(CONFIGURATION, "vipd.toml").map_err(|found| anyhow::anyhow!("{found}"))?;
        config.groups = group(&["v6", "v4"]);
        let mut bench = Bench::with_configuration(&config, 0)?;
        bench.serve_until("all routers are masters", |bench| states(bench) == [State::Master; 3])?;
        assert_eq!(priorities(&bench), [120, 120, 100]);
        let ids: Vec<_> = bench.engine.topology().routers.iter().map(|(id, _)| id).collect();
        let reasons = |bench: &Bench| {
            let instances = bench.engine.topology().routers.iter().take(2);
            instances.filter(|(_, one)| one.router.snapshot().reason == Some(Reason::Group)).count()
        };
        assert_eq!(
            reasons(&bench),
            1,
            "one member's master-down timer has fired, and the other member has followed"
        );

        let drained = State::Fault(Fault::Drained);
        bench.handle.send(Command::Input { router: ids[0], input: Input::Impede(Fault::Drained) });
        bench.serve_until("one member is drained", |bench| states(bench)[0] == drained)?;
        assert_eq!(states(&bench), [drained, State::Fault(Fault::Group), State::Master]);

        // A reload removes the group.
        bench.reload(Changes::default())?;
        assert_eq!(states(&bench)[0], drained);
        bench.serve_until("the other member is independent", |bench| states(bench)[1] == State::Master)?;
        assert_eq!(priorities(&bench), [150, 120, 100]);

        // Another reload adds the group again: the running master follows the drained router.
        bench.reload(Changes { groups: group(&["v4", "v6"]), ..Changes::default() })?;
        assert_eq!(states(&bench), [drained, State::Fault(Fault::Group), State::Master]);
        bench.handle.send(Command::Input { router: ids[0], input: Input::Clear(Impediment::Drained) });
        bench.serve_until("both are masters again", |bench| states(bench) == [State::Master; 3])?;

        // The failed member is removed.
        bench.handle.send(Command::Input { router: ids[1], input: Input::Impede(Fault::Tracking) });
        bench.serve_until("the group has failed", |bench| states(bench)[0] == State::Fault(Fault::Group))?;
        bench.reload(Changes { removed: vec![ids[1]], ..Changes::default() })?;
        bench.serve_until("the remaining member is master", |bench| states(bench)[0] == State::Master)
    })
}

/// The member on the other interface receives no adverts and would make the group master, although
/// the BPF program of the member on eth1 may be detached.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn election_waits_for_probes_of_all_members() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        links::add_pair("eth2", "peer2")?;
        links::add_address("eth2", Ipv4Addr::new(10, 2, 0, 1), 24)?;
        let other = "[[instance]]\nname = \"other\"\ninterface = \"eth2\"\nvrid = 1\npriority = 150\n\
             advert_interval = \"10ms\"\nvirtual_addresses = [\"10.2.9.1\"]\n";
        let mut config = Config::parse(&format!("{CONFIGURATION}{other}"), "vipd.toml")
            .map_err(|found| anyhow::anyhow!("{found}"))?;
        config.groups = group(&["v4", "other"]);
        let mut bench = Bench::with_configuration(&config, 0)?;
        let is = |bench: &Bench, name: &str, state| {
            let mut routers = bench.engine.topology().routers.values();
            routers.any(|one| one.settings.name == name && one.router.state() == state)
        };
        let both_are = |bench: &Bench, state| is(bench, "v4", state) && is(bench, "other", state);
        bench.serve_until("both are backups", |bench| both_are(bench, State::Backup))?;
        let release = block_probes(&mut bench);
        bench.serve_until("all four elections wait", |bench| bench.engine.waiting.len() == 4)?;
        for _ in 0..20 {
            bench.engine.turn()?;
        }
        assert!(both_are(&bench, State::Backup));
        drop(release);
        bench.serve_until("both are masters", |bench| both_are(bench, State::Master))
    })
}
