//! What is told of servers that run: to tests by variables, to nodes by a file or by variables.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::kind::{Kind, Place};
use super::kinds::KINDS;

/// What a node's variables begin with.
const NODE_PREFIX: &str = "MUNDOTANGO__";

/// Prints it, and leaves it in the folder: `cluster.toml` for `mundotango --config`, `env` for a shell.
pub(crate) fn print(folder: &Path, places: &[(&'static dyn Kind, Place)]) -> anyhow::Result<()> {
    let (file, shell) = (folder.join("cluster.toml"), folder.join("env"));
    let toml = toml(places);
    fs::write(&file, &toml)?;
    println!("# {}, for nodes: mundotango --config\n{toml}", file.display());
    let environment = environment(places);
    fs::write(&shell, &environment)?;
    println!("# {}, for tests and, instead of the file, for nodes\n{environment}", shell.display());
    Ok(())
}

/// The variables that tell tests where the servers are.
pub(crate) fn test_variables(places: &[(&'static dyn Kind, Place)]) -> Vec<(&'static str, String)> {
    KINDS.iter().map(|kind| (kind.test_variable(), kind.test_value(&addresses(*kind, places)))).collect()
}

/// The variables that tell nodes where they are.
pub(crate) fn node_variables(places: &[(&'static dyn Kind, Place)]) -> Vec<(String, String)> {
    // A text stands there without the quotes that it has in the file.
    let plain = |value: String| value.trim_matches('"').to_owned();
    settings(places).into_iter().map(|(key, value)| (variable(key), plain(value))).collect()
}

fn settings(places: &[(&'static dyn Kind, Place)]) -> Vec<(&'static str, String)> {
    KINDS.iter().flat_map(|kind| kind.settings(&addresses(*kind, places))).collect()
}

fn addresses(kind: &dyn Kind, places: &[(&'static dyn Kind, Place)]) -> Vec<SocketAddr> {
    let own = places.iter().filter(|(of, _)| of.name() == kind.name());
    own.map(|(_, place)| place.address()).collect()
}

fn toml(places: &[(&'static dyn Kind, Place)]) -> String {
    lines(settings(places).iter().map(|(key, value)| format!("{key} = {value}")))
}

fn environment(places: &[(&'static dyn Kind, Place)]) -> String {
    let tests = test_variables(places).into_iter().map(|(name, value)| (name.to_owned(), value));
    lines(tests.chain(node_variables(places)).map(|(name, value)| format!("export {name}='{value}'")))
}

/// The variable that sets a key of the configuration.
fn variable(key: &str) -> String {
    format!("{NODE_PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::services::state::State;

    #[test]
    fn nodes_and_tests_are_told_of_every_server() {
        let places = |nodes| {
            State { nodes, first_port: 20_000, servers: BTreeMap::new() }.places(Path::new("/services"))
        };
        assert_eq!(
            toml(&places(1)),
            "cluster.nats = \"nats://127.0.0.1:20000\"\ncluster.redis = \"redis://127.0.0.1:20009\"\n\
             cluster.cql.nodes = [\"127.0.0.1:20010\"]\ncluster.cql.keyspace = \"mundotango\"\n\
             cluster.cql.replication_factor = 1\n"
        );
        let environment = environment(&places(3));
        for line in [
            "export MUNDOTANGO_TEST_CQL='127.0.9.1:20010,127.0.9.2:20010,127.0.9.3:20010'\n",
            "export MUNDOTANGO__CLUSTER__NATS='nats://127.0.0.1:20000,nats://127.0.0.1:20003,nats://127.0.0.1:20006'\n",
            "export MUNDOTANGO__CLUSTER__CQL__REPLICATION_FACTOR='3'\n",
        ] {
            assert!(environment.contains(line), "{environment}");
        }
    }
}
