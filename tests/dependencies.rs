//! What the program is built from: crates of the registry alone, under licences that deny.toml allows,
//! and none that opens a connection. `cargo deny check` looks for advisories too.

use std::path::Path;
use std::process::Command;

use spdx::{Expression, LicenseReq, ParseMode};

#[test]
fn licences_are_those_that_are_allowed() {
    let cargo = env!("CARGO");
    if !Path::new(cargo).exists() {
        println!("NOT RUN: licences of the dependencies: {cargo} is not there");
        return;
    }
    let deny = include_str!("../deny.toml").parse::<toml::Table>().unwrap();
    let allowed = deny["licenses"]["allow"].as_array().unwrap().iter();
    let allowed: Vec<LicenseReq> = allowed
        .map(|licence| {
            let expression = Expression::parse(licence.as_str().unwrap()).unwrap();
            expression.requirements().next().unwrap().req.clone()
        })
        .collect();
    // Crates for other systems may not have been fetched.
    let version = Command::new(cargo).arg("-vV").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", host.unwrap()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "{}", packages.len());
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str();
        let licence = licence.unwrap_or_else(|| panic!("{name} names no licence"));
        let expression = Expression::parse_mode(licence, ParseMode::LAX).unwrap();
        assert!(
            expression.evaluate(|req| allowed.contains(req)),
            "{name} is under {licence}, which deny.toml does not allow"
        );
    }
}

#[test]
fn no_dependency_opens_a_connection() {
    let lock = include_str!("../Cargo.lock")
        .parse::<toml::Table>()
        .unwrap();
    let packages = lock["package"].as_array().unwrap();
    assert!(packages.len() > 50, "{}", packages.len());
    let deny = include_str!("../deny.toml").parse::<toml::Table>().unwrap();
    let banned = deny["bans"]["deny"].as_array().unwrap();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        assert!(banned.iter().all(|b| b.as_str() != Some(name)), "{name}");
        let source = package.get("source").map(|s| s.as_str().unwrap());
        match name {
            "ssan" => assert_eq!(source, None),
            _ => assert_eq!(
                source,
                Some("registry+https://github.com/rust-lang/crates.io-index"),
                "{name}"
            ),
        }
    }
}
