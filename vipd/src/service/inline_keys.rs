//! Keys in `hex` at an upgrade or a restart. A predecessor does not pass them on, so the successor
//! takes them from the configuration file.

use std::path::Path;
use std::sync::Arc;

use crate::config::machine::Machine;
use crate::config::{Config, Instance};

/// Checks before an upgrade that the configuration file has all keys of these instances. The
/// successor's keys replace those of this process in the BPF program before it takes over.
///
/// # Errors
/// Returns a message for the user.
pub(super) fn check_unchanged(running: &[Arc<Instance>], path: &Path) -> Result<(), String> {
    if running.is_empty() {
        return Ok(());
    }
    // The successor reports the problems of the file.
    let Ok(file) = Config::load_protected(path, &Machine::default()) else { return Ok(()) };
    for instance in running {
        let keys = |one: &Instance| one.hmac.as_ref().map_or_else(Vec::new, |hmac| hmac.keys.clone());
        let found = find(&file, &instance.name).map_or_else(Vec::new, keys);
        if let Some(key) = keys(instance).iter().find(|key| !found.contains(key)) {
            return Err(format!(
                "instance {} uses key {}, which {} does not have; run `vipd reload` first, or restore the key",
                instance.name,
                key.id(),
                path.display()
            ));
        }
    }
    Ok(())
}

/// Replaces the settings for signed adverts of all instances with keys in `hex`, which are missing
/// in `config`, by those in `file`. A reload would apply the latter after the takeover in any case.
///
/// # Errors
/// Returns the reason if the file does not have an instance.
pub(super) fn restore(config: &mut Config, file: &Config) -> Result<(), String> {
    let Config { instances, inline_keys, .. } = config;
    for instance in instances.iter_mut().filter(|instance| inline_keys.contains(&instance.name)) {
        let Some(found) = find(file, &instance.name) else {
            return Err(format!(
                "the keys of instance {} were in the configuration file, which does not have the instance any \
                 more; run `vipd reload` before an upgrade or a restart",
                instance.name
            ));
        };
        Arc::make_mut(instance).hmac.clone_from(&found.hmac);
    }
    Ok(())
}

fn find<'c>(config: &'c Config, name: &str) -> Option<&'c Instance> {
    config.instances.iter().map(AsRef::as_ref).find(|one| one.name == name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Returns an instance with keys, which are digits repeated 64 times.
    fn instance(name: &str, keys: &[(u8, char)]) -> String {
        let keys = keys
            .iter()
            .map(|(id, digit)| format!("{{ id = {id}, hex = \"{}\" }}", digit.to_string().repeat(64)));
        format!(
            "[[instance]]\nname = {name:?}\ninterface = \"eth1\"\nvrid = 51\nvirtual_addresses = [\"10.0.0.1\"]\n\
             hmac = {{ active = 1, keys = [{}] }}\n",
            keys.collect::<Vec<_>>().join(", ")
        )
    }

    fn parse(text: &str) -> Config {
        Config::parse(text, "f").unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn keys_are_those_in_the_file() {
        let running = parse(&instance("a", &[(1, '1')]));
        let machine = Machine { lacks_inline_keys: true, ..Machine::default() };
        let passed = || Config::parse_on(running.text.as_str(), "f", &machine).expect("valid");
        let mut successor = passed();
        assert_ne!(successor.instances[0].hmac, running.instances[0].hmac);
        restore(&mut successor, &running).expect("restored");
        assert_eq!(successor.instances, running.instances);

        let rotated = parse(&instance("a", &[(1, '2'), (2, '3')]));
        restore(&mut successor, &rotated).expect("restored");
        assert_eq!(successor.instances[0].hmac, rotated.instances[0].hmac);

        let refusal = restore(&mut passed(), &parse(&instance("b", &[(1, '1')])));
        assert!(refusal.expect_err("no instance").contains("the keys of instance a were in"));
    }

    #[test]
    fn file_of_an_upgrade_has_the_keys_in_use() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("vipd.toml");
        let running = parse(&instance("a", &[(1, '1'), (2, '2')])).instances;
        for (text, missing) in [
            (instance("a", &[(2, '2'), (1, '1'), (3, '3')]), None),
            (instance("a", &[(1, '1')]), Some(2)),
            (instance("a", &[(1, '3'), (2, '2')]), Some(1)),
            (instance("b", &[(1, '1'), (2, '2')]), Some(1)),
            ("nonsense".to_owned(), None),
        ] {
            fs::write(&path, &text).expect("written");
            let expected = missing.map(|id| {
                format!(
                    "instance a uses key {id}, which {} does not have; run `vipd reload` first, or restore the key",
                    path.display()
                )
            });
            assert_eq!(check_unchanged(&running, &path).err(), expected, "{text}");
        }
    }
}
