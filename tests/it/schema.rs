//! Nodes of builds that mean different tables.

use std::sync::Arc;
use std::time::Duration;

use mundotango_actors::bus::{NatsBus, NatsOptions};
use mundotango_actors::{ChannelsOptions, Engine, EngineParts, NodeParts, SessionOptions};
use mundotango_gateway::tokens::Tokens;
use mundotango_gateway::{Revocations, TokenAuthenticator};
use mundotango_ops::ServerUrls;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::hot::MemoryHotState;

use crate::cluster::{settings, start_with};
use crate::server::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_with_another_migration_of_the_same_number_is_in_conflict() {
    let settings = settings();
    let _node = start_with(&settings, 1).await;
    let setting = |wanted: &str| {
        let (_, value) = settings.iter().find(|(name, _)| name == wanted).unwrap();
        value.clone()
    };
    let options = NatsOptions {
        urls: ServerUrls::new(setting("CLUSTER__NATS")),
        prefix: setting("CLUSTER__PREFIX"),
        ..NatsOptions::default()
    };
    let bus = NatsBus::open(&options, "another build").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store =
        EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &mundotango::schema::schema())
            .unwrap();
    let tokens = Arc::new(Tokens::new(b"a secret of the test", Duration::from_mins(1)));
    let revocations = Revocations::load(Arc::new(store.stores().db)).await.unwrap();
    // An engine alone stands for a node of the other build: nodes compare by heartbeats.
    let another = Engine::start(EngineParts {
        node: NodeParts { bus: Arc::new(bus), ..NodeParts::alone() },
        version: "another build".to_owned(),
        session_options: SessionOptions::default(),
        channels_options: ChannelsOptions::default(),
        hot: Arc::new(MemoryHotState::new()),
        authenticator: Arc::new(TokenAuthenticator::new(tokens, revocations)),
    });
    let another = another.await.unwrap();
    another.must_agree("migration 1 of the tables", "another".to_owned());
    another.must_agree("migration 999 of the tables", "newer".to_owned());
    let conflicts = until("the conflict is seen", async || {
        Some(another.conflicts()).filter(|conflicts| !conflicts.is_empty())
    });
    let conflicts = conflicts.await;
    let of_tables: Vec<_> = conflicts.iter().filter(|conflict| conflict.contains("of the tables")).collect();
    assert_eq!(of_tables.len(), 1, "a migration that one build alone knows is no conflict: {conflicts:?}");
    assert!(of_tables[0].starts_with("migration 1 of the tables differs from node"), "{of_tables:?}");
}
