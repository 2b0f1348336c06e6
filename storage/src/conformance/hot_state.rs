//! What the port to hot state promises.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mundotango_protocol::{ClientInfo, Publication};

use super::new_id;
use crate::hot::{HistoryLimits, HistoryQuery, HotState, PresenceStats};

const LIMITS: HistoryLimits =
    HistoryLimits { size: 100, ttl: Duration::from_mins(1), meta_ttl: Duration::from_mins(10) };

fn publication(number: u64) -> Publication {
    Publication { data: Bytes::from(number.to_string()), ..Publication::default() }
}

async fn offsets(hot: &dyn HotState, channel: &str, query: HistoryQuery) -> Vec<u64> {
    let page = hot.history(channel, query, LIMITS.meta_ttl).await.unwrap();
    page.publications.iter().map(|kept| kept.offset).collect()
}

/// Runs the suite.
pub async fn hot_state(hot: Arc<dyn HotState>) {
    a_new_history_has_an_epoch(&*hot).await;
    reads_parts_of_a_history(&*hot).await;
    trims_to_its_size(&*hot).await;
    publications_expire(&*hot).await;
    removed_history_keeps_its_place(&*hot).await;
    offsets_have_no_gap_and_no_twin(&hot).await;
    presence_comes_and_goes(&*hot).await;
    presence_expires(&*hot).await;
}

async fn a_new_history_has_an_epoch(hot: &dyn HotState) {
    let channel = new_id();
    let empty = hot.history(&channel, HistoryQuery::default(), LIMITS.meta_ttl).await.unwrap();
    assert_eq!((empty.position.offset, empty.publications.len()), (0, 0));
    assert!(!empty.position.epoch.is_empty());
    let first = hot.append(&channel, publication(1), LIMITS).await.unwrap();
    assert_eq!((first.offset, &first.epoch), (1, &empty.position.epoch));
    let other = hot.append(&new_id(), publication(1), LIMITS).await.unwrap();
    assert_ne!(other.epoch, first.epoch);
}

async fn reads_parts_of_a_history(hot: &dyn HotState) {
    let channel = new_id();
    for number in 1..=5 {
        hot.append(&channel, publication(number), LIMITS).await.unwrap();
    }
    let page = hot.history(&channel, HistoryQuery::default(), LIMITS.meta_ttl).await.unwrap();
    assert_eq!(page.publications[2].data, "3");
    let all = HistoryQuery::default();
    let since = |offset| HistoryQuery { since: Some(offset), ..all };
    let reverse = HistoryQuery { reverse: true, ..all };
    for (query, expected) in [
        (all, &[1, 2, 3, 4, 5][..]),
        (HistoryQuery { limit: Some(0), ..all }, &[]),
        (HistoryQuery { limit: Some(2), ..all }, &[1, 2]),
        (since(0), &[1, 2, 3, 4, 5]),
        (since(3), &[4, 5]),
        (since(5), &[]),
        (since(9), &[]),
        (HistoryQuery { limit: Some(1), ..since(3) }, &[4]),
        (reverse, &[5, 4, 3, 2, 1]),
        (HistoryQuery { since: Some(3), ..reverse }, &[2, 1]),
        (HistoryQuery { limit: Some(2), ..reverse }, &[5, 4]),
    ] {
        assert_eq!(offsets(hot, &channel, query).await, expected, "{query:?}");
    }
}

async fn trims_to_its_size(hot: &dyn HotState) {
    let channel = new_id();
    let limits = HistoryLimits { size: 3, ..LIMITS };
    for number in 1..=10 {
        let position = hot.append(&channel, publication(number), limits).await.unwrap();
        assert_eq!(position.offset, number);
    }
    assert_eq!(offsets(hot, &channel, HistoryQuery::default()).await, [8, 9, 10]);
    let since = HistoryQuery { since: Some(8), ..HistoryQuery::default() };
    assert_eq!(offsets(hot, &channel, since).await, [9, 10]);
}

async fn publications_expire(hot: &dyn HotState) {
    let channel = new_id();
    let limits = HistoryLimits { ttl: Duration::from_secs(1), ..LIMITS };
    let before = hot.append(&channel, publication(1), limits).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let page = hot.history(&channel, HistoryQuery::default(), LIMITS.meta_ttl).await.unwrap();
    assert!(page.publications.is_empty());
    assert_eq!(page.position, before, "offset and epoch outlive the publications");
    let after = hot.append(&channel, publication(2), limits).await.unwrap();
    assert_eq!((after.offset, after.epoch), (2, before.epoch));
}

async fn removed_history_keeps_its_place(hot: &dyn HotState) {
    let channel = new_id();
    let before = hot.append(&channel, publication(1), LIMITS).await.unwrap();
    hot.remove_history(&channel).await.unwrap();
    let page = hot.history(&channel, HistoryQuery::default(), LIMITS.meta_ttl).await.unwrap();
    assert_eq!((page.publications.len(), page.position), (0, before));
    hot.remove_history(&new_id()).await.unwrap();
}

async fn offsets_have_no_gap_and_no_twin(hot: &Arc<dyn HotState>) {
    let channel = new_id();
    let racing: Vec<_> = (0..32)
        .map(|_| {
            let (hot, channel) = (Arc::clone(hot), channel.clone());
            tokio::spawn(async move {
                let mut offsets = Vec::new();
                for number in 0..50 {
                    offsets.push(hot.append(&channel, publication(number), LIMITS).await.unwrap().offset);
                    tokio::task::yield_now().await;
                }
                assert!(offsets.is_sorted(), "one publisher's publications keep their order");
                offsets
            })
        })
        .collect();
    let mut all = BTreeSet::new();
    for racer in racing {
        all.extend(racer.await.unwrap());
    }
    assert_eq!(all, (1..=1600).collect());
}

async fn presence_comes_and_goes(hot: &dyn HotState) {
    let channel = new_id();
    let ttl = Duration::from_mins(1);
    let info = |client: &str, user: &str| ClientInfo {
        client: client.to_owned(),
        user: user.to_owned(),
        ..ClientInfo::default()
    };
    assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats::default());
    for (client, user) in [("1", "ana"), ("2", "ana"), ("3", "beto"), ("3", "beto")] {
        hot.add_presence(&channel, client, info(client, user), ttl).await.unwrap();
    }
    assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats { clients: 3, users: 2 });
    assert_eq!(hot.presence(&channel).await.unwrap()["2"], info("2", "ana"));
    hot.remove_presence(&channel, "1").await.unwrap();
    assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats { clients: 2, users: 2 });
    for client in ["2", "2", "3", "4"] {
        hot.remove_presence(&channel, client).await.unwrap();
    }
    assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats::default());
    assert!(hot.presence(&channel).await.unwrap().is_empty());
}

async fn presence_expires(hot: &dyn HotState) {
    let channel = new_id();
    let info = ClientInfo { user: "ana".to_owned(), ..ClientInfo::default() };
    hot.add_presence(&channel, "1", info.clone(), Duration::from_secs(1)).await.unwrap();
    hot.add_presence(&channel, "2", info, Duration::from_mins(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(hot.presence(&channel).await.unwrap().into_keys().collect::<Vec<_>>(), ["2"]);
    assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats { clients: 1, users: 1 });
}
