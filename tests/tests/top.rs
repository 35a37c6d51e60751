//! `vipd top` in a pseudoterminal, with a running agent.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::control::{wait_for, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::namespace::Namespace;
use vipd_tests::pty::{Pty, resize};
use vipd_tests::station::Station;
use vipd_tests::wait::wait_until;
use vt100::{Color, Parser};

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(20);

/// A terminal emulator that runs `vipd top` on a node.
struct Terminal {
    /// The emulator's side; `None` once it is closed.
    emulator: Option<File>,
    /// The program's side, used to check and resize the terminal.
    device: File,
    parser: Arc<Mutex<Parser>>,
    child: Child,
}

impl Terminal {
    /// Starts `vipd top` in a terminal of 80 columns and 24 lines.
    fn start(host: &Namespace, variables: &[(&str, &str)]) -> Self {
        let terminal = Self::start_without_reading(host, variables);
        let mut output = terminal.emulator.as_ref().expect("open").try_clone().expect("duplicated");
        let parser = Arc::clone(&terminal.parser);
        thread::spawn(move || {
            let mut part = [0; 4096];
            // Fails once no program has the terminal open.
            while let Ok(count @ 1..) = output.read(&mut part) {
                parser.lock().unwrap_or_else(PoisonError::into_inner).process(&part[..count]);
            }
        });
        terminal.wait("vipd top to start", vt100::Screen::alternate_screen);
        terminal
    }

    /// Starts `vipd top` in a terminal that stores only a few kilobytes of output.
    fn start_without_reading(host: &Namespace, variables: &[(&str, &str)]) -> Self {
        // This is also the default size of the parser.
        let Pty { emulator, terminal: device } = Pty::open(24, 80).expect("a pseudoterminal");
        let end = || device.try_clone().expect("duplicated");
        // This terminal is the controlling terminal of vipd's session, as if a shell had started
        // vipd.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(vipd_binary().expect("vipd binary"));
        command.arg("top").arg("--runtime-dir").arg(Agent::runtime_dir());
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(variables.iter().copied());
        command.stdin(end()).stdout(end()).stderr(end());
        let child = host.run(move || command.spawn()).expect("vipd starts");
        Self { emulator: Some(emulator), device, parser: Arc::default(), child }
    }

    fn press(&mut self, keys: &str) {
        let emulator = self.emulator.as_mut().expect("the terminal is open");
        emulator.write_all(keys.as_bytes()).expect("pressed");
    }

    fn resize(&self, lines: u16, columns: u16) {
        let mut parser = self.parser.lock().unwrap_or_else(PoisonError::into_inner);
        let size = |length| NonZeroU16::new(length).expect("not empty");
        parser.set_size(size(lines), size(columns));
        resize(&self.device, lines, columns).expect("resized");
    }

    fn text(&self) -> String {
        self.parser.lock().unwrap_or_else(PoisonError::into_inner).screen().contents()
    }

    fn wait(&self, description: &str, wanted: impl Fn(&vt100::Screen) -> bool) {
        let is_shown = || wanted(self.parser.lock().unwrap_or_else(PoisonError::into_inner).screen());
        wait_until(description, TIMEOUT, is_shown)
            .unwrap_or_else(|error| panic!("{error}:\n{}", self.text()));
    }

    fn wait_for_text(&self, text: &str) {
        self.wait(text, |screen| screen.contents().contains(text));
    }

    /// Returns the colors of the cells of `text`, which must be on one line of the screen.
    fn colors(&self, text: &str) -> Vec<Color> {
        let parser = self.parser.lock().unwrap_or_else(PoisonError::into_inner);
        let screen = parser.screen();
        let rows: Vec<String> = screen.rows(0, screen.size().1.get()).collect();
        let found = rows.iter().zip(0..).find_map(|(row, line)| {
            let before = &row[..row.find(text)?];
            Some((line, u16::try_from(before.chars().count()).expect("a column")))
        });
        let (line, column) = found.unwrap_or_else(|| panic!("no {text:?}:\n{}", screen.contents()));
        let length = u16::try_from(text.chars().count()).expect("short");
        (column..column + length).map(|column| screen.cell(line, column).expect("a cell").fgcolor()).collect()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("sent");
    }

    fn exit_status(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("vipd top to exit", TIMEOUT, || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        })
        .unwrap_or_else(|error| panic!("{error}:\n{}", self.text()));
        status.expect("exited")
    }

    /// Asserts that the terminal is back in line mode with echo, and that it shows the main screen
    /// with a cursor.
    fn assert_restored(&self) {
        let modes = tcgetattr(self.device.as_fd()).expect("attributes").local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{modes:?}");
        self.wait("the main screen", |screen| !screen.alternate_screen() && !screen.hide_cursor());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent(lab: &Lab) -> Agent {
    let instance = Instance { interval: Duration::from_millis(100), ..Instance::default() };
    Agent::new(lab, NODE, vipd().expect("vipd binary"), &[instance]).expect("create the agent")
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn master_is_drained_after_a_confirmation() {
    let lab = Lab::new(1).expect("create the lab");
    let mut agent = agent(&lab);
    agent.start().expect("start the agent");
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    let mut terminal = Terminal::start(agent.host(), &[]);
    terminal.wait_for_text("1 master");
    terminal.wait_for_text("this node");
    terminal.wait_for_text("backup → master");
    assert_eq!(terminal.colors("1 master"), [Color::Idx(2); 8]);
    // The rate of sent adverts is computed from two reports.
    terminal.wait("ten adverts per second", |screen| {
        let text = screen.contents();
        let row = text.lines().find(|line| line.starts_with("VI_1")).unwrap_or_default();
        let sent = row.split_whitespace().nth(7).and_then(|sent| sent.parse::<f64>().ok());
        sent.is_some_and(|sent| (8.0..13.0).contains(&sent))
    });

    terminal.press("d");
    terminal.wait_for_text("Drain VI_1?");
    terminal.wait_for_text("It sends a priority-0 advert");
    terminal.press("n");
    terminal.wait("no question", |screen| !screen.contents().contains("Drain VI_1?"));
    terminal.press("dy");
    terminal.wait_for_text("VI_1: drained");
    let drained = "drained by the administrator";
    wait_for(&agent, drained, TIMEOUT, |status| status.text("vipd:fault-reason") == drained)
        .expect("drained");
    terminal.wait_for_text("1 fault");
    terminal.wait_for_text("master → fault");

    terminal.resize(10, 40);
    terminal.wait("a screen of 10 lines", |screen| {
        let rows: Vec<String> = screen.rows(0, 40).collect();
        rows[1].starts_with("NAME") && rows[9].starts_with("q quit")
    });
    terminal.press("uy");
    wait_for_state(&agent, "master", TIMEOUT).expect("master again");
    terminal.press("q");
    assert!(terminal.exit_status().success());
    terminal.assert_restored();
    agent.stop().expect("stop the agent");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn agent_restart_is_reported() {
    let lab = Lab::new(1).expect("create the lab");
    let mut agent = agent(&lab);
    let mut terminal = Terminal::start(lab.host(NODE).expect("the node"), &[("NO_COLOR", "1")]);
    terminal.wait_for_text("reconnecting; no agent is running with the runtime");
    agent.start().expect("start the agent");
    terminal.wait_for_text("1 master");
    assert_eq!(terminal.colors("1 master"), [Color::Default; 8]);
    // The events are requested separately, and may follow the first report.
    terminal.wait_for_text("backup → master");
    agent.stop().expect("stop the agent");
    terminal.wait_for_text("reconnecting; last report");
    terminal.wait_for_text("VI_1");
    terminal.press("d");
    terminal.wait_for_text("the agent does not reply");
    agent.start().expect("start the agent");
    terminal.wait("the agent's second run", |screen| {
        let text = screen.contents();
        !text.contains("reconnecting") && text.matches("backup → master").count() == 2
    });
    drop(terminal);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut terminal = Terminal::start(agent.host(), &[]);
        terminal.signal(signal);
        assert!(terminal.exit_status().success(), "{signal:?}");
        terminal.assert_restored();
    }
    agent.stop().expect("stop the agent");
}

/// The library that reads keys would spin on a closed terminal, and a write to a blocked terminal
/// does not return.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn closed_or_blocked_terminal_does_not_keep_the_program_running() {
    let lab = Lab::new(1).expect("create the lab");
    let host = lab.host(NODE).expect("the node");
    let mut closed = Terminal::start_without_reading(host, &[]);
    wait_until("raw mode", TIMEOUT, || is_raw(&closed.device)).expect("it starts");
    closed.emulator = None;
    closed.exit_status();

    let mut blocked = Terminal::start_without_reading(host, &[]);
    wait_until("raw mode", TIMEOUT, || is_raw(&blocked.device)).expect("it starts");
    // A horizontal rule across the screen is longer than the terminal's buffer.
    resize(&blocked.device, 24, 8000).expect("resized");
    wait_until("a full buffer", TIMEOUT, || !is_writable(&blocked.device)).expect("it writes");
    blocked.signal(Signal::TERM);
    blocked.exit_status();
    assert!(!is_raw(&blocked.device));
}

fn is_raw(device: &File) -> bool {
    !tcgetattr(device.as_fd()).expect("attributes").local_modes.contains(LocalModes::ICANON)
}

fn is_writable(device: &File) -> bool {
    let mut ready = [PollFd::new(device, PollFlags::OUT)];
    poll(&mut ready, Some(&Timespec::default())).expect("polled");
    ready[0].revents().contains(PollFlags::OUT)
}
