//! Accounts.

use anyhow::Context as _;
use async_trait::async_trait;
use mundotango_storage::db::Db;
use serde_json::json;

use super::{Generator, as_sent};
use crate::community::accounts::NewUser;
use crate::community::accounts::profile::Profile;
use crate::community::accounts::store::{AccountStore, User};
use crate::seed::plan::Plan;
use crate::seed::words;
use crate::texts::{Bio, City};

/// Of a hundred users, how many tell something about themselves.
const TELL: u64 = 60;
/// Stands for the password where the rules for new accounts are asked; the hash is the same for all.
const ANY_PASSWORD: &str = "a password of the length";

/// Makes users. Their addresses are not confirmed, and nobody greets them, so nothing is mailed to them.
pub(super) struct Accounts {
    store: AccountStore,
    password_hash: String,
}

impl Accounts {
    pub(super) fn new(db: &Db, password_hash: String) -> Self {
        Self { store: AccountStore::new(db.clone()), password_hash }
    }
}

#[async_trait]
impl Generator for Accounts {
    fn name(&self) -> &'static str {
        "users"
    }

    fn steps(&self, plan: &Plan) -> u64 {
        plan.users
    }

    async fn step(&self, plan: &Plan, number: u64) -> anyhow::Result<u64> {
        let mut draw = plan.draw("users", number);
        let body = json!({
            "email": plan.email(number),
            "username": plan.username(number),
            "fullName": words::person(&mut draw),
            "password": ANY_PASSWORD,
        });
        let (account, role) = as_sent::<NewUser>(body)?.into_parts();
        let tells = draw.percent(TELL);
        let bio = tells.then(|| as_sent::<Bio>(words::sentences(&mut draw, 2))).transpose()?;
        let city = as_sent::<City>(words::place(&mut draw).name)?;
        let (created_at, id) = plan.account(number);
        let user = User {
            id,
            email: account.email.into_string(),
            username: account.username.into_string(),
            full_name: account.full_name.into_string(),
            role,
            bio: bio.map(Bio::into_string),
            city: Some(city.into_string()),
            avatar_url: None,
            profile: Profile::default(),
            is_verified: false,
            paused_since: None,
            created_at,
        };
        let made = self.store.create(&user, self.password_hash.clone()).await?;
        made.map_err(|_| anyhow::anyhow!("{} or {} is taken", user.username, user.email)).context(
            "an earlier run made other users of this seed: use another --seed, or the same --users and --at",
        )?;
        Ok(1)
    }
}
