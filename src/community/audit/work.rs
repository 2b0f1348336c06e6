//! The job that signs what was done the day before.

use async_trait::async_trait;
use jiff::tz::TimeZone;
use mundotango_jobs::{Attempted, Failure, Handler, JobKind, NewJob, NewPools};
use mundotango_storage::{StoreError, now};
use serde::{Deserialize, Serialize};

use super::roots::Roots;
use crate::community::notifications::tell::NOTIFICATION;

/// Signs the days that are over.
static SIGN: JobKind<Sign> = JobKind::new("audit_sign", &NOTIFICATION, 1);

#[derive(Debug, Serialize, Deserialize)]
struct Sign {}

/// Signs the days that are over.
pub fn sign() -> Result<NewJob, StoreError> {
    SIGN.job(&Sign {})
}

/// The jobs of this file.
pub fn handled(pools: NewPools, roots: Roots) -> NewPools {
    pools.handle(&SIGN, Signs(roots))
}

struct Signs(Roots);

#[async_trait]
impl Handler<Sign> for Signs {
    async fn run(&self, _: &Attempted, _: Sign) -> Result<(), Failure> {
        let now = now();
        let yesterday = now.to_zoned_datetime(TimeZone::UTC).date().yesterday();
        self.0.sign_until(yesterday.map_err(Failure::retry)?, now).await?;
        Ok(())
    }
}
