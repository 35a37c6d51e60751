//! Tests of the screen, rendered as text.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::super::keys::Action;
use super::super::model::{Model, Notice};
use super::super::tests::{report, three_instances};
use super::super::theme::Theme;
use super::super::verb::Verb;
use crate::cli::tests::instance_status;
use crate::control::model::State;

fn draw(model: &Model, columns: u16, lines: u16, has_color: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).expect("a terminal");
    terminal.draw(|frame| super::draw(model, Theme { has_color }, frame)).expect("drawn");
    terminal.backend().buffer().clone()
}

/// Returns the screen as lines without trailing spaces.
fn screen(model: &Model, columns: u16, lines: u16) -> String {
    let buffer = draw(model, columns, lines, true);
    let rows = buffer.content().chunks(usize::from(columns)).map(|row| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    });
    rows.collect()
}

fn assert_screen(model: &Model, columns: u16, lines: u16, expected: &str) {
    let found = screen(model, columns, lines);
    assert!(found == expected, "found:\n{found}\nexpected:\n{expected}");
}

#[test]
fn screen_of_80_by_24_has_the_table_details_and_transitions() {
    let mut model = three_instances(Instant::now());
    model.perform(Action::Move(1));
    assert_screen(
        &model,
        80,
        24,
        "\
vipd top  1 master  1 backup  1 fault  5 dropped  guardian runs
NAME     VRID STATE    PRIO MASTER    RCVD/S SENT/S LAST-ADV CHECKS FENCE  SINCE
gateway    51 master    100 this node    1.0   10.0        -      - full   1h03m
web        52 backup 40/100 192.0.2.2    1.0   10.0    320ms    1/2 full   4m05s
spare      53 fault     100 -            1.0   10.0        -      - full   12.3s
── web: VRID 52 on eth2, IPv4, VRRPv3 ──────────────────────────────────────────
priority  40 (configured: 100; weights of tracked objects: -60)
tracked   script web: down for 3m02s, weight -60, 1 change: exit status 1
tracked   script disk: up for 3m02s, weight -60, 1 change
dropped   checksum-errors 5(+1.5/s): invalid VRRP checksum
master    192.0.2.2, priority 150, checksum rfc5798, last advert 320ms ago
timers    interval 1s, master-down 3.609s (fires in 3.289s)
state     backup for 4m05s (higher-priority)
fence     full, XDP mode native
addresses 192.0.2.10/24, 192.0.2.11/24
── latest transitions (UTC) ────────────────────────────────────────────────────
17:03:52.250  spare    backup → fault  drained
17:01:02.500  web      master → backup  higher-priority
16:00:00.000  gateway  backup → master  master-timeout  12 µs late




q quit  d drain  u undrain  f failover  / filter  s sort  r reverse  ↑↓ select
",
    );
}

#[test]
fn small_screen_shows_the_table_and_the_latest_transitions() {
    assert_screen(
        &three_instances(Instant::now()),
        40,
        10,
        "\
vipd top  1 master  1 backup  1 fault  5
NAME     STATE    PRIO MASTER    RCVD/S
gateway  master    100 this node    1.0
web      backup 40/100 192.0.2.2    1.0
spare    fault     100 -            1.0
── latest transitions (UTC) ────────────
17:03:52.250  spare    backup → fault  d
17:01:02.500  web      master → backup
16:00:00.000  gateway  backup → master
q quit  d drain  u undrain  f failover
",
    );
}

#[test]
fn confirmation_names_the_instance_and_the_consequence() {
    let mut model = three_instances(Instant::now());
    model.perform(Action::Propose(Verb::Drain));
    assert_screen(
        &model,
        60,
        16,
        "\
vipd top  1 master  1 backup  1 fault  5 dropped  guardian r
NAME     VRID STATE    PRIO MASTER    RCVD/S SENT/S LAST-ADV
gateway    51 master    100 this node    1.0   10.0        -
web        52 backup 40/100 192.0.2.2    1.0   10.0    320ms
spare      53 fault     100 -            1.0   10.0        -
┌ Drain gateway? ──────────────────────────────────────────┐
│ gateway is master. It sends a priority-0 advert, so that │
│ a backup takes over after its Skew_Time. gateway stays   │
│ in fault until undrained, even across restarts. Without  │
│ a backup, 192.0.2.10/24 (and 1 more) cannot be reached.  │
└ y: yes  n: no ───────────────────────────────────────────┘
── latest transitions (UTC) ────────────────────────────────
17:03:52.250  spare    backup → fault  drained
17:01:02.500  web      master → backup  higher-priority
16:00:00.000  gateway  backup → master  master-timeout  12 µ
q quit  d drain  u undrain  f failover  / filter  s sort
",
    );
}

#[test]
fn lost_agent_is_reported_above_the_last_report() {
    let start = Instant::now();
    let mut model = three_instances(start);
    let error = "no agent is running with the runtime directory /run/vipd; start one with `vipd run`";
    model.disconnected(start + Duration::from_secs(14), error.to_owned());
    let text = screen(&model, 80, 24);
    let banner = "reconnecting; last report 12.0s ago; no agent is running with the runtime\n\
                  directory /run/vipd; start one with `vipd run`\n";
    assert!(text.contains(banner) && text.contains("gateway"), "{text}");
}

#[test]
fn wide_screen_has_all_columns() {
    let text = screen(&three_instances(Instant::now()), 180, 24);
    let heads: Vec<&str> = text.lines().nth(1).expect("headings").split_whitespace().collect();
    assert_eq!(heads.len(), 15);
    assert!(text.contains("script web down (-60)"), "{text}");
}

#[test]
fn filter_is_shown_while_it_is_typed_and_afterwards() {
    let mut model = three_instances(Instant::now());
    model.perform(Action::EditFilter);
    model.perform(Action::Type('w'));
    model.perform(Action::Type('e'));
    let last = |model: &Model| screen(model, 80, 24).lines().last().map(str::to_owned).expect("a line");
    assert_eq!(last(&model), "filter: we_   Enter keep  Esc clear");
    model.perform(Action::KeepFilter);
    assert!(last(&model).starts_with("filter: we  Esc clear  q quit"), "{}", last(&model));
    let text = screen(&model, 80, 24);
    assert!(text.contains("web") && !text.contains("gateway") && !text.contains("spare"), "{text}");
}

#[test]
fn page_contains_the_selected_instance() {
    let start = Instant::now();
    let mut model = Model::new();
    let instances = (0..100).map(|number| instance_status(&format!("VI_{number}"), State::Backup)).collect();
    model.report(report(start, instances, 1));
    for (lines, first, last) in [(0, "VI_0", "VI_9"), (10, "VI_10", "VI_19"), (isize::MAX, "VI_90", "VI_99")]
    {
        model.perform(Action::Move(lines));
        let text = screen(&model, 80, 24);
        let names: Vec<&str> =
            text.lines().skip(2).take(10).filter_map(|line| line.split(' ').next()).collect();
        assert_eq!((names[0], names[9]), (first, last), "{text}");
    }
}

/// Returns the style of the first cell of `text`.
fn style_of(buffer: &Buffer, text: &str) -> (Color, Modifier) {
    let symbols: Vec<&str> = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
    let length = text.chars().count();
    let at = symbols.windows(length).position(|window| window.concat() == text).expect("on the screen");
    let cell = &buffer.content()[at];
    (cell.fg, cell.modifier)
}

#[test]
fn colors_are_optional() {
    let model = three_instances(Instant::now());
    let colored = draw(&model, 80, 24, true);
    assert_eq!(style_of(&colored, "1 fault"), (Color::Red, Modifier::BOLD));
    assert_eq!(style_of(&colored, "1 master"), (Color::Green, Modifier::BOLD));
    let plain = draw(&model, 80, 24, false);
    assert!(plain.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert_eq!(style_of(&plain, "1 fault").1, Modifier::BOLD);
    assert_eq!(style_of(&plain, "gateway").1, Modifier::REVERSED);
}

#[test]
fn view_is_drawn_at_any_terminal_size_without_a_panic() {
    let start = Instant::now();
    let mut question = three_instances(start);
    question.perform(Action::Propose(Verb::Drain));
    let mut lost = three_instances(start);
    lost.changed(Notice { text: "a long refusal ".repeat(20), is_error: true });
    lost.disconnected(start + Duration::from_secs(9), "gone ".repeat(50));
    for model in [&Model::new(), &question, &lost] {
        for columns in [1, 2, 3, 5, 8, 20, 40, 79, 300] {
            for lines in 1..30 {
                draw(model, columns, lines, true);
            }
        }
    }
}
