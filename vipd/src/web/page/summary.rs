//! The head of the page: the node, whether all instances are in an expected state, and the number
//! of instances in each state.

use std::fmt::Write as _;

use super::html::{Text, Values};
use super::instance::STATES;
use super::{MAX_INSTANCES, id};
use crate::web::{Problem, Scrape};

/// Maximum number of problems in the head.
const MAX_PROBLEMS: usize = 20;

/// Returns the title of the document, which a browser shows on its tab.
pub(super) fn title(scrape: &Scrape) -> String {
    match scrape.problems.len() {
        0 => format!("{} · vipd", scrape.host),
        1 => format!("1 problem · {} · vipd", scrape.host),
        number => format!("{number} problems · {} · vipd", scrape.host),
    }
}

/// Returns the HTML of the head, and the value for its slot.
pub(super) fn render(scrape: &Scrape) -> (String, Values) {
    let mut values = Values::default();
    let instances = &scrape.status.instances;
    let guardian = match scrape.status.guardian {
        Some(true) => "guardian running",
        Some(false) => "<b class=\"bad\">guardian not running</b>",
        None => "no guardian",
    };
    let mut out = format!(
        "<header id=\"summary\"><h1>{}</h1><p class=\"about\">vipd {} · {guardian} · {}</p>",
        Text(&scrape.host),
        env!("CARGO_PKG_VERSION"),
        values.add(time(&scrape.time)),
    );
    let verdict = match (scrape.problems.len(), instances.len()) {
        (0, 0) => ("good", "No instances".to_owned()),
        (0, 1) => ("good", "The instance is in an expected state".to_owned()),
        (0, number) => ("good", format!("All {number} instances are in an expected state")),
        (1, _) => ("bad", "1 instance is not in an expected state".to_owned()),
        (number, _) => ("bad", format!("{number} instances are not in an expected state")),
    };
    // Writing to a string does not fail.
    let _ = write!(out, "<p class=\"verdict {}\">{}</p><ul class=\"counts\">", verdict.0, verdict.1);
    for state in STATES {
        let number = instances.iter().filter(|instance| instance.state == state).count();
        if number > 0 {
            let name = state.name();
            let _ = write!(out, "<li class=\"{name}\"><b>{number}</b> {name}</li>");
        }
    }
    out.push_str("</ul>");
    problems(&mut out, scrape);
    out.push_str("</header>");
    (out, values)
}

/// Adds up to [`MAX_PROBLEMS`] problems of all instances, and the number of instances that are not
/// on the page.
fn problems(out: &mut String, scrape: &Scrape) {
    let instances = &scrape.status.instances;
    let (shown, all) = (scrape.problems.iter().take(MAX_PROBLEMS), scrape.problems.len());
    if all > 0 {
        out.push_str("<ul class=\"problems\">");
        for Problem { instance, reason } in shown {
            let index = instances.iter().position(|one| one.name == *instance);
            let name = match index.filter(|index| *index < MAX_INSTANCES) {
                Some(index) => format!("<a href=\"#{}\">{}</a>", id(index), Text(instance)),
                None => format!("<b>{}</b>", Text(instance)),
            };
            let _ = write!(out, "<li>{name} {}</li>", Text(reason));
        }
        if all > MAX_PROBLEMS {
            let _ = write!(out, "<li>and {} more</li>", all - MAX_PROBLEMS);
        }
        out.push_str("</ul>");
    }
    let hidden = instances.len().saturating_sub(MAX_INSTANCES);
    if hidden > 0 {
        let _ = write!(
            out,
            "<p class=\"about\">{hidden} instances are not on this page; <code>vipd status</code> shows all.</p>"
        );
    }
}

/// Returns a time in UTC with seconds.
fn time(rfc3339: &str) -> String {
    let (date, of_day) = (rfc3339.get(..10).unwrap_or_default(), rfc3339.get(11..19).unwrap_or_default());
    format!("{date} {of_day} UTC")
}
