//! `vipd status`.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use anstyle::Style;

use super::args::StatusArgs;
use super::table::{Align, BAD, Cell, GOOD, HINT, NONE, Table, WAITING, Yield};
use super::wrap::wrap;
use super::{details, output, terminal};
use crate::control::client::Client;
pub(super) use crate::control::explain::{age, is_noteworthy, seconds};
use crate::control::model::{InstanceStatus, State, StatusReport, TrackedObject};

/// Columns to hide or move below their rows on a narrow terminal, in this order.
const NARROW: [(&str, Yield); 5] = [
    ("ADDRESSES", Yield::Below("")),
    ("MASTER-DOWN", Yield::Hide),
    ("INTERVAL", Yield::Hide),
    ("XDP", Yield::Hide),
    ("LAST-ADVERT-FROM", Yield::Below("last advert from ")),
];

pub(super) fn run(args: &StatusArgs, runtime_dir: &Path) -> anyhow::Result<()> {
    let report = details::select(Client::new(runtime_dir).status()?, &args.names)?;
    let width = terminal::width(&io::stdout());
    let text = if args.json {
        serde_json::to_string(&report)? + "\n"
    } else if args.names.is_empty() {
        render(&report, width)
    } else {
        details::render(&report, width)
    };
    output::print(&text)?;
    Ok(())
}

/// Renders the table, with notes about states, tracked objects, missing VIPs, and missing routes
/// and rules, for a terminal of this width or for a pipe.
pub(super) fn render(report: &StatusReport, width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("INTERFACE", Align::Left),
        ("VRID", Align::Right),
        ("STATE", Align::Left),
        ("PRIO", Align::Right),
        ("INTERVAL", Align::Right),
        ("MASTER-DOWN", Align::Right),
        ("LAST-ADVERT-FROM", Align::Left),
        ("XDP", Align::Left),
        ("SINCE", Align::Right),
        ("ADDRESSES", Align::Left),
    ]);
    for instance in &report.instances {
        table.row(row(instance));
        if let Some(reason) = waits_for(instance) {
            table.note(Cell::styled(format!("initialize: {reason}"), WAITING));
        }
        if let Some(reason) = &instance.fault_reason {
            table.note(Cell::styled(format!("fault: {reason}"), BAD));
        }
        for object in instance.track.iter().filter(|object| is_noteworthy(object)) {
            table.note(Cell::styled(tracked(object), WAITING));
        }
        if !instance.missing_addresses.is_empty() {
            let missing = instance.missing_addresses.join(",");
            table.note(Cell::styled(format!("missing: {missing}; the log has the reason"), BAD));
        }
        for route in &instance.missing_routes {
            table.note(Cell::styled(format!("missing: {route}"), BAD));
        }
    }
    let hidden = width.map(|width| (width, table.fit(width, &NARROW)));
    let mut text = table.render();
    if let Some((width, hidden)) = hidden.filter(|(_, hidden)| !hidden.is_empty()) {
        let hint = format!("{} hidden on this terminal; see `vipd status NAME`", list(&hidden));
        // Writing to a String does not fail.
        let _ = writeln!(text, "{HINT}{}{HINT:#}", wrap(&hint, width, 0));
    }
    text
}

/// Joins headings: `A`, `A and B`, `A, B and C`.
pub(super) fn list(headings: &[&str]) -> String {
    match headings {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Describes the reason why an instance is in Initialize, and the time left in that state.
pub(super) fn waits_for(instance: &InstanceStatus) -> Option<String> {
    let reason = instance.initialize_reason.as_ref()?;
    Some(match instance.starts_in_ns {
        Some(left) => format!("{reason}, {} left", age(left / 1_000_000)),
        None => reason.clone(),
    })
}

/// Describes a tracked object and its weight: `script web is down (weight -60): exit status 1`.
fn tracked(object: &TrackedObject) -> String {
    let TrackedObject { kind, name, state, weight, detail, .. } = object;
    let weight = weight.unwrap_or_default();
    let detail = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{kind} {name} is {state} (weight {weight:+}){detail}")
}

fn row(instance: &InstanceStatus) -> Vec<Cell> {
    vec![
        (&instance.name).into(),
        (&instance.interface).into(),
        instance.vrid.into(),
        state(instance.state),
        instance.effective_priority.into(),
        seconds(instance.active_advertise_interval_ns).into(),
        seconds(instance.master_down_interval_ns).into(),
        or_dash(instance.last_adv_source.as_ref()).into(),
        or_dash(instance.xdp_mode.as_ref()).into(),
        or_dash(instance.last_transition_ms.map(age).as_ref()).into(),
        or_dash(Some(&instance.virtual_addresses.join(",")).filter(|list| !list.is_empty())).into(),
    ]
}

/// Returns the name of a state in its style.
pub(super) fn state(state: State) -> Cell {
    let (name, style) = match state {
        State::Initialize => ("initialize", WAITING),
        State::Backup => ("backup", Style::new()),
        State::Master => ("master", GOOD),
        State::Fault => ("fault", BAD),
    };
    Cell::styled(name, style)
}

fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| NONE.to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::tracked;
    use crate::control::model::TrackedObject;

    #[test]
    fn tracked_objects_are_described() {
        let object = |state: &str, weight, detail: Option<&str>| TrackedObject {
            kind: "script".to_owned(),
            name: "web".to_owned(),
            state: state.to_owned(),
            weight,
            detail: detail.map(str::to_owned),
            since_ms: 0,
            changes: 0,
        };
        let down = object("down", Some(-60), Some("exit status 1"));
        assert_eq!(tracked(&down), "script web is down (weight -60): exit status 1");
        assert_eq!(tracked(&object("up", Some(20), None)), "script web is up (weight +20)");
    }
}
