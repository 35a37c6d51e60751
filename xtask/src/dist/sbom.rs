//! The list of components (SBOM) in CycloneDX's JSON format.
//!
//! cargo-cyclonedx does not list the crates in the embedded BPF object, which cargo does not build
//! together with vipd. These crates are read from the object's provenance file.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::crates::{Crate, Id};
use super::epoch::Epoch;
use crate::support::process::{output, program};

/// Version of the CycloneDX specification.
const SPECIFICATION: &str = "1.5";
/// Libraries that rustc links into a static program, with their licenses.
const STATIC: [(&str, &str); 2] = [("musl", "MIT"), ("libunwind", "Apache-2.0 WITH LLVM-exception")];

/// Returns the list of components of vipd for a target.
pub(super) fn render(
    crates: &BTreeMap<Id, Crate>,
    version: &str,
    target: &str,
    epoch: Epoch,
) -> Result<String> {
    let root = crates.iter().find(|((name, _), _)| name == "vipd");
    let root = root.map(|(id, found)| component("application", id, found));
    let libraries = crates.iter().filter(|((name, _), _)| name != "vipd");
    let mut components: Vec<Value> = libraries.map(|(id, found)| component("library", id, found)).collect();
    let rustc = rustc_version()?;
    components.push(foreign_library("rust-std", Some(&rustc), "MIT OR Apache-2.0"));
    if target.ends_with("musl") {
        // These libraries belong to rustc's toolchain, which does not report their versions.
        components.extend(STATIC.map(|(name, license)| foreign_library(name, None, license)));
    }
    let dependencies: Vec<Value> = crates
        .iter()
        .map(|(id, found)| {
            let on: Vec<String> = found.dependencies.iter().map(package_url).collect();
            json!({ "ref": package_url(id), "dependsOn": on })
        })
        .collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "version": 1,
        "metadata": {
            "timestamp": epoch.rfc3339()?,
            "tools": [{ "vendor": "vipd", "name": "cargo xtask dist", "version": version }],
            "component": root,
            "properties": [{ "name": "cdx:rustc:sbom:target:triple", "value": target }],
        },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn component(kind: &str, id: &Id, found: &Crate) -> Value {
    let (name, version) = id;
    let mut component = json!({
        "type": kind,
        "bom-ref": package_url(id),
        "name": name,
        "version": version,
        "scope": if found.build_only { "excluded" } else { "required" },
        "licenses": [{ "expression": found.license }],
        "purl": package_url(id),
    });
    if let Some(checksum) = &found.checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = &found.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    if found.in_object {
        component["properties"] = json!([{ "name": "vipd:bpf-object", "value": "true" }]);
    }
    component
}

/// Returns the component for a library that is not a crate in a registry.
fn foreign_library(name: &str, version: Option<&str>, license: &str) -> Value {
    let url = version
        .map_or_else(|| format!("pkg:generic/{name}"), |version| format!("pkg:generic/{name}@{version}"));
    let mut component = json!({
        "type": "library",
        "bom-ref": url,
        "name": name,
        "scope": "required",
        "licenses": [{ "expression": license }],
        "purl": url,
    });
    if let Some(version) = version {
        component["version"] = version.into();
    }
    component
}

/// Returns the version of rustc, which is that of Rust's standard library.
fn rustc_version() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(program(rustc).arg("--version"))?;
    Ok(version.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// Returns the package URL of a crate (<https://github.com/package-url/purl-spec>). A `+` in a
/// version is percent-encoded.
fn package_url((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn found(dependency: Option<Id>) -> Crate {
        Crate {
            license: "MIT".to_owned(),
            repository: None,
            checksum: dependency.is_none().then(|| "00ff".to_owned()),
            directory: PathBuf::new(),
            build_only: false,
            in_object: dependency.is_none(),
            dependencies: dependency.into_iter().collect(),
        }
    }

    #[test]
    fn static_program_has_the_libraries_of_its_target() {
        let names = |target: &str| {
            let text = render(&BTreeMap::new(), "0.1.0", target, Epoch(0)).expect("rendered");
            let document: Value = serde_json::from_str(&text).expect("JSON");
            let components = document["components"].as_array().expect("an array").clone();
            components.iter().map(|component| component["name"].to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("x86_64-unknown-linux-gnu"), r#""rust-std""#);
        assert_eq!(names("x86_64-unknown-linux-musl"), r#""rust-std" "musl" "libunwind""#);
    }

    #[test]
    fn references_between_components_resolve() {
        let dependency = ("a".to_owned(), "1.0.0+x".to_owned());
        let crates = [
            (("vipd".to_owned(), "0.1.0".to_owned()), found(Some(dependency.clone()))),
            (dependency, found(None)),
        ];
        let text = render(&crates.into(), "0.1.0", "x86_64-unknown-linux-gnu", Epoch(0)).expect("rendered");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(document["metadata"]["timestamp"], "1970-01-01T00:00:00Z");
        let component = &document["components"][0];
        assert_eq!(component["purl"], "pkg:cargo/a@1.0.0%2Bx");
        assert_eq!(component["hashes"][0]["content"], "00ff");
        assert_eq!(component["properties"][0]["name"], "vipd:bpf-object");
        let root = document["dependencies"].as_array().expect("an array").iter();
        let root = root.last().expect("vipd's dependencies");
        assert_eq!(root["ref"], document["metadata"]["component"]["bom-ref"]);
        assert_eq!(root["dependsOn"][0], component["bom-ref"]);
    }
}
