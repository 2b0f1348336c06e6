//! Which values cannot work, found before anything is started.

use std::time::Duration;

use mundotango_gateway::TokenOptions;
use mundotango_gateway::tokens::Tokens;

use super::{ClusterOptions, Config};

/// Shortest secret that tokens may be signed with, in bytes: what HS256 hashes to (RFC 7518, 3.2).
pub(crate) const MIN_SECRET_BYTES: usize = 32;
/// Shortest key of the server API, in bytes: too long to be guessed.
const MIN_API_KEY_BYTES: usize = 16;

impl Config {
    /// Refuses values that cannot work, all of them at once.
    pub fn check(&self) -> anyhow::Result<()> {
        let problems = self.problems();
        anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
        Ok(())
    }

    /// All that cannot work, each with the option's name first.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.channels.problems();
        problems.extend(self.log.problem());
        problems.extend(self.secrets());
        problems.extend(self.cluster.problems());
        problems.extend(self.http.problems());
        problems.extend(self.jobs.check());
        problems.extend(self.mail.check());
        problems.extend(self.push.check());
        problems.extend(self.payments.check());
        problems.extend(self.search.check());
        problems.extend(self.traces.problems());
        let mut require = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        require(
            !self.cluster.is_shared() || self.auth.secret.is_some(),
            "auth.secret: has to be set in a cluster, the same on every node",
        );
        for (name, duration) in self.durations() {
            require(!duration.is_zero(), &format!("{name}: must be longer than nothing"));
        }
        for (name, number) in self.counts() {
            require(number > 0, &format!("{name}: must be at least 1"));
        }
        require(
            self.session.pong_timeout < self.session.ping_interval,
            "session.pong_timeout: must be shorter than session.ping_interval",
        );
        require(self.session.shed_percent <= 100, "session.shed_percent: can be 100 at most");
        require(self.drain.window < self.drain.deadline, "drain.window: must be shorter than drain.deadline");
        let personal = &self.session.personal_channel_namespace;
        require(
            personal.is_empty() || self.channels.namespaces.contains_key(personal),
            &format!("session.personal_channel_namespace: there is no channels.namespaces.{personal}"),
        );
        problems
    }

    fn secrets(&self) -> Vec<String> {
        let too_short =
            |secret: Option<&mundotango_gateway::Secret>, option, min| secret?.too_short(option, min);
        let token = &self.auth.token;
        let secret = self.auth.secret.as_ref();
        let mut problems: Vec<_> = [
            too_short(secret, "auth.secret", MIN_SECRET_BYTES),
            too_short(self.http.api_key.as_ref(), "http.api_key", MIN_API_KEY_BYTES),
        ]
        .into_iter()
        .flatten()
        .collect();
        let token_problems = token.problems();
        problems.extend(token_problems.clone());
        if secret.is_some() && secret == token.hmac_secret_key.as_ref() {
            problems.push(
                "auth.token.hmac_secret_key: must not be auth.secret, or the backend's tokens could make admins"
                    .to_owned(),
            );
        }
        // The node reads the keys in the same way when it starts. The secret is looked at above.
        let keys = TokenOptions { hmac_secret_key: None, ..token.clone() };
        if let Err(error) = Tokens::new(&[0; MIN_SECRET_BYTES], Duration::from_secs(1)).with_keys(&keys) {
            let told: Vec<_> = format!("{error:#}").lines().map(str::to_owned).collect();
            problems.extend(told.into_iter().filter(|problem| !token_problems.contains(problem)));
        }
        problems
    }

    /// The durations that must not be zero.
    fn durations(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        [
            ("cluster.nats_timeout", self.cluster.nats_timeout),
            ("cluster.redis_timeout", self.cluster.redis_timeout),
            ("cluster.cql.request_timeout", self.cluster.cql.request_timeout),
            ("cluster.cql.connect_timeout", self.cluster.cql.connect_timeout),
            ("auth.access_token_ttl", self.auth.access_token_ttl),
            ("auth.refresh_token_ttl", self.auth.refresh_token_ttl),
            ("session.ping_interval", self.session.ping_interval),
            ("session.pong_timeout", self.session.pong_timeout),
            ("session.stale_timeout", self.session.stale_timeout),
            ("session.rpc_timeout", self.session.rpc_timeout),
            ("http.header_timeout", self.http.header_timeout),
            ("http.request_timeout", self.http.request_timeout),
            ("http.body_timeout", self.http.body_timeout),
            ("drain.deadline", self.drain.deadline),
        ]
        .into_iter()
    }

    /// The numbers that must not be zero.
    fn counts(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [
            ("auth.password_concurrency", self.auth.password_concurrency),
            ("search.concurrency", self.search.concurrency),
            ("store.max_open_files", self.store.max_open_files),
            ("session.channel_limit", self.session.channel_limit),
            ("session.max_frame_bytes", self.session.max_frame_bytes),
            ("session.outbox_bytes", self.session.outbox_bytes),
            ("session.rpc_concurrency", self.session.rpc_concurrency),
            ("http.max_connections", self.http.max_connections),
            ("http.max_body_bytes", self.http.max_body_bytes),
        ]
        .into_iter()
    }
}

impl ClusterOptions {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let parts = [self.nats.is_some(), self.redis.is_some(), !self.cql.nodes.is_empty()];
        if self.is_shared() && parts != [true; 3] {
            problems
                .push("cluster: nats, redis and cql.nodes belong together: all three, or none".to_owned());
        }
        if self.nats.is_some() {
            problems.extend(
                self.nats_options().problems().into_iter().map(|problem| format!("cluster.{problem}")),
            );
        }
        if self.redis.is_some() {
            problems.extend(
                self.redis_options().problems().into_iter().map(|problem| format!("cluster.{problem}")),
            );
        }
        problems.extend(self.cql.problems().into_iter().map(|problem| format!("cluster.cql.{problem}")));
        // A part of subjects in NATS, where dots and wildcards mean something.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.prefix.is_empty() || !self.prefix.chars().all(is_plain) {
            problems.push("cluster.prefix: use letters, digits, - and _".to_owned());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use mundotango_ops::{Secret, ServerUrls};

    use super::*;

    #[test]
    fn all_that_cannot_work_is_told_at_once_and_no_secret_with_it() {
        let mut config = Config::default();
        config.auth.secret = Some(Secret::new("short-secret".to_owned()));
        config.auth.token.hmac_secret_key = Some(Secret::new("short-hmac".to_owned()));
        config.auth.token.rsa_public_key = Some("no PEM".to_owned());
        config.http.api_key = Some(Secret::new("short-key".to_owned()));
        config.http.allowed_origins = vec!["example.com".to_owned()];
        config.log.filter = "nonsense=???".to_owned();
        config.session.personal_channel_namespace = "nowhere".to_owned();
        config.cluster.nats = Some(ServerUrls::new("http://u:natssecret@nats:4222"));
        config.cluster.redis = Some(ServerUrls::new("redis+sentinel://:redissecret@redis:1"));
        config.cluster.cql.nodes = vec!["x".to_owned()];
        config.cluster.cql.keyspace = "Big".to_owned();
        config.cluster.cql.replication_factor = 0;
        config.cluster.cql.password = Some(Secret::new("cqlsecret".to_owned()));
        config.cluster.redis_tls.ca = Some("/nowhere".into());
        config.cluster.prefix = "a.b".to_owned();
        let problems = config.problems();
        for name in [
            "auth.secret:",
            "auth.token.hmac_secret_key:",
            "auth.token.rsa_public_key",
            "http.api_key:",
            "http.allowed_origins:",
            "log.filter:",
            "session.personal_channel_namespace:",
            "cluster.nats:",
            "cluster.redis:",
            "cluster.redis_tls.ca:",
            "cluster.cql.nodes:",
            "cluster.cql.keyspace:",
            "cluster.cql.replication_factor:",
            "cluster.cql.user:",
            "cluster.prefix:",
        ] {
            let found = problems.iter().filter(|problem| problem.starts_with(name)).count();
            assert_eq!(found, 1, "{name}: {problems:#?}");
        }
        assert!(
            !problems.join("").contains("secret@") && !problems.join("").contains("short-"),
            "{problems:?}"
        );
    }
}
