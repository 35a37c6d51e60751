//! Parses and summarizes the output of libFuzzer.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Maximum number of bytes of a failing input to print. The input's file contains all bytes.
const MAX_SHOWN: usize = 512;
/// Maximum number of output lines to print for a failure.
const MAX_LINES: usize = 15;
/// Text that precedes the path of a failing input.
const WRITTEN: &str = "Test unit written to ";

/// Statistics of a fuzzing run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    executions: u64,
    per_second: u64,
    /// Number of edges covered.
    coverage: u64,
    /// Number of inputs and their total size, as printed by libFuzzer: `98/6726b`.
    corpus: String,
}

/// The result of a fuzzing run.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Whether the run had no findings.
    pub(super) succeeded: bool,
    pub(super) tally: Tally,
    output: Vec<String>,
}

impl Outcome {
    /// Parses libFuzzer's output lines.
    pub(super) fn parse(succeeded: bool, output: Vec<String>) -> Self {
        let mut tally = Tally::default();
        for line in &output {
            let stat = |name: &str| line.strip_prefix(name)?.trim().parse().ok();
            if let Some(count) = stat("stat::number_of_executed_units:") {
                tally.executions = count;
            } else if let Some(count) = stat("stat::average_exec_per_sec:") {
                tally.per_second = count;
            } else if line.starts_with('#') {
                // `#1234  NEW  cov: 230 ft: 400 corp: 99/7003b lim: 4096 exec/s: …`
                let after = |name: &str| line.split_once(name)?.1.split_whitespace().next();
                if let Some(coverage) = after(" cov: ").and_then(|count| count.parse().ok()) {
                    tally.coverage = coverage;
                }
                if let Some(corpus) = after(" corp: ") {
                    corpus.clone_into(&mut tally.corpus);
                }
            }
        }
        Self { succeeded, tally, output }
    }

    /// Describes a failure, with the panic if there was one, the input and the command that
    /// reproduces the failure; or with the last lines of the output if libFuzzer wrote no input.
    pub(super) fn explain(&self, target: &str) -> Result<String> {
        let mut text = format!("{target} FAILED\n");
        let written = self.output.iter().find_map(|line| Some(line.split_once(WRITTEN)?.1.trim()));
        let Some(path) = written else {
            let last = self.output.len().saturating_sub(MAX_LINES);
            text.push_str(&self.output[last..].join("\n"));
            return Ok(text);
        };
        // Print the panic message without the backtrace. Hangs and excessive memory use have no
        // panic message.
        let panic = self.output.iter().skip_while(|line| !line.contains(" panicked at "));
        for line in panic.take_while(|line| !line.starts_with("stack backtrace")).take(MAX_LINES) {
            writeln!(text, "  {line}")?;
        }
        if let Some(summary) = self.output.iter().find(|line| line.starts_with("SUMMARY: ")) {
            writeln!(text, "  {summary}")?;
        }
        let input = fs::read(path).with_context(|| format!("cannot read {path}"))?;
        writeln!(text, "input {path}, {} bytes", input.len())?;
        text.push_str(&hexdump(&input[..input.len().min(MAX_SHOWN)]));
        writeln!(text, "reproduce with `cargo xtask fuzz {target} --input {path}`")?;
        let name = Path::new(path).file_name().unwrap_or_default().display().to_string();
        write!(text, "once fixed, store the input as tests/fuzz/regressions/{target}/{name}")?;
        Ok(text)
    }
}

/// Formats the statistics as a table, with one line per target.
pub(super) fn table(tallies: &[(&str, Tally)]) -> String {
    let mut text =
        format!("{:8} {:>12} {:>10} {:>9}  {}\n", "target", "executions", "exec/s", "coverage", "corpus");
    for (target, Tally { executions, per_second, coverage, corpus }) in tallies {
        let _ = writeln!(text, "{target:8} {executions:>12} {per_second:>10} {coverage:>9}  {corpus}");
    }
    text
}

/// Formats a hexdump with 16 bytes per line, each line with an offset and the bytes as characters.
fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, chunk) in bytes.chunks(16).enumerate() {
        let hex = chunk.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
        let characters: String = chunk.iter().map(shown).collect();
        let _ = writeln!(text, "  {:04x}  {hex:47}  {characters}", index * 16);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Tally, hexdump, table};

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn statistics_are_taken_from_the_last_line() {
        let output = "#2\tINITED cov: 30 ft: 30 corp: 1/1b exec/s: 0 rss: 29Mb\n\
                    #900\tDONE   cov: 2662 ft: 2768 corp: 74/3800b lim: 4096 exec/s: 60286 rss: 48Mb\n\
                    stat::number_of_executed_units: 964587\nstat::average_exec_per_sec:     60286";
        let tally = Outcome::parse(true, lines(output)).tally;
        let wanted =
            Tally { executions: 964_587, per_second: 60_286, coverage: 2662, corpus: "74/3800b".to_owned() };
        assert_eq!(tally, wanted);
        assert!(table(&[("xdp", tally)]).ends_with("xdp            964587      60286      2662  74/3800b\n"));
    }

    #[test]
    fn crash_is_explained_with_panic_input_and_command() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let path = folder.path().join("crash-12");
        std::fs::write(&path, b"\x00VRRP\xff").expect("write");
        let output = format!(
            "#7\tNEW\nthread '<unnamed>' (1) panicked at a.rs:1:2:\nno good\nstack backtrace:\n  0: f\n\
             SUMMARY: libFuzzer: deadly signal\nartifact_prefix='x/'; Test unit written to {}",
            path.display()
        );
        let text = Outcome::parse(false, lines(&output)).explain("core").expect("readable input");
        for part in
            ["panicked at a.rs:1:2:\n  no good\n  SUMMARY", "00 56 52 52 50 ff", " .VRRP.\n", "6 bytes"]
        {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(text.contains(&format!("`cargo xtask fuzz core --input {}`", path.display())), "{text}");
        assert!(text.ends_with("tests/fuzz/regressions/core/crash-12") && !text.contains("0: f"), "{text}");
    }

    #[test]
    fn failure_without_an_input_shows_the_last_lines() {
        let output: Vec<String> = (0..40).map(|line| format!("line {line}")).collect();
        let text = Outcome::parse(false, output).explain("xdp").expect("no input to read");
        assert!(
            text.ends_with("line 39") && text.contains("line 25\n") && !text.contains("line 24\n"),
            "{text}"
        );
    }

    #[test]
    fn hexdump_has_16_bytes_per_line() {
        let dump = hexdump(&(0x30..0x42).collect::<Vec<u8>>());
        assert_eq!(dump.lines().count(), 2);
        assert!(dump.ends_with("  0010  40 41                                            @A\n"), "{dump}");
    }
}
