use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::epoch::Epoch;
use super::layout::Program;
use super::{deb, tarball};
use crate::support::process::output;

/// Time in the test packages.
const EPOCH: Epoch = Epoch(1_700_000_000);

/// Returns the program under test.
fn program() -> Program {
    let executable = std::env::var_os("VIPD_BIN").expect("VIPD_BIN is the path of a vipd to package");
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    Program::describe(executable.into(), &target, EPOCH).expect("described")
}

/// Returns the output of dpkg-deb.
fn query(package: &Path, option: &str, more: &[&str]) -> String {
    output(Command::new("dpkg-deb").arg(option).arg(package).args(more)).expect("dpkg-deb")
}

#[test]
#[ignore = "needs Debian's debhelper and lintian, and VIPD_BIN"]
fn debian_package_has_the_expected_files_and_fields_and_is_reproducible() {
    let directory = tempfile::tempdir().expect("a directory");
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    let vipd = program();
    let build = |out: &Path| {
        std::fs::create_dir(out).expect("created");
        deb::build(&vipd, &out.join("work"), out).expect("built")
    };
    let packages = build(&first);
    deb::check(&packages).expect("lintian finds neither errors nor warnings");
    let package = packages.iter().find(|path| !path.display().to_string().contains("dbgsym"));
    let package = package.expect("a package without debug symbols");

    let contents = query(package, "--contents", &[]);
    let files: BTreeSet<(&str, &str)> = contents
        .lines()
        .filter_map(|line| Some((line.split(' ').next()?, line.rsplit(' ').next()?.strip_prefix('.')?)))
        .collect();
    let expected = [
        ("-rwxr-xr-x", "/usr/bin/vipd"),
        ("-rw-r--r--", "/lib/systemd/system/vipd.service"),
        ("-rw-r--r--", "/usr/lib/sysusers.d/vipd.conf"),
        ("-rw-r--r--", "/etc/default/vipd"),
        ("drwxr-xr-x", "/etc/vipd/"),
        ("-rw-r--r--", "/usr/share/man/man1/vipd.1.gz"),
        ("-rw-r--r--", "/usr/share/man/man1/vipd-upgrade.1.gz"),
        ("-rw-r--r--", "/usr/share/bash-completion/completions/vipd"),
        ("-rw-r--r--", "/usr/share/zsh/vendor-completions/_vipd"),
        ("-rw-r--r--", "/usr/share/fish/vendor_completions.d/vipd.fish"),
        ("-rw-r--r--", "/usr/share/doc/vipd/README.md"),
        ("-rw-r--r--", "/usr/share/doc/vipd/docs/configuration.md"),
        ("-rw-r--r--", "/usr/share/doc/vipd/examples/vipd.toml"),
        ("-rw-r--r--", "/usr/share/doc/vipd/vipd.cdx.json"),
        ("-rw-r--r--", "/usr/share/doc/vipd/third-party-licenses.gz"),
        ("-rw-r--r--", "/usr/share/doc/vipd/copyright"),
        ("-rw-r--r--", "/usr/share/doc/vipd/changelog.gz"),
    ];
    for file in expected {
        assert!(files.contains(&file), "{file:?} is not in {contents}");
    }
    assert!(contents.lines().all(|line| line.contains(" root/root ")), "{contents}");

    assert_eq!(query(package, "--field", &["Package"]).trim(), "vipd");
    let version = format!("{}-1", env!("CARGO_PKG_VERSION").replace('-', "~"));
    assert_eq!(query(package, "--field", &["Version"]).trim(), version);
    let depends = query(package, "--field", &["Depends"]);
    assert!(depends.contains("libc6 (>= ") && depends.contains("systemd"), "{depends}");
    assert_eq!(query(package, "--info", &["conffiles"]).trim(), "/etc/default/vipd");
    for (script, part) in [
        ("postinst", "systemd-sysusers "),
        ("postinst", "vipd upgrade"),
        ("postinst", "deb-systemd-helper enable 'vipd.service'"),
        ("prerm", "deb-systemd-invoke stop 'vipd.service'"),
        ("postrm", "deb-systemd-helper purge 'vipd.service'"),
    ] {
        let text = query(package, "--info", &[script]);
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed(&text).contains(&squeezed(part)), "{script} does not contain `{part}`: {text}");
        // An upgrade must not stop the agent.
        assert!(script != "prerm" || text.contains(r#"[ "$1" = remove ]"#), "{text}");
    }

    for (one, other) in packages.iter().zip(build(&second)) {
        assert!(
            std::fs::read(one).expect("read") == std::fs::read(&other).expect("read"),
            "{}",
            one.display()
        );
    }
}

#[test]
#[ignore = "needs VIPD_BIN"]
fn tarball_has_a_unit_for_its_prefix_and_is_reproducible() {
    let directory = tempfile::tempdir().expect("a directory");
    let vipd = program();
    // Without debug information, as in a release; its compression would take most of the time.
    let stripped = directory.path().join("vipd");
    output(Command::new("strip").arg("-o").arg(&stripped).arg(&vipd.executable)).expect("strip");
    let vipd = Program { executable: stripped, ..vipd };
    let archives = ["first", "second"].map(|name| {
        let out = directory.path().join(name);
        std::fs::create_dir(&out).expect("created");
        tarball::build(&vipd, &out.join("work"), &out).expect("built")
    });
    let [first, second] = archives.each_ref().map(|path| std::fs::read(path).expect("read"));
    assert!(first == second, "two archives of the same files differ");

    let tar = |arguments: &[&str]| {
        output(Command::new("tar").arg("--file").arg(&archives[0]).args(arguments)).expect("tar")
    };
    let list = tar(&["--list"]);
    for name in
        ["bin/vipd", "lib/sysusers.d/vipd.conf", "share/man/man1/vipd.1", "share/doc/vipd/LICENSE-MIT"]
    {
        assert!(
            list.lines().any(|path| path.split_once('/').is_some_and(|(_, path)| path == name)),
            "{list}"
        );
    }
    let unit = tar(&["--extract", "--to-stdout", "--wildcards", "*/vipd.service"]);
    assert!(unit.contains("\nExecStart=/usr/local/bin/vipd run "), "{unit}");
    assert!(!unit.contains("/usr/bin/vipd"), "{unit}");
}
