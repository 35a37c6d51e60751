//! Keys of signed adverts in a successor. They are not passed in the configuration: the BPF
//! program's maps, which the successor shares, contain their hash states.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::config::{Config, Instance};
use crate::vrrp::hmac::Key;
use crate::xdp::Row;

/// Adds the keys of signed adverts to `config`, the running configuration of a predecessor. `rows`
/// contains the row of each instance. `stored` returns the key of a row with a given ID.
///
/// The map `HMAC_KEYS` lacks keys of an instance without a row, and keys that were configured after
/// the instance's interface was last opened. Such keys are taken from the configuration file, which
/// a reload applies after the takeover in any case.
///
/// # Errors
/// Returns an error if the map cannot be read, or if a key is neither in the map nor in the file.
pub(super) fn restore(
    config: &mut Config,
    file: &Config,
    rows: &BTreeMap<String, u32>,
    stored: impl Fn(Row, u8) -> io::Result<Option<Key>>,
) -> anyhow::Result<()> {
    for instance in &mut config.instances {
        let Instance { name, hmac: Some(hmac), .. } = Arc::make_mut(instance) else { continue };
        let row = rows.get(name).and_then(|row| Row::new(*row));
        for key in &mut hmac.keys {
            let id = key.id();
            let known =
                row.map_or(Ok(None), |row| stored(row, id)).context("cannot read keys of signed adverts")?;
            let Some(known) = known.or_else(|| find(file, name, id)) else {
                bail!(
                    "key {id} of instance {name} is neither in the BPF program's maps nor in the configuration file; \
                     run `vipd reload` before an upgrade or a restart"
                );
            };
            *key = known;
        }
    }
    Ok(())
}

/// Returns a key in the configuration file.
fn find(file: &Config, instance: &str, id: u8) -> Option<Key> {
    let instance = file.instances.iter().find(|one| one.name == instance)?;
    instance.hmac.as_ref()?.keys.iter().find(|key| key.id() == id).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::machine::Machine;
    use crate::vrrp::hmac::Mode;
    use crate::xdp::Rows;

    /// Returns the configuration of an instance with these keys: the ID and a digit, which is
    /// repeated 64 times.
    fn text(name: &str, mode: &str, keys: &[(u8, char)]) -> String {
        let keys = keys
            .iter()
            .map(|(id, digit)| format!("{{ id = {id}, hex = \"{}\" }}", digit.to_string().repeat(64)));
        format!(
            "[[instance]]\nname = {name:?}\ninterface = \"eth1\"\nvrid = 51\nvirtual_addresses = [\"10.0.0.1\"]\n\
             hmac = {{ active = 1, mode = {mode:?}, keys = [{}] }}\n",
            keys.collect::<Vec<_>>().join(", ")
        )
    }

    fn parse(text: &str) -> Config {
        Config::parse(text, "f").unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// Returns the configuration of a predecessor as its successor parses it.
    fn passed(running: &Config) -> Config {
        let machine = Machine { lacks_keys: true, ..Machine::default() };
        Config::parse_on(running.text.as_str(), "f", &machine).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn keys_are_those_of_the_predecessor_even_if_the_file_has_changed() {
        let running = parse(&text("a", "enforce", &[(1, '1'), (2, '2')]));
        let row = Rows::new(2).allocate().expect("a row");
        let rows = BTreeMap::from([("a".to_owned(), row.number())]);
        let keys = running.instances[0].hmac.as_ref().expect("hmac").keys.clone();
        let stored = |found: Row, id: u8| {
            assert_eq!(found, row);
            Ok(keys.iter().find(|key| key.id() == id).cloned())
        };
        for file in [
            text("a", "enforce", &[(1, '1'), (2, '2')]),
            text("a", "permissive", &[(1, '3')]),
            text("b", "enforce", &[(1, '1')]),
        ] {
            let mut successor = passed(&running);
            assert_ne!(successor.instances, running.instances);
            restore(&mut successor, &parse(&file), &rows, stored).expect("restored");
            assert_eq!(successor.instances, running.instances, "{file}");
        }
    }

    #[test]
    fn keys_that_the_program_does_not_know_are_those_of_the_file() {
        let running = parse(&text("a", "enforce", &[(1, '1'), (2, '2')]));
        let rows = BTreeMap::from([("a".to_owned(), 1)]);
        let restore = |file: &str| {
            let mut successor = passed(&running);
            restore(&mut successor, &parse(file), &rows, |_, _| Ok(None)).map(|()| successor)
        };
        let successor = restore(&text("a", "permissive", &[(2, '3'), (1, '4')])).expect("restored");
        let hmac = successor.instances[0].hmac.as_ref().expect("hmac");
        let expected = parse(&text("a", "enforce", &[(1, '4'), (2, '3')]));
        assert_eq!(
            (hmac.mode, &hmac.keys),
            (Mode::Enforce, &expected.instances[0].hmac.as_ref().expect("hmac").keys)
        );
        for file in [text("a", "enforce", &[(1, '1')]), text("b", "enforce", &[(1, '1'), (2, '2')])] {
            let error = restore(&file).expect_err("a key is missing").to_string();
            assert!(error.starts_with("key "), "{error}");
        }
    }
}
