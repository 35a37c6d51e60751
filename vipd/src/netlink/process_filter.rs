//! The socket filter of [`ProcessEvents`](super::ProcessEvents).
//!
//! A busy host starts and ends thousands of processes per second. The filter drops events that
//! cannot concern the tracked processes, before the kernel queues them.

use super::filter::{DROP, IF_EQUAL, Instruction, LOAD_U32, PASS, Program, RETURN};
use super::process_events::{COMM, EXEC, FORK, NONE, PROCESS, WHAT};

/// With more processes than this, the events of all processes pass.
const MAX_PROCESSES: usize = 512;

/// The process events to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// Only replies to requests.
    Replies,
    /// Events in which one of these processes executes another program or changes its name.
    Changes(&'a [u32]),
    /// Events in which any process executes a program or changes its name, or one of these
    /// processes forks.
    Starts(&'a [u32]),
}

/// Builds the program for a selection.
pub(super) fn program(selection: Selection<'_>) -> Vec<Instruction> {
    let mut program = Program::default();
    program.push(LOAD_U32, WHAT);
    let processes = match selection {
        Selection::Replies => {
            program.branch(IF_EQUAL, word(NONE), 0, 1);
            program.push(RETURN, PASS);
            program.push(RETURN, DROP);
            return program.0;
        }
        Selection::Changes(processes) => {
            program.branch(IF_EQUAL, word(EXEC), 2, 0);
            program.branch(IF_EQUAL, word(COMM), 1, 0);
            processes
        }
        Selection::Starts(processes) => {
            program.branch(IF_EQUAL, word(EXEC), 1, 0);
            program.branch(IF_EQUAL, word(COMM), 0, 1);
            program.push(RETURN, PASS);
            program.branch(IF_EQUAL, word(FORK), 1, 0);
            processes
        }
    };
    program.push(RETURN, DROP);
    if processes.len() > MAX_PROCESSES {
        program.push(RETURN, PASS);
        return program.0;
    }
    program.push(LOAD_U32, PROCESS);
    for process in processes {
        program.branch(IF_EQUAL, word(*process), 0, 1);
        program.push(RETURN, PASS);
    }
    program.push(RETURN, DROP);
    program.0
}

/// Converts a number for comparison with a loaded word: BPF loads words in network byte order, but
/// the kernel's messages are in host byte order.
fn word(value: u32) -> u32 {
    value.to_be()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::filter::tests::run;
    use crate::netlink::process_events::tests::event;

    const EXIT: u32 = 0x8000_0000;

    #[test]
    fn only_selected_events_pass() {
        let many: Vec<u32> = (1..=1000).collect();
        for (selection, passing) in [
            (Selection::Replies, &[(NONE, 0)][..]),
            (Selection::Changes(&[7, 8]), &[(EXEC, 7), (EXEC, 8), (COMM, 7), (COMM, 8)]),
            (Selection::Changes(&[]), &[]),
            (
                Selection::Starts(&[7]),
                &[(EXEC, 7), (EXEC, 8), (EXEC, 9), (COMM, 7), (COMM, 8), (COMM, 9), (FORK, 7)],
            ),
            (Selection::Starts(&[]), &[(EXEC, 7), (EXEC, 8), (EXEC, 9), (COMM, 7), (COMM, 8), (COMM, 9)]),
            (Selection::Changes(&many), &[(EXEC, 7), (EXEC, 8), (EXEC, 9), (COMM, 7), (COMM, 8), (COMM, 9)]),
        ] {
            let program = program(selection);
            for (what, process) in
                [EXEC, COMM, FORK, EXIT].map(|what| [7, 8, 9].map(|process| (what, process))).concat()
            {
                let expected = passing.contains(&(what, process));
                assert_eq!(run(&program, &event(what, 0, process, 20)), expected, "{what:x} of {process}");
            }
            assert_eq!(run(&program, &event(NONE, 1, 0, 0)), selection == Selection::Replies);
        }
    }
}
