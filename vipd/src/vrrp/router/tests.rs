//! Transition table of the state machine.
