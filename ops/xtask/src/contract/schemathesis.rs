//! Made-up requests: what the document allows has to work, what it does not has to be refused, and every answer has to be one
//! that it describes.

use std::process::Command;

use super::node::{API_KEY, Node};
use super::{Options, folder};
use crate::postman::DOCUMENT;
use crate::{parts, root, run, target_folder};

/// Sends requests, the same ones for a seed; an error if any answer is not as the document says.
pub(super) fn send(node: &mut Node, options: &Options) -> anyhow::Result<()> {
    let environment = parts::folder().join("schemathesis");
    parts::pip_packages(&environment, &folder().join("requirements.txt"))?;
    // schemathesis writes its findings into the folder where it runs.
    let notes = target_folder().join("schemathesis");
    std::fs::create_dir_all(&notes)?;
    let mut command = Command::new(environment.join("bin/schemathesis"));
    command
        .arg("--config-file")
        .arg(folder().join("schemathesis.toml"))
        .arg("run")
        .arg(root().join(DOCUMENT));
    command.args(["--url", node.url(), "--seed", &options.seed.to_string()]);
    command.args(["--max-examples", &options.examples.to_string()]);
    if let Some(seconds) = options.seconds {
        command.args(["--max-time", &seconds.to_string()]);
    }
    command.args(["--no-color", "--workers", "1"]).current_dir(notes);
    command.env("MUNDOTANGO_TOKEN", node.admin()?).env("MUNDOTANGO_API_KEY", API_KEY);
    run(&mut command)?;
    node.must_be_well()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// schemathesis says nothing of a name in its configuration that no operation has.
    #[test]
    fn the_operations_that_are_named_are_in_the_document() {
        let options = std::fs::read_to_string(folder().join("schemathesis.toml")).unwrap();
        let lists =
            options.split("include-operation-id = [").skip(1).filter_map(|rest| rest.split(']').next());
        let named: Vec<_> = lists.flat_map(|list| list.split('"').skip(1).step_by(2)).collect();
        assert!(named.len() > 30, "{named:?}");
        let document = std::fs::read_to_string(root().join(DOCUMENT)).unwrap();
        let document: Value = serde_json::from_str(&document).unwrap();
        let paths = document["paths"].as_object().unwrap().values();
        let operations = paths.flat_map(|path| path.as_object().unwrap().values());
        let there: BTreeSet<_> =
            operations.filter_map(|operation| operation["operationId"].as_str()).collect();
        let missing: Vec<_> = named.into_iter().filter(|name| !there.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
