//! Writes metrics as text: OpenMetrics 1.0, or Prometheus text format 0.0.4.
//!
//! The formats differ in the metadata of counters and of constant labels (`_info`), in the escaping
//! of help texts, in units, and in the end marker.

use std::fmt::{Display, Write as _};

use crate::engine::measure::{BOUNDS, Histogram};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text exposition format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// Returns the media type for `Content-Type`.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The name ends with `_total`.
    Counter,
    Gauge,
    Histogram,
    /// Constant labels with the value 1; the name ends with `_info`.
    Info,
}

/// The labels of a sample, encoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels(String);

impl Labels {
    pub(crate) fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let labels = labels.into_iter();
        labels.fold(Self::default(), |labels, (name, value)| labels.with(name, value))
    }

    /// Returns these labels with one more label, whose value is escaped.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut text = self.0.clone();
        if !text.is_empty() {
            text.push(',');
        }
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{name}=\"{value}\"");
        Self(text)
    }
}

/// The text of metrics.
#[derive(Debug)]
pub(crate) struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// Begins a metric. `name` is the name of its samples. Both formats require that all samples of
    /// a metric follow its metadata.
    ///
    /// In OpenMetrics, a metric whose name ends with `_seconds` gets the unit `seconds`.
    pub(crate) fn metric<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Samples<'a> {
        let text = &mut self.text;
        let mut help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let (mut family, mut type_name) = match kind {
            Kind::Counter => (name, "counter"),
            Kind::Gauge | Kind::Info => (name, "gauge"),
            Kind::Histogram => (name, "histogram"),
        };
        if self.format == Format::OpenMetrics {
            help = help.replace('"', "\\\"");
            match kind {
                Kind::Counter => family = name.strip_suffix("_total").unwrap_or(name),
                Kind::Info => (family, type_name) = (name.strip_suffix("_info").unwrap_or(name), "info"),
                Kind::Gauge | Kind::Histogram => {}
            }
        }
        let _ = writeln!(text, "# HELP {family} {help}\n# TYPE {family} {type_name}");
        if self.format == Format::OpenMetrics && family.ends_with("_seconds") {
            let _ = writeln!(text, "# UNIT {family} seconds");
        }
        Samples { text, name }
    }

    /// Returns the text, completed with `# EOF` in OpenMetrics.
    pub(crate) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// The samples of a metric.
pub(crate) struct Samples<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Samples<'_> {
    pub(crate) fn add(&mut self, labels: &Labels, value: impl Display) {
        self.write("", labels, value);
    }

    /// Adds a sample for each of `states`, with the state as the value of `label`. The sample is 1
    /// for the state `present` and 0 for all other states.
    pub(crate) fn add_state(&mut self, labels: &Labels, label: &str, states: &[&str], present: &str) {
        for state in states {
            self.add(&labels.with(label, state), u8::from(*state == present));
        }
    }

    /// Adds the samples of a histogram: its buckets, sum and count. Times are in seconds.
    pub(crate) fn add_histogram(&mut self, histogram: &Histogram) {
        let limits = BOUNDS.iter().map(|(_, seconds)| *seconds).chain(["+Inf"]);
        let mut total = 0;
        for (limit, count) in limits.zip(histogram.counts) {
            total += count;
            self.write("_bucket", &Labels::new([("le", limit)]), total);
        }
        self.write("_count", &Labels::default(), total);
        self.write("_sum", &Labels::default(), seconds(histogram.sum));
    }

    fn write(&mut self, suffix: &str, labels: &Labels, value: impl Display) {
        let Labels(labels) = labels;
        let name = self.name;
        let _ = if labels.is_empty() {
            writeln!(self.text, "{name}{suffix} {value}")
        } else {
            writeln!(self.text, "{name}{suffix}{{{labels}}} {value}")
        };
    }
}

/// Converts nanoseconds to seconds, without rounding.
pub(super) fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}
