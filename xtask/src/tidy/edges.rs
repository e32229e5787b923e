//! Which crate may know which: the layering of ARCHITECTURE.md, held against every Cargo.toml.
//!
//! Dependencies for tests are free, except that nothing may depend on `testkit` outside of tests.

use super::tree::{SourceFile, Tree};

/// What each crate may depend on, in the order in which a row walks through them.
const EDGES: [(&str, &[&str]); 14] = [
    ("change", &[]),
    ("connector", &["change"]),
    ("mysql-wire", &["change"]),
    ("mysql-cdc", &["change", "connector", "mysql-wire"]),
    ("iceberg-table", &["change"]),
    ("iceberg-sink", &["change", "connector", "iceberg-table"]),
    ("builtin", &["change", "connector"]),
    ("sql", &["change", "connector", "iceberg-table"]),
    ("checkpoint", &["change", "connector"]),
    ("dataflow", &["change", "connector", "checkpoint", "sql"]),
    ("job", &["change", "connector", "checkpoint", "sql", "dataflow"]),
    ("server", &["change", "connector", "builtin", "checkpoint", "sql", "job"]),
    (
        "shardlake",
        &[
            "change",
            "connector",
            "mysql-cdc",
            "iceberg-table",
            "iceberg-sink",
            "builtin",
            "sql",
            "checkpoint",
            "dataflow",
            "job",
            "server",
        ],
    ),
    ("testkit", &["change", "connector"]),
];

/// Foreign crates that only some of ours may name.
const OWNERS: [(&str, &[&str]); 16] = [
    ("mysql_common", &["mysql-wire"]),
    ("mysql_async", &["testkit"]),
    ("rustls", &["mysql-cdc", "server", "job"]),
    ("iceberg", &["iceberg-table"]),
    ("parquet", &["iceberg-table"]),
    ("object_store", &["iceberg-table"]),
    ("opendal", &["iceberg-table"]),
    ("sqlparser", &["sql"]),
    ("datafusion", &["sql", "iceberg-table"]),
    ("timely", &["dataflow"]),
    ("differential-dataflow", &["dataflow"]),
    ("axum", &["server"]),
    ("hyper", &["server"]),
    ("rusqlite", &["server", "iceberg-table"]),
    ("clap", &["shardlake"]),
    ("reedline", &["shardlake"]),
];

pub(crate) fn check(tree: &Tree, findings: &mut Vec<String>) {
    for file in &tree.files {
        let Some(name) = file
            .path
            .strip_prefix("crates/")
            .and_then(|rest| rest.strip_suffix("/Cargo.toml"))
            // Generated: it chooses features, and names everything.
            .filter(|name| !name.contains('/') && *name != "workspace-hack")
        else {
            continue;
        };
        check_manifest(name, file, findings);
    }
}

fn check_manifest(name: &str, file: &SourceFile, findings: &mut Vec<String>) {
    let path = &file.path;
    let Some((_, allowed)) = EDGES.iter().find(|(known, _)| *known == name) else {
        findings.push(format!("{path}: the crate {name} has no place in the layering yet"));
        return;
    };
    let mut section = "";
    for (index, line) in file.text.lines().enumerate() {
        let number = index + 1;
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            continue;
        }
        let is_normal = section.ends_with("dependencies") && section != "dev-dependencies";
        let end = line.find(['.', '=', ' ']).unwrap_or(0);
        let Some(dependency) = line.get(..end).filter(|key| is_normal && !key.is_empty()) else {
            continue;
        };
        if dependency == "workspace-hack" {
            continue;
        }
        match dependency.strip_prefix("shardlake-") {
            Some(ours) if !allowed.contains(&ours) => {
                findings.push(format!("{path}:{number}: {name} may not depend on {ours}"));
            }
            Some(_) => {}
            None => {
                let owners = OWNERS.iter().find(|(foreign, _)| *foreign == dependency);
                if owners.is_some_and(|(_, owners)| !owners.contains(&name)) {
                    findings.push(format!("{path}:{number}: {name} may not name {dependency}"));
                }
                if !line.contains("workspace = true") {
                    findings.push(format!(
                        "{path}:{number}: {dependency}: versions belong in the workspace's Cargo.toml"
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(name: &str, text: &str) -> Vec<String> {
        let path = format!("crates/{name}/Cargo.toml");
        let mut findings = Vec::new();
        let files = vec![SourceFile { path, text: text.to_owned() }];
        check(&Tree { files }, &mut findings);
        findings
    }

    #[test]
    fn layering_is_held() {
        let upward = "[dependencies]\nshardlake-sql.workspace = true\n";
        assert_eq!(
            check_text("change", upward),
            ["crates/change/Cargo.toml:2: change may not depend on sql"]
        );
        assert!(check_text("dataflow", upward).is_empty());
        let in_tests = "[dev-dependencies]\nshardlake-testkit.workspace = true\n";
        assert!(check_text("change", in_tests).is_empty());
        assert_eq!(check_text("newcomer", "").len(), 1);
    }

    #[test]
    fn foreign_crates_have_owners() {
        let timely = "[dependencies]\ntimely.workspace = true\n";
        assert_eq!(check_text("job", timely), ["crates/job/Cargo.toml:2: job may not name timely"]);
        assert!(check_text("dataflow", timely).is_empty());
        assert_eq!(check_text("change", "[dependencies]\nserde = \"1\"\n").len(), 1);
    }
}
