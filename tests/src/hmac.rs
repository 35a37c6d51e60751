//! Settings of vipd's signed adverts, and the keys that tests use.

use std::fmt;

/// The keys and the mode of an instance with signed adverts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hmac {
    /// IDs of the keys. The first one is active.
    pub keys: Vec<u8>,
    /// Value of the configuration key `mode`.
    pub mode: String,
    /// Window in seconds; `None` for the default.
    pub window: Option<u32>,
}

impl Hmac {
    /// Returns the settings of a router with key 1 that discards unsigned adverts.
    pub fn enforce() -> Self {
        Self { keys: vec![1], mode: "enforce".to_owned(), window: None }
    }
}

/// Returns the key that tests use with this ID.
pub fn key(id: u8) -> [u8; 32] {
    std::array::from_fn(|index| u8::try_from(index).map_or(0, |index| index.wrapping_mul(37) ^ !id))
}

/// Returns the key that tests use with this ID, in hexadecimal.
pub fn hex(id: u8) -> String {
    key(id).iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}

/// Formats the settings as an inline table of vipd's configuration.
impl fmt::Display for Hmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ keys = [")?;
        for (index, id) in self.keys.iter().enumerate() {
            write!(f, "{}{{ id = {id}, hex = \"{}\" }}", if index == 0 { "" } else { ", " }, hex(*id))?;
        }
        f.write_str("]")?;
        if let Some(active) = self.keys.first() {
            write!(f, ", active = {active}")?;
        }
        write!(f, ", mode = \"{}\"", self.mode)?;
        if let Some(window) = self.window {
            write!(f, ", window = \"{window}s\"")?;
        }
        f.write_str(" }")
    }
}
