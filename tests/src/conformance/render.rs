//! Renders the verdicts by scenario and by item, as Markdown or for a terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::table::{Row, Verdict};
use super::{Item, Program};

fn programs(rows: &[Row<'_>]) -> Vec<Program> {
    rows.first().map(|row| row.verdicts.iter().map(|(program, _)| *program).collect()).unwrap_or_default()
}

/// Returns the remarks on a scenario: the known differences of the programs under test, whether it
/// is played in virtual time only, why it was skipped, and how it failed.
fn remarks(row: &Row<'_>, programs: &[Program]) -> Vec<String> {
    if let Some(reason) = skipped(row) {
        return vec![reason.to_owned()];
    }
    let notes = row.scenario.notes.iter().filter(|(program, _)| programs.contains(program));
    let mut remarks: Vec<_> = notes.map(|(program, note)| format!("{program}: {}", note.text())).collect();
    for (program, verdict) in &row.verdicts {
        match verdict {
            Verdict::InCore => remarks.push("virtual time only, with vipd's core".to_owned()),
            Verdict::Fails(error) | Verdict::LabError(error) => remarks.push(format!("{program}: {error:#}")),
            _ => {}
        }
    }
    remarks.dedup();
    remarks
}

/// Returns the items that the scenarios cover, with the reasons why the scenarios of an item were
/// skipped, if all of them were. The other tests of an item test vipd, so they are removed.
pub fn items_of_device(rows: &[Row<'_>], items: Vec<Item>) -> Vec<Item> {
    let with_reasons = items.into_iter().filter_map(|item| {
        let rows = rows.iter().filter(|row| row.scenario.items.contains(&item.name));
        let reasons: Vec<_> = rows.map(skipped).collect();
        let played = reasons.iter().any(Option::is_none);
        let reasons: BTreeSet<_> = reasons.iter().copied().flatten().filter(|_| !played).collect();
        let skip_reasons = reasons.iter().copied().collect::<Vec<_>>().join("; ");
        let other_tests = String::new();
        (played || !reasons.is_empty()).then_some(Item { other_tests, skip_reasons, ..item })
    });
    with_reasons.collect()
}

/// Renders the verdicts for a terminal: one line per item, followed by the scenarios with remarks
/// or unexplained verdicts, and by the skipped scenarios.
pub fn plain(rows: &[Row<'_>], items: &[Item]) -> String {
    let programs = programs(rows);
    let mut text = String::from("item");
    for program in &programs {
        let _ = write!(text, "  {:<10}", program.to_string());
    }
    text += "  requirement\n";
    for item in items {
        let _ = write!(text, "{:<4}", item.name);
        for program in &programs {
            let _ = write!(text, "  {:<10}", of_item(&item.name, *program, rows));
        }
        let why = if !item.skip_reasons.is_empty() {
            format!(" ({})", item.skip_reasons)
        } else if item.other_tests.is_empty() || item.other_tests.starts_with('`') {
            String::new()
        } else {
            format!(" ({})", item.other_tests.split("; `").next().unwrap_or_default())
        };
        let _ = writeln!(text, "  {}{why}", item.requirement);
    }
    text += "\nscenarios with remarks\n";
    for row in rows.iter().filter(|row| skipped(row).is_none()) {
        let remarks = remarks(row, &programs);
        if !remarks.is_empty() || row.verdicts.iter().any(|(_, verdict)| verdict.is_unexplained()) {
            let verdicts: Vec<_> =
                row.verdicts.iter().map(|(program, verdict)| format!("{program} {verdict}")).collect();
            let _ = writeln!(text, "  {}: {}", row.scenario.name, verdicts.join(", "));
            for remark in remarks {
                let _ = writeln!(text, "      {remark}");
            }
        }
    }
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (row, reason) in rows.iter().filter_map(|row| Some((row, skipped(row)?))) {
        reasons.entry(reason).or_default().push(&row.scenario.name);
    }
    if !reasons.is_empty() {
        text += "\nskipped scenarios\n";
    }
    for (reason, names) in reasons {
        let _ = writeln!(text, "  {reason}: {}", names.join(", "));
    }
    text
}

/// Returns the reason why a scenario was skipped, if it was. Only runs with a device skip
/// scenarios, and the device is their only program.
fn skipped<'a>(row: &'a Row<'_>) -> Option<&'a str> {
    row.verdicts.iter().find_map(|(_, verdict)| match verdict {
        Verdict::Skipped(reason) => Some(reason.as_str()),
        _ => None,
    })
}

/// Renders the verdicts as two Markdown tables: by scenario, with remarks, and by item.
/// `scenarios` is the path or URL of the scenarios' directory, for links.
pub fn markdown(rows: &[Row<'_>], items: &[Item], scenarios: &str) -> String {
    let mut text = String::from("## By scenario\n\n| scenario | items |");
    let programs = programs(rows);
    for program in &programs {
        let _ = write!(text, " {program} |");
    }
    text += " remarks |\n| --- | --- |";
    text += &" --- |".repeat(programs.len() + 1);
    for row in rows {
        let (name, items) = (&row.scenario.name, row.scenario.items.join(", "));
        let _ = write!(text, "\n| [{}]({scenarios}/{name}.md) | {items} |", row.scenario.title);
        for (_, verdict) in &row.verdicts {
            let _ = write!(text, " {verdict} |");
        }
        let _ = write!(text, " {} |", remarks(row, &programs).join("; "));
    }
    text += "\n\n## By item\n\n| item | source | level | requirement |";
    for program in &programs {
        let _ = write!(text, " {program} |");
    }
    text += " other tests, or reason |\n| --- | --- | --- | --- |";
    text += &" --- |".repeat(programs.len() + 1);
    for item in items {
        let Item { name, source, level, requirement, other_tests, skip_reasons } = item;
        let _ = write!(text, "\n| {name} | {source} | {level} | {requirement} |");
        for program in &programs {
            let _ = write!(text, " {} |", of_item(name, *program, rows));
        }
        let of_vipd = programs.contains(&Program::Vipd);
        let choices =
            rows.iter().filter(|row| of_vipd && row.scenario.items.contains(name)).filter_map(|row| {
                row.scenario.note(Program::Vipd).map(|note| format!("vipd differs: {}", note.text()))
            });
        let others = [other_tests, skip_reasons].into_iter().filter(|text| !text.is_empty()).cloned();
        let besides: Vec<_> = choices.chain(others).collect();
        let _ = write!(text, " {} |", besides.join("; "));
    }
    text.push('\n');
    text
}

/// Returns how many of an item's scenarios a program passes, not counting those that it did not
/// play: `ok` for all, otherwise a count such as `3 of 4`, or `-` if none was played.
fn of_item(item: &str, program: Program, rows: &[Row<'_>]) -> String {
    let of_item = rows.iter().filter(|row| row.scenario.items.iter().any(|name| name == item));
    let (mut passed, mut played) = (0, 0);
    for (_, verdict) in of_item.flat_map(|row| &row.verdicts).filter(|(who, _)| *who == program) {
        match verdict {
            Verdict::Unsupported | Verdict::Skipped(_) => {}
            // vipd's core has passed these scenarios in virtual time. The other programs did not
            // play them.
            Verdict::InCore if program != Program::Vipd => {}
            Verdict::Passes | Verdict::PassesOnRetry(_) | Verdict::UnexpectedPass | Verdict::InCore => {
                (passed, played) = (passed + 1, played + 1);
            }
            Verdict::Differs | Verdict::Fails(_) | Verdict::LabError(_) => played += 1,
        }
    }
    match (passed, played) {
        (_, 0) => "-".to_owned(),
        (passed, played) if passed == played => "ok".to_owned(),
        (passed, played) => format!("{passed} of {played}"),
    }
}
