//! Identities of routers and links, and the table that allocates them.
//!
//! Routers and links are added and removed while the agent runs, and messages from other threads
//! refer to routers and links. A plain index could refer to a new entry that reuses the slot. An
//! identity therefore also contains the slot's generation, so that it does not resolve after its
//! entry has been removed.

use std::fmt::Debug;
use std::marker::PhantomData;

/// An identity allocated by a [`Slab`].
pub(crate) trait Id: Copy + Eq + Ord + Debug {
    /// Creates the identity for slot `index` with this generation.
    fn new(index: u32, generation: u32) -> Self;
    /// Returns the index of the slot.
    fn index(self) -> usize;
    /// Returns the number of earlier entries in the slot.
    fn generation(self) -> u32;
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $name {
            index: u32,
            generation: u32,
        }

        impl Id for $name {
            fn new(index: u32, generation: u32) -> Self {
                Self { index, generation }
            }

            fn index(self) -> usize {
                self.index as usize
            }

            fn generation(self) -> u32 {
                self.generation
            }
        }
    };
}

id! {
    /// Identifies a configured virtual router.
    RouterId
}
id! {
    /// Identifies a configured network interface or a macvlan created by vipd.
    LinkId
}

/// A table of entries by identity. Slots are reused; identities are not.
#[derive(Debug)]
pub(crate) struct Slab<I, T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    id: PhantomData<fn() -> I>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

impl<I: Id, T> Slab<I, T> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), id: PhantomData }
    }

    /// Allocates an identity, adds the entry that `make` creates for it, and returns the identity.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(I) -> T) -> I {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            let id = I::new(index, slot.generation);
            slot.entry = Some(make(id));
            return id;
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 slots fit into memory");
        let id = I::new(index, 0);
        self.slots.push(Slot { generation: 0, entry: Some(make(id)) });
        id
    }

    /// Adds an entry and returns its identity.
    pub(crate) fn insert(&mut self, entry: T) -> I {
        self.insert_with(|_| entry)
    }

    /// Removes an entry. Its identity never resolves again.
    pub(crate) fn remove(&mut self, id: I) -> Option<T> {
        let slot = self.slots.get_mut(id.index()).filter(|slot| slot.generation == id.generation())?;
        let entry = slot.entry.take()?;
        // A slot is retired once its generations are used up.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.extend(u32::try_from(id.index()));
        }
        Some(entry)
    }

    pub(crate) fn get(&self, id: I) -> Option<&T> {
        let slot = self.slots.get(id.index()).filter(|slot| slot.generation == id.generation())?;
        slot.entry.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: I) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index()).filter(|slot| slot.generation == id.generation())?;
        slot.entry.as_mut()
    }

    /// Returns the identity of the entry in slot `index`, if any. Allows a loop to modify the table
    /// while iterating.
    pub(crate) fn id_at(&self, index: usize) -> Option<I> {
        let slot = self.slots.get(index).filter(|slot| slot.entry.is_some())?;
        Some(I::new(u32::try_from(index).ok()?, slot.generation))
    }

    /// Returns the number of slots: used, free and retired.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (I, &T)> + Clone {
        (0u32..).zip(&self.slots).filter_map(|(index, slot)| {
            slot.entry.as_ref().map(|entry| (I::new(index, slot.generation), entry))
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (I, &mut T)> {
        (0u32..).zip(&mut self.slots).filter_map(|(index, slot)| {
            let generation = slot.generation;
            slot.entry.as_mut().map(|entry| (I::new(index, generation), entry))
        })
    }

    #[cfg(test)]
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> + Clone {
        self.iter().map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_of_a_removed_entry_does_not_resolve() {
        let mut slab = Slab::<RouterId, _>::new();
        let (first, second) = (slab.insert("a"), slab.insert("b"));
        assert_eq!(slab.remove(first), Some("a"));
        let third = slab.insert("c");
        assert_eq!(third.index(), first.index(), "the slot is reused");
        assert_eq!((slab.get(first), slab.get(second), slab.get(third)), (None, Some(&"b"), Some(&"c")));
        assert_eq!((slab.remove(first), slab.get_mut(first)), (None, None));
        assert_eq!((slab.iter().count(), slab.slots()), (2, 2));
    }

    #[test]
    fn slot_of_a_removed_entry_is_reused_10_000_times() {
        let mut slab = Slab::<LinkId, u32>::new();
        let kept = slab.insert(7);
        for round in 0..10_000 {
            let id = slab.insert(round);
            assert_eq!(slab.remove(id), Some(round));
        }
        assert_eq!(slab.slots(), 2);
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(kept, &7)]);
    }
}
