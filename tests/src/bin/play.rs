fn main() -> anyhow::Result<()> {
    use std::time::Duration;
    use vipd_tests::*;
    let a: Vec<String> = std::env::args().collect();
    let mut s = scenario::Setup::new(agent::AgentKind::Keepalived, agent::AgentKind::Keepalived);
    let ms: u64 = a[2].parse()?;
    s.interval = Duration::from_millis(ms);
    if ms >= 1000 {
        s.version = protocol::Version::V2;
    }
    s.preempt = a.get(3).is_none_or(|x| x != "np");
    let mut out = anstream::stdout();
    if let Some(n) = a.get(4) {
        let all =
            compare::compare(a[1].parse()?, &s, &[agent::AgentKind::Keepalived], n.parse()?, |_, _| ())?;
        return Ok(story::tell_comparison(&all, &mut out)?);
    }
    let o = a[1].parse::<scenario::Scenario>()?.play(&s)?;
    story::tell(&o, &mut out)?;
    Ok(())
}
