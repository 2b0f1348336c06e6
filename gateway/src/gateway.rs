//! Putting the doors together: which routes there are, and what every request passes on its way.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use mundotango_actors::Engine;
use mundotango_ops::ToTheEnd;
use mundotango_storage::db::Db;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::actors;
use crate::authenticator::TokenAuthenticator;
use crate::body::{self, BodyLimits};
use crate::code;
use crate::contract;
use crate::cors;
use crate::cursors::Cursors;
use crate::health::{self, HealthCheck, HealthState};
use crate::idempotency::Idempotency;
use crate::identity::{self, Identity};
use crate::observe;
use crate::options::HttpOptions;
use crate::origin::Origins;
use crate::problem::{Code, Problem};
use crate::revocations::Revocations;
use crate::rpc::{NoSuchRoute, RouteCaller};
use crate::server_api;
use crate::slow;
use crate::streams;
use crate::system::{self, SystemState};
use crate::tokens::Tokens;
use crate::turnstile::Turnstile;
use crate::websocket::{self, WebSocketState};

/// What is below this path is for admins alone.
const ADMIN_PREFIX: &str = "/api/admin/";
/// Answers below this are sent as they are, in bytes: compressing them saves nothing.
const COMPRESS_ABOVE: u64 = 1024;
/// Requests that change something and run at the same time, those among them whose callers have gone; further ones are refused.
const MAX_RUNNING: usize = 16_384;

/// What the gateway is made of.
pub struct GatewayParts {
    /// Who runs the sessions.
    pub engine: Arc<Engine>,
    /// Who reads tokens.
    pub authenticator: Arc<TokenAuthenticator>,
    /// What requests with idempotency keys and places in lists are sealed with.
    pub tokens: Arc<Tokens>,
    /// Where requests with idempotency keys are kept. Its schema has `IDEMPOTENCY_KEYS`.
    pub db: Db,
    /// Who is locked out.
    pub revocations: Arc<Revocations>,
    /// Who knows how the node's parts are.
    pub health: Arc<dyn HealthCheck>,
    /// The application's routes.
    pub application: OpenApiRouter,
    /// Whom the application lets see the running node.
    pub is_operator: fn(&Identity) -> bool,
    /// The server's name and version.
    pub version: String,
}

/// The routes, by who may reach them.
#[derive(Clone, Debug)]
pub struct Routers {
    /// For clients.
    pub public: Router,
    /// For operators: the same, and what is theirs where `http.internal_listen` is set.
    pub internal: Router,
    /// Requests that run to their end although their callers have gone. They need the store.
    pub running: TaskTracker,
}

/// Builds the routers that answer everything, and lets sessions call the application's routes by RPC. Fails where no keys can be made
/// of the tokens' secret.
pub fn routers(options: &HttpOptions, parts: GatewayParts) -> anyhow::Result<Routers> {
    let GatewayParts {
        engine,
        authenticator,
        tokens,
        db,
        revocations,
        health,
        application,
        is_operator,
        version,
    } = parts;
    let health = HealthState { engine: Arc::clone(&engine), check: health, version };
    let system = SystemState { engine: Arc::clone(&engine), is_operator };
    engine.watch_partitions(db.clone());
    let routes = application
        .merge(health::router(Arc::new(health)))
        .merge(actors::router(system.clone()))
        .merge(slow::router(system.clone()))
        .merge(system::router(system));
    #[cfg(feature = "test-hooks")]
    let routes = crate::test_hooks::add_to(routes, &engine);
    let (routes, document) = routes.split_for_parts();
    let cursors = Cursors::of(&tokens)?;
    let idempotency = Arc::new(Idempotency::new(db, tokens, Arc::clone(&engine), &document));
    let document = contract::complete(&document, server_api::describe);
    let channels = Bytes::from(contract::channels::document(&document).to_string());
    let running = TaskTracker::new();
    let calls = Calls { timeout: options.request_timeout, running: running.clone(), idempotency, cursors };

    // What holds for both doors to the routes: HTTP and RPC.
    let routes = routes
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            let text = panic.downcast_ref::<&str>().copied().unwrap_or("route panicked");
            Problem::internal(&text).into_response()
        }))
        .layer(middleware::from_fn_with_state(Arc::new(calls), call));
    let is_apart = options.internal_listen.is_some();
    let callable =
        if is_apart { routes.clone().layer(middleware::from_fn(hide_internal)) } else { routes.clone() };
    engine.set_rpc_handler(Arc::new(RouteCaller::new(callable, Arc::clone(&revocations))));

    let session = engine.session_options();
    let needs_token = !session.allow_anonymous && !session.insecure;
    let origins = Arc::new(Origins::new(&options.allowed_origins, needs_token));
    let turnstile = Arc::new(Turnstile::new(options));
    let streams = streams::router(
        Arc::clone(&engine),
        Arc::clone(&origins),
        Arc::clone(&turnstile),
        options.unidirectional,
    )
    .layer(middleware::from_fn(observe::measure));
    let sockets = sockets(options, &engine, &origins, turnstile);
    let server_api = server_api::router(engine, revocations, options.api_key.clone())
        .layer(middleware::from_fn(observe::measure_and_trace));

    let internal =
        routes
            .layer(middleware::from_fn_with_state(authenticator, identity::keep_bearer_token))
            .route("/metrics", get(metrics))
            .route(code::PAGE, get(code::page))
            .route(
                "/api/docs/asyncapi.json",
                get(async move || ([(header::CONTENT_TYPE, "application/json")], channels)),
            )
            .merge(SwaggerUi::new("/api/docs").external_url_unchecked("/api/docs/json", document))
            .layer(cors::layer(origins))
            .layer(CompressionLayer::new().compress_when(
                SizeAbove::new(COMPRESS_ABOVE).and(NotForContentType::new("text/event-stream")),
            ))
            .merge(server_api)
            .merge(streams)
            // The limits of this server's own hold instead of axum's.
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(BodyLimits::new(options), receive))
            // A request for a socket has no body, and storms of them come: it passes one layer alone.
            .merge(sockets.layer(middleware::from_fn(observe::identify_and_measure)));
    let public =
        if is_apart { internal.clone().layer(middleware::from_fn(hide_internal)) } else { internal.clone() };
    let internal = internal.layer(Extension(observe::TrustedTraces));
    Ok(Routers { public, internal, running })
}

/// The routes of WebSockets.
fn sockets(
    options: &HttpOptions,
    engine: &Arc<Engine>,
    origins: &Arc<Origins>,
    turnstile: Arc<Turnstile>,
) -> Router {
    let state = WebSocketState { engine: Arc::clone(engine), origins: Arc::clone(origins), turnstile };
    let mut sockets = Router::new().route("/connection/websocket", get(websocket::upgrade));
    if options.unidirectional {
        sockets = sockets.route("/connection/uni_websocket", get(websocket::upgrade_uni));
    }
    sockets.with_state(Arc::new(state))
}

/// Where operators have a listener of their own, clients do not see what is served there.
async fn hide_internal(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if health::is_monitoring(path) || path.starts_with(ADMIN_PREFIX) {
        return no_such_route(request).await;
    }
    next.run(request).await
}

/// Middleware of every request but those for sockets: its id, its line in the log, the bounds of its body, and that no browser
/// takes the answer for something else than it says it is. One layer, as each costs a request something.
async fn receive(State(limits): State<BodyLimits>, request: Request, next: Next) -> Response {
    let mut response = observe::identified(request, |request| body::bound(limits, request, next)).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// How the application's routes are called.
struct Calls {
    /// How long a caller waits.
    timeout: Duration,
    /// Counts requests that change something.
    running: TaskTracker,
    idempotency: Arc<Idempotency>,
    /// What places in lists are sealed with.
    cursors: Cursors,
}

/// Middleware of every call of a route, whatever door it came by: its numbers, its span, the bound of its time, and that it is carried
/// out once.
async fn call(State(calls): State<Arc<Calls>>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(calls.cursors.clone());
    let answer = |request| in_time(calls, request, next);
    observe::measured(request, |request| observe::traced(request, answer)).await
}

/// Bounds the time from a request's head to its answer's. A request that may change something is dropped neither then nor
/// when its client hangs up: what was written would be announced to nobody.
async fn in_time(calls: Arc<Calls>, request: Request, next: Next) -> Response {
    let Calls { timeout, running, idempotency, .. } = calls.as_ref();
    if request.method().is_safe() {
        return tokio::time::timeout(*timeout, next.run(request)).await.unwrap_or_else(|_| {
            Problem::unavailable("the request took longer than it may (http.request_timeout)").into_response()
        });
    }
    if running.len() >= MAX_RUNNING {
        return Problem::unavailable("too many requests are under way").into_response();
    }
    let (counted, idempotency) = (running.token(), Arc::clone(idempotency));
    let answer = ToTheEnd::new(async move {
        let response = idempotency.once(request, next).await;
        drop(counted);
        response
    });
    tokio::time::timeout(*timeout, answer).await.unwrap_or_else(|_| {
        let detail = "the request takes longer than a client may wait (http.request_timeout), and goes on";
        Problem::outcome_unknown(detail).into_response()
    })
}

async fn metrics() -> Response {
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], mundotango_ops::render()).into_response()
}

async fn no_such_route(request: Request) -> Response {
    let problem = Problem::new(StatusCode::NOT_FOUND, format!("no route {}", request.uri().path()));
    let problem = problem.with_code(Code::NoSuchRoute);
    let mut response = problem.into_response();
    response.extensions_mut().insert(NoSuchRoute);
    response
}

async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!("{} is not allowed on {}", request.method(), request.uri().path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
