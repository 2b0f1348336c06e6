//! How many copies of each row the servers keep, which a keyspace is told once, when it is made.

use std::collections::HashMap;

use scylla::client::session::Session;

use super::failure::refused;
use super::options::ScyllaOptions;
use super::value::damaged;
use crate::StoreError;

/// Fails if there are fewer servers than copies: a keyspace made in that way answers no statement at quorum.
pub(super) fn check_servers(session: &Session, options: &ScyllaOptions) -> Result<(), StoreError> {
    let cluster = session.get_cluster_state();
    let is_asked = |datacenter: Option<&String>| {
        options.datacenter.is_none() || datacenter == options.datacenter.as_ref()
    };
    let servers = cluster.get_nodes_info().iter().filter(|node| is_asked(node.datacenter.as_ref())).count();
    let copies = options.replication_factor;
    if usize::try_from(copies).is_ok_and(|copies| copies <= servers) {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!(
        "cluster.cql.replication_factor is {copies}, and there are only {servers} CQL servers to hold copies: start more, \
         or set it to {servers} at most before the keyspace is made"
    )))
}

/// How the copies that the keyspace has differ from the configured ones, and what to do, if they do.
pub(super) async fn difference(
    session: &Session,
    options: &ScyllaOptions,
) -> Result<Option<String>, StoreError> {
    let keyspace = &options.keyspace;
    let select =
        format!("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = '{keyspace}'");
    let rows =
        session.query_unpaged(select, ()).await.map_err(refused)?.into_rows_result().map_err(damaged)?;
    let row = rows.maybe_first_row::<(HashMap<String, String>,)>().map_err(damaged)?;
    let Some((replication,)) = row else { return Ok(None) };
    Ok(described(&replication, options))
}

fn described(replication: &HashMap<String, String>, options: &ScyllaOptions) -> Option<String> {
    let wanted = options.replication_factor;
    // Beside the class there is one number a data centre, or one for all.
    let numbers = replication.iter().filter(|(name, _)| *name != "class");
    let numbers: Vec<_> = match &options.datacenter {
        Some(datacenter) if replication.contains_key(datacenter) => {
            numbers.filter(|(name, _)| *name == datacenter).collect()
        }
        _ => numbers.collect(),
    };
    let differs = |number: &String| number.parse::<u32>().is_ok_and(|number| number != wanted);
    let (_, found) = numbers.iter().find(|(_, number)| differs(number))?;
    let places: Vec<_> = numbers.iter().map(|(name, _)| format!("'{name}': {wanted}")).collect();
    let keyspace = &options.keyspace;
    let class = replication
        .get("class")
        .map_or("NetworkTopologyStrategy", |class| class.rsplit('.').next().unwrap_or(class));
    Some(format!(
        "the keyspace {keyspace} keeps {found} copies of each row, and cluster.cql.replication_factor is {wanted}. To have \
         {wanted}: ALTER KEYSPACE {keyspace} WITH replication = {{'class': '{class}', {}}}; and then, on every server, \
         nodetool repair -full {keyspace}. To stay with {found}: set cluster.cql.replication_factor to {found}",
        places.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replication(entries: &[(&str, &str)]) -> HashMap<String, String> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_difference_says_what_to_do() {
        let class = ("class", "org.apache.cassandra.locator.NetworkTopologyStrategy");
        let mut options = ScyllaOptions { replication_factor: 3, ..ScyllaOptions::default() };
        assert_eq!(described(&replication(&[class, ("dc1", "3"), ("dc2", "3")]), &options), None);
        let text = described(&replication(&[class, ("dc1", "1")]), &options).unwrap();
        assert!(
            text.contains(
                "ALTER KEYSPACE mundotango WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}"
            ),
            "{text}"
        );
        options.datacenter = Some("dc1".to_owned());
        assert_eq!(described(&replication(&[class, ("dc1", "3"), ("dc2", "1")]), &options), None);
    }
}
