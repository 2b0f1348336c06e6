//! Settings that all nodes of a cluster have to agree on, compared by digests in the heartbeats.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::messages::NodeInfo;

/// This node's settings, by what they are.
#[derive(Debug, Default)]
pub(super) struct Settings(Mutex<BTreeMap<String, String>>);

impl Settings {
    pub(super) fn declare(&self, setting: String, digest: String) {
        self.0.lock().insert(setting, digest);
    }

    pub(super) fn digests(&self) -> BTreeMap<String, String> {
        self.0.lock().clone()
    }

    /// The settings in which a node differs, in words. Settings that only one of the nodes knows are left out, so that a
    /// rollout can add a namespace or a newer version can compare more.
    pub(super) fn differences(&self, node: &NodeInfo) -> Vec<String> {
        let own = self.0.lock();
        let differing = own.iter().filter(|(setting, digest)| {
            node.settings.get(*setting).is_some_and(|of_other| of_other != *digest)
        });
        differing
            .map(|(setting, _)| format!("{setting} differs from node {} ({})", node.name, node.id))
            .collect()
    }
}
