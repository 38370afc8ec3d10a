//! What the program is built from: crates of the registry alone, and none that opens a connection.
//! `cargo deny check` (deny.toml) looks at licences too.

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
