//! What is done with a shard: pure functions of it, each carried out in one compare-and-set.

mod claim;
mod enqueue;
mod forget;
mod operate;
mod places;
mod rates;
mod rescue;
mod settle;

pub(crate) use claim::range_of;
pub use claim::{Claim, Claimed, Given, claim};
pub use enqueue::{MAX_WAITING, enqueue};
pub use forget::forget;
pub use operate::{Find, drop_job, find, retry};
pub use places::Shard;
pub use rates::GroupRates;
pub use rescue::{Held, Lost, beat, rescue};
pub use settle::{End, Settled, Settlement, settle};
