//! Single settings of an instance.

use super::{BASE, assert_row, assert_rows, assert_valid, instance, messages, settings, translated};

#[test]
fn election_settings_are_translated() {
    assert_rows(&[
        ("", &[], &[]),
        ("state BACKUP", &[], &[]),
        ("priority 200", &["priority = 200", "-priority = 100"], &[]),
        (
            "state MASTER",
            &["priority = 255", "-priority = 100"],
            &["attention: without a priority, keepalived uses 255"],
        ),
        ("nopreempt", &["preempt = false"], &[]),
        ("nopreempt\npreempt", &[], &[]),
        ("preempt_delay 4.12", &["preempt_delay = \"4120ms\""], &[]),
        ("nopreempt\npreempt_delay 4", &["preempt = false"], &["note: `preempt_delay` is left out"]),
        (
            "state MASTER\npriority 100\nnopreempt\npreempt_delay 4",
            &[],
            &["note: `nopreempt` is left out", "note: `preempt_delay` is left out"],
        ),
        (
            "strict_mode on\nno_accept\nstate MASTER\npriority 100\nnopreempt",
            &["preempt = false", "accept = false"],
            &[],
        ),
        ("state BACKUP\nstate MASTER\npriority 100", &[], &[]),
        (
            "state MASTER\nstate BACKUP\npriority 100\nnopreempt",
            &[],
            &["attention: `state BACKUP` is left out", "note: `nopreempt` is left out"],
        ),
        ("down_timer_adverts 5", &["down_after_adverts = 5"], &[]),
        ("down_timer_adverts 3", &[], &[]),
        ("no_accept", &["accept = false"], &[]),
        ("accept", &[], &[]),
        ("strict_mode", &["accept = false"], &["attention: strict mode drops packets to the VIPs"]),
        ("strict_mode off", &[], &[]),
        (
            "strict_mode on\naccept",
            &["accept = false"],
            &["attention: strict mode drops packets to the VIPs"],
        ),
        ("strict_mode on\naccept\nversion 3", &["version = 3", "-version = 2"], &[]),
        (
            "strict_mode on\nno_accept\npreempt_delay 5\ndown_timer_adverts 5",
            &["accept = false"],
            &[
                "note: `down_timer_adverts` is left out: keepalived ignores it, too, in strict mode",
                "note: `preempt_delay` is left out: keepalived ignores it, too, in strict mode",
            ],
        ),
        ("priority 0", &[], &["attention: `priority` is \"0\"; it must be an integer from 1 to 255"]),
        ("priority x y", &[], &["attention: `priority` is \"x y\""]),
        ("priority", &[], &["attention: `priority` is \"\""]),
        ("priority 100 {\n}", &[], &["attention: `priority` must not have a block"]),
    ]);
}

#[test]
fn intervals_are_rounded_as_keepalived_does() {
    assert_rows(&[
        ("advert_int 1", &["advert_interval = \"1s\""], &[]),
        ("advert_int 0.4", &["advert_interval = \"1s\""], &["note: `advert_int` becomes 1s"]),
        ("advert_int 1.5", &["advert_interval = \"2s\""], &["note: `advert_int` becomes 2s"]),
        ("advert_int 300", &[], &["attention: `advert_int` is \"300\"; it must be a number of seconds"]),
        ("version 3\nadvert_int 0.01", &["version = 3", "advert_interval = \"10ms\"", "-version = 2"], &[]),
        (
            "version 3\nadvert_int 0.125",
            &["version = 3", "advert_interval = \"130ms\"", "-version = 2"],
            &["note: `advert_int` becomes 130ms"],
        ),
        (
            "version 3\nadvert_int 60",
            &["version = 3", "advert_interval = \"40950ms\"", "-version = 2"],
            &["note: `advert_int` becomes 40950ms"],
        ),
    ]);
}

#[test]
fn passwords_are_translated_or_left_out_as_in_keepalived() {
    assert_rows(&[
        ("authentication {\nauth_type PASS\nauth_pass 12345678\n}", &["auth_pass = \"12345678\""], &[]),
        ("authentication {\nauth_type PASS\nauth_pass \"a b#c\"\n}", &["auth_pass = \"a b#c\""], &[]),
        (
            "authentication {\nauth_type PASS\nauth_pass 123456789\n}",
            &["auth_pass = \"12345678\""],
            &["note: the password is cut"],
        ),
        (
            "authentication {\nauth_type PASS\nauth_pass 1234567é\n}",
            &[],
            &["attention: the password has more than 8 bytes"],
        ),
        (
            "version 3\nauthentication {\nauth_type PASS\nauth_pass 1\n}",
            &["version = 3", "-version = 2"],
            &["note: the password is left out"],
        ),
        ("authentication {\nauth_type PASS\nauth_pass 'a\\x\n}", &["auth_pass = \"'a\\\\x\""], &[]),
        (
            "authentication {\nauth_type pass\nauth_pass 1\n}",
            &[],
            &["attention: the password is left out: keepalived ignores it, too, without `auth_type PASS`"],
        ),
        (
            "authentication {\nauth_pass 1\n}",
            &[],
            &["attention: the password is left out: keepalived ignores it, too, without `auth_type PASS`"],
        ),
        (
            "authentication {\nauth_type AH\nauth_pass 1\n}",
            &[],
            &["attention: authentication AH is not translated"],
        ),
        ("authentication {\nauth_type PASS\n}", &[], &["attention: the authentication has no password"]),
    ]);
}

#[test]
fn virtual_macs_are_translated() {
    assert_rows(&[
        ("use_vmac", &["virtual_mac = true"], &[]),
        ("use_vmac\nvmac_xmit_base", &["virtual_mac = true", "virtual_mac_transmit_on_base = true"], &[]),
        ("vmac_xmit_base", &[], &["note: `vmac_xmit_base` is left out"]),
        ("use_vmac vrrp.1", &["virtual_mac = true"], &["attention: the name vrrp.1 is not translated"]),
    ]);
}

#[test]
fn addresses_are_translated_with_their_options() {
    let row = |address: &str, element: &str, expected: &[&str]| {
        let text = instance("").replace("192.0.2.1/24", address);
        let list = format!("virtual_addresses = [{element}]");
        let missing = format!("-{}", BASE[6]);
        assert_row(&text, &[list.as_str(), missing.as_str()], expected);
    };
    row("192.0.2.5", "\"192.0.2.5\"", &[]);
    row("192.0.2.5/32 dev eth0", "\"192.0.2.5/32\"", &[]);
    row("192.0.2.5/24 dev eth1", "{ address = \"192.0.2.5/24\", dev = \"eth1\" }", &[]);
    row(
        "192.0.2.5/25 brd + scope link no_track",
        "{ address = \"192.0.2.5/25\", scope = \"link\", broadcast = \"192.0.2.127\" }",
        &["note: `no_track` is not needed"],
    );
    row("192.0.2.5/24 label eth0:x", "{ address = \"192.0.2.5/24\", label = \"eth0:x\" }", &[]);
    row("192.0.2.5/24 brd -", "\"192.0.2.5/24\"", &[]);
    row("192.0.2.5/24 home", "\"192.0.2.5/24\"", &["attention: `home` is not translated"]);
    row("192.0.2.5/24 dev", "\"192.0.2.5/24\"", &["attention: `dev` has no value"]);
    row("192.0.2.5/24 foo", "\"192.0.2.5/24\"", &["attention: unknown option `foo`"]);
    row("192.0.2./24", "", &["attention: \"192.0.2./24\" is not an address"]);
}

#[test]
fn ipv6_instances_use_version_3() {
    let base = "vrrp_instance V {\ninterface eth0\nvirtual_router_id 1\nSETTING\n}\n";
    for (setting, expected) in [
        ("virtual_ipaddress { fe80::1/64 }", vec!["virtual_addresses = [\"fe80::1/64\"]"]),
        (
            "native_ipv6\nno_virtual_ipaddress\nvirtual_ipaddress_excluded {\n192.0.2.1/24\n}",
            vec![
                "family = \"ipv6\"",
                "virtual_addresses = []",
                "virtual_addresses_excluded = [\"192.0.2.1/24\"]",
            ],
        ),
        (
            "virtual_ipaddress {\nfe80::1/64\n2001:db8::1 preferred_lft forever\n}",
            vec!["virtual_addresses = [\"fe80::1/64\", { address = \"2001:db8::1\", preferred = true }]"],
        ),
    ] {
        let translation = translated(&base.replace("SETTING", setting));
        assert_valid(&translation);
        let found: Vec<&str> =
            settings(&translation).into_iter().filter(|line| !BASE.contains(line)).collect();
        assert_eq!(found, expected);
    }
}

/// In keepalived 2.2.7, the first route and the first rule of each row are for IPv4, even in an
/// IPv6 instance.
#[test]
fn family_of_routes_and_rules_does_not_depend_on_the_instance() {
    for (address, routes, rules) in [
        (
            "fe80::1/64",
            [("default dev eth0", "0.0.0.0/0"), ("inet6 default dev eth0", "::/0")],
            [("iif eth0", "from = \"0.0.0.0/0\", iif"), ("inet6 iif eth0", "{ iif")],
        ),
        (
            "192.0.2.1/24",
            [("default dev eth0", "0.0.0.0/0"), ("inet6 default dev eth0", "::/0")],
            [("iif eth0", "{ iif"), ("inet6 iif eth0", "from = \"::/0\", iif")],
        ),
    ] {
        let instance = |block: &str| {
            translated(&format!(
                "vrrp_instance V {{\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {{ {address} }}\n{block}\n}}\n"
            ))
        };
        for (route, expected) in routes {
            let found = instance(&format!("virtual_routes {{\n{route}\n}}"));
            assert_valid(&found);
            assert!(found.toml.contains(&format!("{{ to = \"{expected}\", dev")), "{route}\n{}", found.toml);
        }
        for (rule, expected) in rules {
            let found = instance(&format!("virtual_rules {{\n{rule} table 100 preference 500\n}}"));
            assert_valid(&found);
            assert!(found.toml.contains(expected), "{rule}\n{}", found.toml);
        }
    }
}

#[test]
fn scope_of_routes_is_translated() {
    assert_rows(&[
        (
            "virtual_routes {\n10.0.0.0/8 dev eth1 scope global\n}",
            &["routes = [{ to = \"10.0.0.0/8\", dev = \"eth1\", scope = \"global\" }]"],
            &[],
        ),
        (
            "virtual_routes {\n2001:db8::/64 dev eth1 scope link\n}",
            &["routes = [{ to = \"2001:db8::/64\", dev = \"eth1\" }]"],
            &["note: `scope` is left out: the kernel ignores it for IPv6 routes"],
        ),
        (
            "virtual_routes {\nblackhole 10.0.0.0/8 scope global\n}",
            &["routes = [{ to = \"10.0.0.0/8\", type = \"blackhole\" }]"],
            &[],
        ),
        (
            "virtual_routes {\n10.0.0.0/8 via 192.0.2.9 scope global\n}",
            &["routes = [{ to = \"10.0.0.0/8\", via = \"192.0.2.9\" }]"],
            &[],
        ),
        (
            "virtual_routes {\ndefault dev eth0 src 2001:db8::1\n}",
            &["routes = [{ to = \"::/0\", dev = \"eth0\", source = \"2001:db8::1\" }]"],
            &[],
        ),
    ]);
}

#[test]
fn ipv6_instance_needs_attention_if_keepalived_uses_version_2() {
    let before = |settings: &str| instance(settings).replace("192.0.2.1/24", "fe80::1/64");
    let vips = "virtual_ipaddress { 192.0.2.1/24 }\n";
    let after = |settings: &str| {
        let text = instance("").replace(vips, "");
        text.replace("\n\n}", &format!("\n{settings}\nvirtual_ipaddress {{ fe80::1/64 }}\n}}"))
    };
    for (text, expected) in [
        (after("version 2"), "attention: version 3 is used"),
        (after("version 2\nstrict_mode on\nno_accept"), "note: `version 2` is left out: keepalived uses 3"),
        (before("version 2"), "note: `version 2` is left out: keepalived ignores it"),
    ] {
        let found = messages(&translated(&text));
        assert!(found.len() == 1 && found[0].contains(expected), "{text}\n{found:#?}");
    }
}

#[test]
fn sources_and_unicast_peers_are_translated() {
    assert_rows(&[
        (
            "unicast_src_ip 10.0.0.1\nunicast_peer {\n10.0.0.2 min_ttl 255\n10.0.0.3\n}",
            &[
                "unicast_source = \"10.0.0.1\"",
                "unicast_peers = [\"10.0.0.2\", { address = \"10.0.0.3\", min_ttl = 1 }]",
            ],
            &[],
        ),
        (
            "unicast_src_ip 10.0.0.1\nunicast_peer {\n10.0.0.1 min_ttl 255\n10.0.0.2 min_ttl 255\n}",
            &["unicast_source = \"10.0.0.1\"", "unicast_peers = [\"10.0.0.2\"]"],
            &["attention: the peer 10.0.0.1 is this router's own address"],
        ),
        (
            "unicast_peer {\n10.0.0.2 min_ttl 255\n}",
            &["unicast_peers = [\"10.0.0.2\"]"],
            &["attention: no `unicast_src_ip` is configured"],
        ),
        ("mcast_src_ip 10.0.0.1", &["source = \"10.0.0.1\""], &[]),
        ("unicast_src_ip 10.0.0.1", &["source = \"10.0.0.1\""], &[]),
        ("unicast_src_ip fe80::1", &[], &["attention: the source fe80::1 is left out"]),
        ("unicast_peer {\n}", &[], &["attention: no peer is configured"]),
        (
            "unicast_src_ip 10.0.0.1\nunicast_peer { 10.0.0.2 min_ttl 255 10.0.0.3 }",
            &["unicast_source = \"10.0.0.1\"", "unicast_peers = [\"10.0.0.2\"]"],
            &["attention: the peer 10.0.0.3 is left out"],
        ),
        ("unicast_ttl 255", &[], &["note: `unicast_ttl` is not needed"]),
        ("unicast_ttl 64", &[], &["attention: `unicast_ttl` is not translated"]),
    ]);
}

#[test]
fn announcement_settings_are_translated() {
    assert_rows(&[
        (
            "garp_master_delay 0\ngarp_master_repeat 2\ngarp_master_refresh 60\ngarp_master_refresh_repeat 2",
            &["garp = { repeat = 2, delay = \"0s\", refresh = \"60s\", refresh_repeat = 2 }"],
            &[],
        ),
        ("garp_master_delay 5\ngarp_master_repeat 5\ngarp_master_refresh 0", &[], &[]),
        (
            "garp_master_delay 2.5\ngarp_master_refresh 3.5",
            &["garp = { delay = \"2s\", refresh = \"3s\" }"],
            &["note: `garp_master_delay` becomes 2s", "note: `garp_master_refresh` becomes 3s"],
        ),
        ("vmac_garp_intvl 5", &[], &["attention: `vmac_garp_intvl` is not translated"]),
        ("zzz 5", &[], &["attention: unknown keyword `zzz`; keepalived ignores it, too"]),
        (
            "zzz {\n}",
            &[],
            &["attention: unknown keyword `zzz`; keepalived applies the settings in this block"],
        ),
        ("garp_master_repeat 0", &["garp = { repeat = 1 }"], &["note: `garp_master_repeat` becomes 1"]),
        ("garp_lower_prio_repeat 1", &[], &["note: `garp_lower_prio_repeat` is not needed"]),
    ]);
    let with = |global: &str| format!("{}{global}", instance("garp_master_repeat 4"));
    for (global, expected) in [
        ("global_defs { vrrp_garp_interval 0.5 }", "garp = { repeat = 4, interval = \"500ms\" }"),
        ("global_defs { vrrp_min_garp }", "garp = { repeat = 4, delay = \"0s\" }"),
        (
            "garp_group {\ngarp_interval 0.25\ninterface eth0\n}",
            "garp = { repeat = 4, interval = \"250ms\" }",
        ),
        ("garp_group {\ngarp_interval 0.25\ninterface eth9\n}", "garp = { repeat = 4 }"),
    ] {
        assert_row(&with(global), &[expected], &[]);
    }
}
