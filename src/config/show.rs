//! Prints the configuration in force as a file that can be read again: every option with what it is, those that are not
//! set as comments, and secrets hidden.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::Config;
use super::describe::{joined, section};

impl Config {
    /// The configuration as TOML.
    pub fn show(&self) -> anyhow::Result<String> {
        let mut text =
            String::from("# The configuration in force. Secrets are hidden; what is not set is a comment.\n");
        write_section("", &Table::try_from(self)?, &mut text);
        Ok(text)
    }
}

/// Writes the options of a section, and then the sections in it.
fn write_section(path: &str, table: &Table, text: &mut String) {
    let options: Vec<_> = section(path).map(|section| section.entries().collect()).unwrap_or_default();
    // What is the same in every namespace is said once.
    let is_said = path.starts_with("channels.namespaces.");
    if is_said {
        text.push_str("# The options are those of channels.without_namespace.\n");
    }
    for (name, docs) in &options {
        let value = table.get(*name);
        if matches!(value, Some(Value::Table(_))) {
            continue;
        }
        if !is_said {
            let _ = writeln!(text, "# {docs}");
        }
        let _ = match value {
            Some(value) => writeln!(text, "{name} = {value}"),
            None => writeln!(text, "# {name} ="),
        };
    }
    for (name, value) in table {
        let Value::Table(table) = value else { continue };
        let path = joined(path, name);
        let docs = options.iter().find(|(known, _)| known == name).map(|(_, docs)| docs.as_str());
        text.push('\n');
        if let Some(docs) = docs {
            let _ = writeln!(text, "# {docs}");
        }
        let _ = writeln!(text, "[{path}]");
        write_section(&path, table, text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::describe::SECTIONS;
    use super::*;

    /// The paths of all values and sections of a table.
    fn paths(path: &str, table: &Table, found: &mut Vec<String>) {
        for (name, value) in table {
            let path = joined(path, name);
            if let Value::Table(table) = value {
                paths(&path, table, found);
            }
            found.push(path);
        }
    }

    #[test]
    fn every_option_is_described_and_none_is_described_that_is_not_there() {
        let mut found = Vec::new();
        paths("", &Table::try_from(Config::default()).unwrap(), &mut found);
        for path in found {
            let (section_path, name) = path.rsplit_once('.').unwrap_or(("", &path));
            if section_path == "channels.namespaces" {
                continue;
            }
            let section = section(section_path).unwrap_or_else(|| panic!("no section {section_path}"));
            assert!(section.entries().any(|(known, _)| known == name), "{path} is not described");
        }
        for section in SECTIONS {
            for (name, docs) in section.entries() {
                assert!(docs.len() > 10, "{}.{name} is described by {docs:?}", section.path);
            }
        }
    }

    #[test]
    fn what_is_not_set_is_a_comment_and_what_is_shown_can_be_read() {
        let text = Config::default().show().unwrap();
        for line in ["# api_key =", "# hmac_secret_key =", "# nats =", "# user =", "ping_interval = \"25s\""]
        {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let lines: Vec<_> = text.lines().collect();
        let key = lines.iter().position(|line| *line == "# api_key =").unwrap();
        assert!(lines[key - 1].starts_with("# The key of the server API"), "{}", lines[key - 1]);
        assert_eq!(text.parse::<Table>().unwrap(), Table::try_from(Config::default()).unwrap());
    }
}
