//! What all CQL of this crate keeps to.

use std::fs;
use std::path::Path;

use super::migrations::{BOOKKEEPING, MIGRATIONS};

/// What is wrong with a text of CQL that makes tables.
fn faults(cql: &str) -> Vec<String> {
    let mut faults = Vec::new();
    // A statement's comments are those of the lines right above it.
    let mut comments = String::new();
    let mut is_inside = false;
    for line in cql.lines() {
        let (code, comment) = line.split_once("--").unwrap_or((line, ""));
        comments.push_str(comment);
        comments.push('\n');
        let code = code.trim().to_uppercase();
        if code.is_empty() {
            continue;
        }
        let words: Vec<_> = code.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let has = |wanted: &str| words.contains(&wanted);
        let says_bound = comments.lines().any(|line| {
            let line = line.trim();
            line.starts_with("partition: ") && line.contains("; bound: ")
        });
        if !is_inside && code.starts_with("CREATE TABLE") && !says_bound {
            faults.push(format!("no bound of the partition: {line}"));
        }
        if has("MATERIALIZED") || has("INDEX") {
            faults.push(format!("an index that the server keeps: {line}"));
        }
        if (has("DROP") || has("RENAME")) && !comments.contains(" contract") {
            faults.push(format!("takes away: {line}"));
        }
        is_inside = !code.ends_with(';');
        if !is_inside {
            comments.clear();
        }
    }
    faults
}

#[test]
fn tables_keep_to_the_rules() {
    for migration in MIGRATIONS {
        assert_eq!(faults(migration.cql), Vec::<String>::new(), "{}", migration.name);
    }
    assert_eq!(faults(BOOKKEEPING), Vec::<String>::new());
}

#[test]
fn faults_are_found() {
    for bad in [
        "CREATE TABLE a (id text PRIMARY KEY);",
        "-- partition: one\nCREATE TABLE a (id text PRIMARY KEY);",
        "-- partition: one; bound: 1\nCREATE TABLE a (id text PRIMARY KEY);\nCREATE TABLE b (id text PRIMARY KEY);",
        "CREATE INDEX ON a (b);",
        "CREATE MATERIALIZED VIEW a AS SELECT 1;",
        "ALTER TABLE a DROP b;",
        "ALTER TABLE a RENAME b TO c;",
    ] {
        assert_eq!(faults(bad).len(), 1, "{bad}");
    }
    assert!(faults("-- contract: nobody reads b since 0.4\nALTER TABLE a DROP b;").is_empty());
}

#[test]
fn nothing_filters_whole_tables() {
    // Put together, or this file would be found.
    let filtering = ["ALLOW", "FILTERING"].join(" ");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scylla");
    let files = [folder.clone(), folder.join("migrations")];
    let entries = files.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut seen = 0;
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let text = fs::read_to_string(&path).unwrap().to_uppercase();
        assert!(!text.contains(&filtering), "{}", path.display());
        seen += 1;
    }
    assert!(seen > 10, "{seen} files");
}
