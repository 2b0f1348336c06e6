//! The `[auth]` section: tokens, passwords, and how often somebody may try them.

use std::time::Duration;

use documented::DocumentedFields;
use mundotango_gateway::{Secret, TokenOptions};
use mundotango_ops::duration as friendly;
use serde::{Deserialize, Serialize};

/// The `[auth]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct AuthOptions {
    /// Signs tokens; at least 32 bytes. Without one a secret is made at the first start and kept in the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// The keys that verify tokens of an application's own backend.
    pub token: TokenOptions,
    /// How long an access token is good.
    #[serde(with = "friendly")]
    pub access_token_ttl: Duration,
    /// How long a refresh token is good.
    #[serde(with = "friendly")]
    pub refresh_token_ttl: Duration,
    /// Most passwords that are hashed at the same time, each on a core and 19 MiB of its own; half of the cores if not
    /// set, as the others serve everybody who is in already.
    pub password_concurrency: usize,
    /// How often somebody may register, log in and refresh.
    pub rates: RateOptions,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self {
            secret: None,
            token: TokenOptions::default(),
            access_token_ttl: Duration::from_hours(1),
            refresh_token_ttl: Duration::from_hours(30 * 24),
            password_concurrency: std::thread::available_parallelism()
                .map_or(1, |cores| (cores.get() / 2).max(1)),
            rates: RateOptions::default(),
        }
    }
}

/// The `[auth.rates]` section. 0 is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub struct RateOptions {
    /// Accounts that one address may make in an hour.
    pub registrations_per_address: u32,
    /// Logins that one address may try in a minute.
    pub logins_per_address: u32,
    /// Refreshes that one address may make in a minute.
    pub refreshes_per_address: u32,
    /// Letters with a link that one address may ask for in an hour.
    pub links_per_address: u32,
    /// Failed logins of one address at one account in 15 minutes, after which that address has to wait.
    pub failed_logins: u32,
    /// Failed logins of all addresses at one account in an hour, after which the account is tried once a second at most.
    pub failed_logins_per_account: u32,
}

impl Default for RateOptions {
    fn default() -> Self {
        Self {
            registrations_per_address: 60,
            logins_per_address: 60,
            refreshes_per_address: 600,
            links_per_address: 20,
            failed_logins: 10,
            failed_logins_per_account: 100,
        }
    }
}
