//! Updates that the checks of objects send to the tracker.

/// Identifies a tracked object. Never reused while the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ObjectId(pub(super) u32);

/// State of a tracked object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The check succeeds: for example, the interface is up or the process runs.
    Up,
    /// The check fails.
    Down,
    /// The number in a tracked file.
    Value(i32),
}

/// The state of a tracked object. A check sends an update only if the state or its detail differs
/// from the check's previous update. A check that was started again may repeat a known state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) object: ObjectId,
    pub(super) reading: Reading,
    /// Explanation of the state, shown in `status` and in the log, such as the last line of a
    /// script's output.
    pub(super) detail: Option<String>,
}

/// The sending end of the channel from the checks to the tracker.
pub(super) type Updates = tokio::sync::mpsc::Sender<Update>;
