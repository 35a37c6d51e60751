//! `xdp` and `[[interface]]`.

use super::{assert_sources, with};
use crate::config::Config;
use crate::config::settings::XdpMode;

fn modes(source: &str) -> Vec<XdpMode> {
    let config = Config::parse(source, "f").unwrap_or_else(|problems| panic!("{problems}"));
    config.instances.iter().map(|instance| instance.xdp).collect()
}

#[test]
fn the_xdp_mode_of_an_interface_overrides_the_top_level_one() {
    let second = with("").replace("\"a\"", "\"b\"").replace("eth1", "eth2");
    let both = with("") + &second;
    assert_eq!(modes(&both), [XdpMode::Auto; 2]);
    assert_eq!(modes(&format!("xdp = \"generic\"\n{both}")), [XdpMode::Generic; 2]);
    let interface = "[[interface]]\nname = \"eth2\"\nxdp = \"native\"\n";
    assert_eq!(modes(&format!("xdp = \"generic\"\n{both}{interface}")), [XdpMode::Generic, XdpMode::Native]);
    assert_eq!(modes(&format!("{interface}{both}")), [XdpMode::Auto, XdpMode::Native]);
}

#[test]
fn invalid_interface_tables_are_rejected() {
    let with_interface = |text: &str| format!("{text}\n{}", with(""));
    for (text, expected) in [
        (
            "[[interface]]\nname = \"eth9\"",
            "2:8: interface \"eth9\" is not the `interface` of an instance; instances use eth1; correct the name, or remove the table",
        ),
        (
            "[[interface]]\nname = \"eth1\"\n[[interface]]\nname = \"eth1\"",
            "4:8: interface \"eth1\" is already configured at line 2, column 8; merge the two tables",
        ),
        (
            "[[interface]]\nname = \"eth1\"\nxdp = \"fast\"",
            "3:7: xdp is \"fast\"; it must be \"auto\", \"native\" or \"generic\"; choose one of them",
        ),
        (
            "[[interface]]\nxdp_mode = \"native\"",
            "1:1: name is missing; it must be the name of a network interface; add e.g. `name = \"eth1\"`\n\
             2:1: unknown key `xdp_mode` in an interface; did you mean `xdp`? (allowed keys: name, xdp)",
        ),
        (
            "interface = 5",
            "1:13: interface is an integer; it must be an array of tables; put each under its own `[[interface]]` header",
        ),
    ] {
        assert_sources(&[(&with_interface(text), expected)]);
    }
}
