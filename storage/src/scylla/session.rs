//! The connection to the servers: statements prepared once, sent as their kind asks for, behind a breaker.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mundotango_ops::Secret;
use mundotango_ops::traces::{self, Span};
use parking_lot::RwLock;
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileBuilder};
use scylla::client::session::{Session, TlsContext};
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::ExecutionError;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::{DefaultRetryPolicy, FallthroughRetryPolicy};
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::policies::timestamp_generator::{MonotonicTimestampGenerator, TimestampGenerator as _};
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row};
use tokio::time::timeout;

use super::failure::{Sign, is_passing, sign, store_error};
use super::listed::{Listed, none_listed};
use super::options::ScyllaOptions;
use super::query::{Change, Kind, PAGE_SIZE, Profiles, Query};
use super::value::damaged;
use crate::StoreError;
use crate::breaker::{Breaker, Pass};

/// What errors call the other side.
const SERVER: &str = "the CQL server";
/// How often a silent connection is looked after, and how long it may stay silent then.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// How often the servers are asked whether they know a new table. A keyspace has a hundred of them, which are made one after the
/// other.
const AGREEMENT: Duration = Duration::from_millis(50);
/// When a slow read is asked of a second server.
const SLOW: Duration = Duration::from_millis(100);

type Values<'a> = dyn SerializeRow + Send + Sync + 'a;
/// Rows, and where the page behind begins.
type Answer = (QueryResult, PagingStateResponse);

/// What is sent.
enum Request<'a> {
    All(&'a PreparedStatement, &'a Values<'a>),
    Page(&'a PreparedStatement, &'a Values<'a>, PagingState),
    Batch(&'a Batch, &'a [Box<Values<'a>>]),
}

/// What all ports share.
pub(super) struct Cql {
    session: RwLock<Arc<Session>>,
    profiles: Profiles,
    prepared: RwLock<HashMap<Kind, HashMap<Cow<'static, str>, PreparedStatement>>>,
    breaker: Breaker,
    /// Gives writes their times: later ones of this node win, and one that is sent twice has one time.
    clock: MonotonicTimestampGenerator,
    request_timeout: Duration,
    pub(super) listed: Listed,
}

/// Opens a session; without a keyspace for those that make it.
pub(super) async fn open(options: &ScyllaOptions, keyspace: Option<&str>) -> Result<Session, StoreError> {
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.nodes)
        .connection_timeout(options.connect_timeout)
        .hostname_resolution_timeout(Some(options.connect_timeout))
        .tcp_keepalive_interval(KEEPALIVE)
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE)
        .schema_agreement_interval(AGREEMENT)
        // Nobody here asks the driver for tables: reading all of them anew after each one takes longer than making it.
        .refresh_metadata_on_auto_schema_agreement(false)
        .default_execution_profile_handle(profile(options).build().into_handle());
    if let Some(keyspace) = keyspace {
        builder = builder.use_keyspace(keyspace, false).keyspaces_to_fetch([keyspace]);
    }
    if let Some(tls) = options.tls.client_config().map_err(StoreError::Unavailable)? {
        builder = builder.tls_context(Some(TlsContext::from(tls)));
    }
    if let Some(user) = &options.user {
        builder = builder.user(user, options.password.as_ref().map_or("", Secret::expose));
    }
    // A server that takes connections and says nothing is waited for once for each step of the opening.
    let opened = timeout(options.connect_timeout * 4, Box::pin(builder.build())).await;
    opened
        .map_err(|_| StoreError::Unavailable(format!("{SERVER} does not answer")))?
        .map_err(|error| StoreError::Unavailable(error.to_string()))
}

/// How statements are sent where nothing else is said.
fn profile(options: &ScyllaOptions) -> ExecutionProfileBuilder {
    let mut policy = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = &options.datacenter {
        policy = policy.prefer_datacenter(datacenter.clone());
    }
    ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(options.request_timeout))
        .load_balancing_policy(policy.build())
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
}

impl Cql {
    pub(super) async fn connect(options: &ScyllaOptions) -> Result<Self, StoreError> {
        let session = open(options, Some(options.checked_keyspace()?)).await?;
        let slow = SimpleSpeculativeExecutionPolicy { max_retry_count: 1, retry_interval: SLOW };
        let reads = profile(options)
            .retry_policy(Arc::new(DefaultRetryPolicy::new()))
            .speculative_execution_policy(Some(Arc::new(slow)));
        let profiles =
            Profiles { reads: reads.build().into_handle(), others: profile(options).build().into_handle() };
        let cql = Self {
            session: RwLock::new(Arc::new(session)),
            profiles,
            prepared: RwLock::default(),
            breaker: Breaker::new(SERVER),
            clock: MonotonicTimestampGenerator::new(),
            request_timeout: options.request_timeout,
            listed: none_listed(),
        };
        cql.count_connections();
        Ok(cql)
    }

    pub(super) fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session.read())
    }

    /// Puts a new session in the place of this one; what is under way stays with the old.
    pub(super) async fn reopen(&self, options: &ScyllaOptions) -> Result<(), StoreError> {
        let session = open(options, Some(options.checked_keyspace()?)).await?;
        if self.connected() == 0 {
            *self.session.write() = Arc::new(session);
        }
        Ok(())
    }

    /// Tells operators to how many servers there is a connection.
    pub(super) fn count_connections(&self) {
        let connected = i64::try_from(self.connected()).unwrap_or(i64::MAX);
        mundotango_ops::metrics().db_connections_active.set(connected);
    }

    pub(super) fn connected(&self) -> usize {
        let cluster = self.session().get_cluster_state();
        cluster.get_nodes_info().iter().filter(|node| node.is_connected()).count()
    }

    /// Waits a little before trying again, longer each time, so that nodes that collided do so no more.
    pub(super) async fn back_off(&self, tries: u32) {
        let most = Duration::from_millis(5) * 2_u32.saturating_pow(tries.min(5));
        tokio::time::sleep(most.mul_f64(rand::random_range(0.1..1.0))).await;
    }

    /// The first row.
    pub(super) async fn one<R>(
        &self,
        query: &Query,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<Option<R>, StoreError>
    where
        R: for<'r> DeserializeRow<'r, 'r>,
    {
        let rows = self.run(query, &values).await?.into_rows_result().map_err(damaged)?;
        rows.maybe_first_row::<R>().map_err(damaged)
    }

    /// All rows. The statement says how many there can be.
    pub(super) async fn rows<R>(
        &self,
        query: &Query,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<Vec<R>, StoreError>
    where
        R: for<'r> DeserializeRow<'r, 'r>,
    {
        let rows = self.run(query, &values).await?.into_rows_result().map_err(damaged)?;
        rows.rows::<R>().map_err(damaged)?.collect::<Result<_, _>>().map_err(damaged)
    }

    /// All rows, page by page, where nothing says how many there can be.
    pub(super) async fn all_rows<R>(
        &self,
        query: &Query,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<Vec<R>, StoreError>
    where
        R: for<'r> DeserializeRow<'r, 'r>,
    {
        let (mut rows, mut paging) = (Vec::new(), PagingState::start());
        loop {
            let (page, next) = self.page(query, &values, paging, PAGE_SIZE).await?;
            rows.extend(page);
            match next {
                Some(state) => paging = state,
                None => return Ok(rows),
            }
        }
    }

    /// A page of at most so many rows, and where the next one begins.
    pub(super) async fn page<R>(
        &self,
        query: &Query,
        values: &Values<'_>,
        from: PagingState,
        limit: i32,
    ) -> Result<(Vec<R>, Option<PagingState>), StoreError>
    where
        R: for<'r> DeserializeRow<'r, 'r>,
    {
        let mut prepared = self.prepare(query).await?;
        prepared.set_page_size(limit);
        let request = Request::Page(&prepared, values, from);
        let (page, next) = self.send(query, &request).await?;
        let page = page.into_rows_result().map_err(damaged)?;
        let rows = page.rows::<R>().map_err(damaged)?.collect::<Result<_, _>>().map_err(damaged)?;
        let next = match next.into_paging_control_flow() {
            ControlFlow::Continue(state) => Some(state),
            ControlFlow::Break(()) => None,
        };
        Ok((rows, next))
    }

    /// Writes, whatever is there.
    pub(super) async fn write(
        &self,
        query: &Query,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<(), StoreError> {
        self.run(query, &values).await.map(drop)
    }

    /// Writes with a time of the caller's, in microseconds.
    pub(super) async fn write_at(
        &self,
        query: &Query,
        values: impl SerializeRow + Send + Sync,
        micros: i64,
    ) -> Result<(), StoreError> {
        let mut prepared = self.prepare(query).await?;
        prepared.set_timestamp(Some(micros.max(self.clock.next_timestamp())));
        self.send(query, &Request::All(&prepared, &values)).await.map(drop)
    }

    /// Writes all or nothing in one partition, if all conditions hold; whether they did.
    pub(super) async fn compare_and_set_together(
        &self,
        changes: Vec<Change<'_>>,
    ) -> Result<bool, StoreError> {
        let Some(first) = changes.first().map(|change| change.query) else { return Ok(true) };
        debug_assert_eq!(first.kind, Kind::Cas, "it is sent as its first statement");
        let (batch, values) = self.batch(changes).await?;
        was_applied(self.send(first, &Request::Batch(&batch, &values)).await?.0)
    }

    /// Writes all or nothing in one partition, plainly.
    pub(super) async fn write_together(&self, changes: Vec<Change<'_>>) -> Result<(), StoreError> {
        let Some(first) = changes.first().map(|change| change.query) else { return Ok(()) };
        debug_assert_eq!(first.kind, Kind::Write, "they are sent as the first of them");
        let (mut batch, values) = self.batch(changes).await?;
        batch.set_timestamp(Some(self.clock.next_timestamp()));
        self.send(first, &Request::Batch(&batch, &values)).await.map(drop)
    }

    /// Changes of one partition, so the servers need no log of them.
    async fn batch<'a>(&self, changes: Vec<Change<'a>>) -> Result<(Batch, Vec<Box<Values<'a>>>), StoreError> {
        let mut batch = Batch::new(BatchType::Unlogged);
        let mut values = Vec::with_capacity(changes.len());
        for change in changes {
            batch.append_statement(self.prepare(change.query).await?);
            values.push(change.values);
        }
        batch.set_execution_profile_handle(Some(self.profiles.others.clone()));
        Ok((batch, values))
    }

    async fn run(&self, query: &Query, values: &Values<'_>) -> Result<QueryResult, StoreError> {
        let mut prepared = self.prepare(query).await?;
        if query.kind == Kind::Write {
            prepared.set_timestamp(Some(self.clock.next_timestamp()));
        }
        Ok(self.send(query, &Request::All(&prepared, values)).await?.0)
    }

    /// Sends a request through the breaker. A plain write is sent again where that may help: it has the same time.
    async fn send(&self, query: &Query, request: &Request<'_>) -> Result<Answer, StoreError> {
        let mut span = Span::child("cql", traces::Kind::Client);
        if let Some(span) = span.recorded() {
            let kind = query.kind.name();
            span.name(format!("cql {kind}")).set("db.system.name", "cassandra");
            span.set("db.operation.name", kind).set("db.collection.name", query.table);
        }
        span.run(self.send_guarded(query, request)).await
    }

    async fn send_guarded(&self, query: &Query, request: &Request<'_>) -> Result<Answer, StoreError> {
        let (kind, table) = (query.kind, query.table);
        let _timer = query.seconds().start_timer();
        let (mut tried, mut unknown) = (0, None);
        loop {
            tried += 1;
            let pass = self.breaker.admit().await.map_err(|error| unknown.clone().unwrap_or(error))?;
            let error = match self.attempt(request).await {
                Ok(answer) => {
                    pass.succeed();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            self.judge(pass, &error);
            tracing::debug!(%error, table, kind = kind.name(), "request failed");
            let failure = store_error(&error, kind);
            if tried >= kind.tries() || !is_passing(&error) {
                return Err(unknown.unwrap_or(failure));
            }
            // What the first try may have done is not undone by a second that is refused.
            if matches!(failure, StoreError::Unknown(_)) {
                unknown = Some(failure);
            }
            self.back_off(tried).await;
        }
    }

    /// Tells the breaker what an error says of the servers.
    fn judge(&self, pass: Pass<'_>, error: &ExecutionError) {
        match sign(error) {
            Sign::Answer => pass.succeed(),
            // Many requests may have been under way to that one; there are others to ask.
            Sign::LostConnection if self.connected() > 0 => {}
            Sign::LostConnection | Sign::Silence => pass.fail(),
        }
    }

    /// Boxed, as the driver's futures are large.
    fn attempt<'a>(&'a self, request: &'a Request<'a>) -> BoxFuture<'a, Result<Answer, ExecutionError>> {
        Box::pin(async move {
            let session = self.session();
            let result = match request {
                Request::All(prepared, values) => session.execute_unpaged(prepared, values).await?,
                Request::Page(prepared, values, from) => {
                    return session.execute_single_page(prepared, values, from.clone()).await;
                }
                Request::Batch(batch, values) => session.batch(batch, values).await?,
            };
            Ok((result, PagingStateResponse::NoMorePages))
        })
    }

    async fn prepare(&self, query: &Query) -> Result<PreparedStatement, StoreError> {
        let known = |prepared: &HashMap<_, HashMap<_, _>>| {
            prepared.get(&query.kind).and_then(|texts| texts.get(&*query.text)).cloned()
        };
        if let Some(prepared) = known(&self.prepared.read()) {
            return Ok(prepared);
        }
        let pass = self.breaker.admit().await?;
        let session = self.session();
        let preparing = timeout(self.request_timeout, Box::pin(session.prepare(query.text.as_ref()))).await;
        let mut prepared = match preparing {
            Ok(Ok(prepared)) => {
                pass.succeed();
                prepared
            }
            Ok(Err(error)) => {
                let error = ExecutionError::from(error);
                self.judge(pass, &error);
                return Err(StoreError::Unavailable(error.to_string()));
            }
            Err(_) => {
                pass.fail();
                return Err(StoreError::Unavailable(format!("{SERVER} did not prepare a statement in time")));
            }
        };
        query.configure(&mut prepared, &self.profiles);
        self.prepared.write().entry(query.kind).or_default().insert(query.text.clone(), prepared.clone());
        Ok(prepared)
    }
}

/// Whether a conditional statement did what it says. Servers differ in what else they tell, so only the column's name
/// counts.
pub(super) fn was_applied(result: QueryResult) -> Result<bool, StoreError> {
    let rows = result.into_rows_result().map_err(damaged)?;
    let (index, _) =
        rows.column_specs().get_by_name("[applied]").ok_or_else(|| damaged("answer without [applied]"))?;
    let first = rows.first_row::<Row>().map_err(damaged)?;
    match first.columns.get(index) {
        Some(Some(CqlValue::Boolean(applied))) => Ok(*applied),
        _ => Err(damaged("[applied] is no boolean")),
    }
}
