//! The set of impediments that keep a virtual router from taking part in elections.

use crate::input::{Fault, Impediment};

/// At most one fault for each kind of impediment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Impediments([Option<Fault>; Impediment::COUNT]);

impl Impediments {
    pub(crate) fn set(&mut self, fault: Fault) {
        self.0[fault.impediment() as usize] = Some(fault);
    }

    pub(crate) fn clear(&mut self, kind: Impediment) {
        self.0[kind as usize] = None;
    }

    pub(crate) fn get(self, kind: Impediment) -> Option<Fault> {
        self.0[kind as usize]
    }

    /// Returns all faults, in the order of [`Impediment`].
    pub(crate) fn all(self) -> impl Iterator<Item = Fault> {
        self.0.into_iter().flatten()
    }

    /// Returns the fault of the first impediment in the order of [`Impediment`]; `None` if the set
    /// is empty.
    pub(crate) fn first(self) -> Option<Fault> {
        self.all().next()
    }
}
