//! Analytics on a store of a test's own, whose clock the test sets.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_jobs::Jobs;
use mundotango_storage::db::{Db, Schema};
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::hot::MemoryHotState;
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::counts::{Class, Kind};
use super::events::{Event, Sender};
use super::slots::{Day, Slot};
use super::state::{Analytics, Everybody, Limits};
use super::visitors::Visitor;
use super::work::{Batch, Worker};
use super::{days, router};

/// An embedded store in a folder that goes with it.
pub(super) struct TestStore {
    store: EmbeddedStore,
    _folder: TempDir,
}

impl TestStore {
    pub(super) fn open() -> Self {
        let kinds = super::kinds().into_iter().chain([mundotango_jobs::JOBS.spec()]);
        let schema = Schema { kinds: kinds.collect(), indexes: Vec::new() };
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &schema).unwrap();
        Self { store, _folder: folder }
    }

    pub(super) fn db(&self) -> Db {
        self.store.stores().db
    }
}

/// Analytics without a server.
pub(super) struct World {
    store: TestStore,
    pub(super) worker: Worker,
    pub(super) analytics: Arc<Analytics>,
    routes: Router,
    /// What the workers take for the present time.
    pub(super) now: Timestamp,
}

impl World {
    pub(super) fn at(now: Timestamp) -> Self {
        let store = TestStore::open();
        let jobs = Jobs::new(store.db(), |_, _| ());
        let hot = Arc::new(MemoryHotState::new());
        let analytics = Analytics::new(store.db(), jobs.clone(), hot, Arc::new(Everybody), Limits::default());
        let analytics = Arc::new(analytics);
        let routes = router(Arc::clone(&analytics)).split_for_parts().0;
        Self { worker: Worker::new(store.db(), jobs), store, analytics, routes, now }
    }

    pub(super) fn db(&self) -> Db {
        self.store.db()
    }

    /// Has events of a sender counted.
    pub(super) async fn count(&self, sender: &Sender, events: &[Event]) {
        let batch = Batch { sender: sender.clone(), events: events.to_vec() };
        self.worker.count(batch, self.now).await.unwrap();
    }

    /// Folds the days from one time to another.
    pub(super) async fn fold(&self, from: Timestamp, to: Timestamp) {
        for day in (Slot::of(from).day().0..=Slot::of(to).day().0).map(Day) {
            self.worker.fold(day, self.now).await.unwrap();
            assert_eq!(days::dirty(&self.db(), day).await.unwrap(), BTreeMap::new());
        }
    }

    /// What an admin is answered.
    pub(super) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Request::get(format!("/api/admin/analytics/{path}")), "", Some("admin")).await
    }

    /// What a request is answered, of a user with a role if there is one.
    pub(super) async fn call(
        &self,
        request: axum::http::request::Builder,
        body: &str,
        role: Option<&str>,
    ) -> (StatusCode, Value) {
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        if let Some(role) = role {
            let identity = Identity { user_id: "42".to_owned(), role: role.to_owned(), login_id: None };
            request.extensions_mut().insert(identity);
        }
        let answer = TowerToHyperService::new(self.routes.clone()).call(request).await.unwrap();
        let status = answer.status();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

/// Somebody with an id of a test's own: users' begin with `u:`.
pub(super) fn sender(visitor: &str, class: Class) -> Sender {
    let visitor: Visitor = serde_json::from_value(Value::from(visitor)).unwrap();
    Sender { visitor, class }
}

/// An id that was made at a time, and that no other number has.
pub(super) fn id(time: Timestamp, number: u64) -> String {
    let millis = format!("{:012x}", time.as_millisecond());
    format!("{}-{}-7000-8000-{number:012x}", &millis[..8], &millis[8..])
}

/// An event of a time.
pub(super) fn event(time: Timestamp, number: u64, kind: Kind, name: &str) -> Event {
    Event { id: id(time, number), kind, name: name.to_owned(), path: None, properties: Map::new() }
}
