//! The connection to Redis: every call bounded in time, and a breaker in front, so that a Redis that is gone costs
//! callers nothing but its absence.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mundotango_ops::ServerUrls;
use mundotango_ops::traces::{Kind, Span};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Client, ClientTlsConfig, Cmd, FromRedisValue, Pipeline, RedisError, ScriptInvocation, TlsCertificates,
    Value,
};

use crate::breaker::Breaker;
use crate::{StoreError, TlsFiles};

/// Longest pause between two attempts to connect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// How often it is asked whether Redis is back.
const LOOK: Duration = Duration::from_millis(250);

/// How to reach Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// Where Redis is, such as `redis://127.0.0.1:6379`.
    pub url: ServerUrls,
    /// The certificates of the connection, where the URL begins with `rediss`.
    pub tls: TlsFiles,
    /// What every key begins with.
    pub prefix: String,
    /// How long a call may take.
    pub timeout: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            url: ServerUrls::default(),
            tls: TlsFiles::default(),
            prefix: "mt".to_owned(),
            timeout: Duration::from_millis(500),
        }
    }
}

impl RedisOptions {
    /// What cannot work, each with the option's name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.tls.problems("redis_tls");
        if let Err(error) = Client::open(self.url.expose()) {
            // The driver's error has no part of the URL.
            problems.push(format!("redis: {} is no address of a Redis: {error}", self.url));
        }
        if self.tls != TlsFiles::default() && !self.url.expose().starts_with("rediss://") {
            problems.push("redis_tls: counts only for rediss://".to_owned());
        }
        problems
    }

    fn client(&self) -> Result<Client, StoreError> {
        let read = |file: &Path| {
            std::fs::read(file)
                .map_err(|error| StoreError::Unavailable(format!("cannot read {}: {error}", file.display())))
        };
        let identity = self.tls.identity().map(|(certificate, key)| -> Result<_, StoreError> {
            Ok(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
        });
        let certificates = TlsCertificates {
            client_tls: identity.transpose()?,
            root_cert: self.tls.ca.as_deref().map(read).transpose()?,
        };
        let client = if self.tls == TlsFiles::default() {
            Client::open(self.url.expose())
        } else {
            Client::build_with_tls(self.url.expose(), certificates)
        };
        client.map_err(|error| refused(&error))
    }
}

/// One connection to Redis that all share; it comes back by itself.
#[derive(Clone)]
pub struct RedisLink {
    connection: ConnectionManager,
    guard: Arc<Guard>,
    prefix: Arc<str>,
    timeout: Duration,
}

/// Keeps calls from a Redis that does not answer.
struct Guard {
    breaker: Breaker,
    /// Whether a task asks if it is back.
    looking: AtomicBool,
}

impl Guard {
    fn new(server: &'static str) -> Arc<Self> {
        Arc::new(Self { breaker: Breaker::looked_after(server), looking: AtomicBool::new(false) })
    }
}

impl RedisLink {
    /// A link that connects when it is first used.
    pub fn open(options: &RedisOptions) -> Result<Self, StoreError> {
        let client = options.client()?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(options.timeout))
            .set_response_timeout(Some(options.timeout))
            .set_max_delay(MAX_RECONNECT_DELAY)
            // Whoever calls next tries again; nobody waits for a number of attempts.
            .set_number_of_retries(0);
        let connection =
            ConnectionManager::new_lazy_with_config(client, config).map_err(|error| refused(&error))?;
        Ok(Self {
            connection,
            guard: Guard::new("redis"),
            prefix: options.prefix.as_str().into(),
            timeout: options.timeout,
        })
    }

    /// The same connection for calls whose answer is not worth waiting for longer than this. They have a breaker of their
    /// own, so that one that was too slow for them is not taken for gone by the others.
    pub(crate) fn impatient(&self, timeout: Duration) -> Self {
        Self { guard: Guard::new("redis as a cache"), timeout, ..self.clone() }
    }

    /// A key of a family.
    pub(crate) fn key(&self, family: &str, name: &str) -> String {
        format!("{}:{family}:{{{name}}}", self.prefix)
    }

    /// Runs a script.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.call(async |connection| call.invoke_async(connection).await).await
    }

    /// Runs a command.
    pub(crate) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.call(async |connection| command.query_async(connection).await).await
    }

    /// Runs commands in one round trip.
    pub(crate) async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        self.call(async |connection| pipeline.query_async(connection).await).await
    }

    /// Whether Redis takes writes. One that is full or a replica answers, and refuses them.
    pub async fn check(&self) -> Result<(), StoreError> {
        let mut write = redis::cmd("SET");
        write.arg(self.key("check", "")).arg("").arg("PX").arg(1000);
        self.command::<Value>(&write).await.map(drop)
    }

    /// What should be set otherwise in this Redis; nothing if all is well, or Redis does not tell.
    pub async fn advice(&self) -> Vec<String> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        pipeline.cmd("CONFIG").arg("GET").arg("save");
        pipeline.cmd("INFO");
        let told = self.pipeline::<(Result<Vec<String>, RedisError>, Result<String, RedisError>)>(&pipeline);
        match told.await {
            Ok((save, info)) => {
                let save = save.ok().and_then(|mut setting| setting.pop()).unwrap_or_default();
                advise(&save, &info.unwrap_or_default())
            }
            Err(_) => Vec::new(),
        }
    }

    /// Sees to it that somebody looks after Redis while calls fail at once.
    fn look_after(&self) {
        if self.guard.breaker.is_open() && !self.guard.looking.swap(true, Ordering::AcqRel) {
            let guard = Arc::downgrade(&self.guard);
            tokio::spawn(look_until_back(guard, self.connection.clone(), self.timeout));
        }
    }

    async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut ConnectionManager) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let mut span = Span::child("redis", Kind::Client);
        if let Some(span) = span.recorded() {
            span.set("db.system.name", "redis");
        }
        span.run(self.call_guarded(call)).await
    }

    async fn call_guarded<T>(
        &self,
        call: impl AsyncFnOnce(&mut ConnectionManager) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let pass = self.guard.breaker.admit().await?;
        let mut connection = self.connection.clone();
        match tokio::time::timeout(self.timeout, call(&mut connection)).await {
            Ok(Ok(value)) => {
                pass.succeed();
                Ok(value)
            }
            Ok(Err(error)) if is_answer(&error) => {
                pass.succeed();
                Err(refused(&error))
            }
            Ok(Err(error)) => {
                pass.fail();
                self.look_after();
                // The connection was lost under way, or never made.
                Err(if error.is_connection_refusal() {
                    refused(&error)
                } else {
                    StoreError::Unknown(error.to_string())
                })
            }
            Err(_) => {
                pass.fail_by_silence();
                self.look_after();
                Err(StoreError::Unknown(format!("redis did not answer within {:?}", self.timeout)))
            }
        }
    }
}

/// Asks a Redis that did not answer until it does, or nobody wants to know.
async fn look_until_back(guard: Weak<Guard>, mut connection: ConnectionManager, timeout: Duration) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(guard) = guard.upgrade() else { return };
        let Some(pass) = guard.breaker.probe() else {
            guard.looking.store(false, Ordering::Release);
            // It may have opened again before that was said.
            if guard.breaker.is_open() && !guard.looking.swap(true, Ordering::AcqRel) {
                continue;
            }
            return;
        };
        let ping = redis::cmd("PING");
        match tokio::time::timeout(timeout, ping.query_async::<Value>(&mut connection)).await {
            Ok(Ok(_)) => pass.succeed(),
            Ok(Err(error)) if is_answer(&error) => pass.succeed(),
            Ok(Err(_)) | Err(_) => pass.fail(),
        }
    }
}

/// Advice by the setting `save` and by what `INFO` says.
fn advise(save: &str, info: &str) -> Vec<String> {
    let says = |line: &str| info.lines().any(|said| said == line);
    let mut advice = Vec::new();
    if !save.is_empty() || says("aof_enabled:1") {
        let text = "redis writes to disk, which costs time and brings nothing back: histories of an earlier run are not \
                    believed (save \"\", appendonly no)";
        advice.push(text.to_owned());
    }
    let policy = info.lines().find_map(|said| said.strip_prefix("maxmemory_policy:"));
    if !says("maxmemory:0") && policy.is_some_and(|policy| policy != "noeviction") {
        let text = "redis throws away histories and presence when it is full, which clients are not told of \
                    (maxmemory-policy noeviction)";
        advice.push(text.to_owned());
    }
    if says("cluster_enabled:1") {
        advice.push("redis is a cluster, which is not supported".to_owned());
    }
    advice
}

/// Whether the server itself refused, so that it is there and nothing happened: an error of a command, or one that Redis
/// gives for its state, such as `OOM`, `READONLY`, `MISCONF`, `LOADING` or `NOAUTH`. Codes that the library does not know
/// are extensions to it.
fn is_answer(error: &RedisError) -> bool {
    use redis::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::Server(_)
            | ErrorKind::Extension
            | ErrorKind::UnexpectedReturnType
            | ErrorKind::AuthenticationFailed
    )
}

/// The error with the server's own code, by which operators know what is wrong.
fn refused(error: &RedisError) -> StoreError {
    let text = error.to_string();
    let code = error.code().filter(|code| !text.contains(code)).map(|code| format!("{code} "));
    StoreError::Unavailable(format!("redis: {}{text}", code.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::advise;

    #[test]
    fn advises_what_loses_nothing() {
        let good = "maxmemory:1000\r\nmaxmemory_policy:noeviction\r\naof_enabled:0\r\ncluster_enabled:0\r\n";
        assert!(advise("", good).is_empty());
        assert!(advise("", "").is_empty());
        assert!(advise("3600 1 300 100", good)[0].contains("save"));
        assert!(advise("", "aof_enabled:1\r\n")[0].contains("appendonly"));
        assert!(advise("", "maxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n")[0].contains("noeviction"));
        assert!(advise("", "maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n").is_empty());
        assert!(advise("", "cluster_enabled:1\r\n")[0].contains("cluster"));
    }
}
