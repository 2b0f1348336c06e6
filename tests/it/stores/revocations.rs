//! What revocations promise.

use std::time::Duration;

use jiff::Timestamp;
use mundotango_gateway::revocation_store::{Revocation, RevocationStore as _, Revoked};
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::now;

/// Runs the suite.
pub async fn revocations([store, other]: &[Db; 2]) {
    let now = now();
    let (user, token) = (Revoked::User(new_id()), Revoked::Token(new_id()));
    let own = async |at: Timestamp| {
        let mut all = store.revocations(at).await.unwrap();
        all.retain(|revocation| revocation.what == user || revocation.what == token);
        all.sort_unstable_by(|a, b| a.what.cmp(&b.what));
        all
    };
    assert!(own(now).await.is_empty());
    let for_ever = Revocation { what: user.clone(), at: now, until: None };
    let for_a_while = Revocation { what: token.clone(), at: now, until: Some(now + Duration::from_mins(1)) };
    store.revoke(Revocation { until: for_a_while.until, ..for_ever.clone() }).await.unwrap();
    for revocation in [&for_ever, &for_a_while] {
        store.revoke(revocation.clone()).await.unwrap();
    }
    assert_eq!(own(now).await, [for_ever.clone(), for_a_while], "the later of the same thing counts");
    assert_eq!(own(now + Duration::from_mins(2)).await, [for_ever]);
    assert_eq!(own(now).await.len(), 1, "what is past is forgotten");
    assert!(store.reinstate(&user).await.unwrap());
    assert!(!other.reinstate(&user).await.unwrap());
    assert!(own(now).await.is_empty());
}
