//! What the port to long histories promises, and what hot state with one behind it does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mundotango_protocol::{Publication, StreamPosition, new_id};
use tokio::task::JoinSet;

use crate::history::{HistoryRange, HistoryStore, MAX_HISTORY_TTL};
use crate::hot::{Append, ArchivedHotState, HistoryLimits, HistoryQuery, HotState};

const TTL: Duration = Duration::from_hours(24);
const ALL: HistoryRange = HistoryRange { above: 0, below: u64::MAX, limit: 10_000, reverse: false };
/// Little is hot, all is kept.
const LIMITS: HistoryLimits =
    HistoryLimits::new(5, Duration::from_mins(1), Duration::from_mins(10)).archived(TTL);

fn publication(offset: u64) -> Publication {
    Publication { offset, data: Bytes::from(offset.to_string()), ..Publication::default() }
}

async fn offsets(store: &dyn HistoryStore, channel: &str, range: HistoryRange) -> Vec<u64> {
    store.kept(channel, range).await.unwrap().iter().map(|kept| kept.offset).collect()
}

/// Runs the suite.
pub async fn history(store: Arc<dyn HistoryStore>) {
    reads_any_part(&*store).await;
    walks_over_holes(&*store).await;
    one_offset_of_two_epochs_is_kept_twice(&*store).await;
    publications_end(&*store).await;
    forgets_one_channel_and_goes_on(&*store).await;
}

async fn reads_any_part(store: &dyn HistoryStore) {
    let channel = new_id();
    assert!(store.kept(&channel, ALL).await.unwrap().is_empty());
    for offset in 1..=8 {
        store.keep(&channel, "e", publication(offset), TTL).await.unwrap();
    }
    store.keep(&channel, "e", publication(3), TTL).await.unwrap();
    assert_eq!(store.kept(&channel, ALL).await.unwrap()[2], publication(3), "as it was, and once");
    let back = HistoryRange { reverse: true, ..ALL };
    for (range, expected) in [
        (ALL, &[1, 2, 3, 4, 5, 6, 7, 8][..]),
        (HistoryRange { above: 6, ..ALL }, &[7, 8]),
        (HistoryRange { below: 3, ..ALL }, &[1, 2]),
        (HistoryRange { above: 2, below: 5, ..ALL }, &[3, 4]),
        (HistoryRange { above: 2, below: 3, ..ALL }, &[]),
        (HistoryRange { above: 5, below: 2, ..ALL }, &[]),
        (HistoryRange { above: u64::MAX, ..ALL }, &[]),
        (HistoryRange { below: 0, ..ALL }, &[]),
        (HistoryRange { limit: 0, ..ALL }, &[]),
        (HistoryRange { above: 1, limit: 2, ..ALL }, &[2, 3]),
        (HistoryRange { limit: 3, ..back }, &[8, 7, 6]),
        (HistoryRange { above: 2, below: 5, ..back }, &[4, 3]),
        (HistoryRange { below: 5, limit: 1, ..back }, &[4]),
    ] {
        assert_eq!(offsets(store, &channel, range).await, expected, "{range:?}");
    }
}

async fn walks_over_holes(store: &dyn HistoryStore) {
    let channel = new_id();
    // Further apart, and more of them, than any block or page of an engine.
    let kept: Vec<u64> = (0..150).map(|number| number * 1_700 + 999).collect();
    for offset in &kept {
        store.keep(&channel, "e", publication(*offset), TTL).await.unwrap();
    }
    assert_eq!(offsets(store, &channel, ALL).await, kept);
    let mut back = offsets(store, &channel, HistoryRange { reverse: true, ..ALL }).await;
    back.reverse();
    assert_eq!(back, kept);
    let range = HistoryRange { above: kept[10], below: kept[20], ..ALL };
    assert_eq!(offsets(store, &channel, range).await, kept[11..20]);
    let range = HistoryRange { limit: 90, ..range };
    assert_eq!(offsets(store, &channel, HistoryRange { below: kept[149], ..range }).await, kept[11..101]);
}

async fn one_offset_of_two_epochs_is_kept_twice(store: &dyn HistoryStore) {
    let channel = new_id();
    let other = Publication { data: Bytes::from_static(b"other"), ..publication(1) };
    store.keep(&channel, "a", publication(1), TTL).await.unwrap();
    store.keep(&channel, "b", other.clone(), TTL).await.unwrap();
    assert_eq!(store.kept(&channel, ALL).await.unwrap(), [publication(1), other]);
    assert!(offsets(store, &channel, HistoryRange { above: 1, ..ALL }).await.is_empty());
}

async fn publications_end(store: &dyn HistoryStore) {
    let channel = new_id();
    for offset in 1..=20 {
        store.keep(&channel, "e", publication(offset), Duration::from_secs(1)).await.unwrap();
    }
    store.keep(&channel, "e", publication(21), TTL).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(offsets(store, &channel, ALL).await, [21]);
    store.keep(&channel, "e", publication(22), TTL).await.unwrap();
    assert_eq!(offsets(store, &channel, ALL).await, [21, 22]);
}

async fn forgets_one_channel_and_goes_on(store: &dyn HistoryStore) {
    let (channel, other) = (new_id(), new_id());
    for offset in [1, 2, 1_001, 5_001] {
        store.keep(&channel, "e", publication(offset), TTL).await.unwrap();
    }
    store.keep(&other, "e", publication(1), TTL).await.unwrap();
    store.keep(&channel, "e", publication(5_002), TTL).await.unwrap();
    store.forget(&channel, 5_001).await.unwrap();
    store.forget(&new_id(), u64::MAX).await.unwrap();
    assert_eq!(offsets(store, &channel, ALL).await, [5_002], "what came after it stays");
    store.forget(&channel, 5_002).await.unwrap();
    assert!(offsets(store, &channel, ALL).await.is_empty());
    assert_eq!(offsets(store, &other, ALL).await, [1]);
    for offset in [3, 5_003] {
        store.keep(&channel, "e", publication(offset), MAX_HISTORY_TTL).await.unwrap();
    }
    assert_eq!(offsets(store, &channel, ALL).await, [3, 5_003], "also in a block that was there before");
}

/// What hot state with a store behind it does; `lost` is the same with its hot state lost.
pub async fn archived_hot_state(
    hot: Arc<dyn HotState>,
    lost: Arc<dyn HotState>,
    store: Arc<dyn HistoryStore>,
) {
    let whole = ArchivedHotState::new(hot, Arc::clone(&store));
    let after = ArchivedHotState::new(lost, store);
    all_is_read_in_any_part(&whole).await;
    goes_on_after_a_loss(&whole, &after).await;
    racers_go_on_from_one_place(after).await;
    what_is_removed_is_gone(&whole).await;
}

async fn append(hot: &dyn HotState, channel: &str, number: u64) -> StreamPosition {
    let publication = Publication { offset: 0, ..publication(number) };
    hot.append(channel, Append::new(publication, Some(LIMITS))).await.unwrap().into_position()
}

async fn read(hot: &dyn HotState, channel: &str, query: HistoryQuery) -> Vec<u64> {
    let page = hot.history(channel, query, LIMITS).await.unwrap();
    page.publications.iter().map(|kept| kept.offset).collect()
}

async fn all_is_read_in_any_part(hot: &dyn HotState) {
    let channel = new_id();
    for number in 1..=20 {
        assert_eq!(append(hot, &channel, number).await.offset, number);
    }
    for reverse in [false, true] {
        for since in [None, Some(0), Some(3), Some(14), Some(15), Some(16), Some(19), Some(20), Some(99)] {
            for limit in [None, Some(0), Some(1), Some(4), Some(8), Some(50)] {
                let wanted = |offset: &u64| {
                    since.is_none_or(|since| if reverse { *offset < since } else { *offset > since })
                };
                let mut expected: Vec<u64> = (1..=20).filter(wanted).collect();
                if reverse {
                    expected.reverse();
                }
                expected.truncate(limit.unwrap_or(usize::MAX));
                let query = HistoryQuery { since, limit, reverse };
                assert_eq!(read(hot, &channel, query).await, expected, "{query:?}");
            }
        }
    }
    let plain = HistoryLimits { archive_ttl: None, ..LIMITS };
    let page = hot.history(&channel, HistoryQuery::default(), plain).await.unwrap();
    assert_eq!(page.publications.len(), 5, "who does not ask for the store is not kept waiting by it");
}

async fn goes_on_after_a_loss(whole: &dyn HotState, after: &dyn HotState) {
    let channel = new_id();
    for number in 1..=7 {
        append(whole, &channel, number).await;
    }
    let before = append(whole, &channel, 8).await;
    // Its key is asked for again by one who was not told what became of it.
    let append_eight = Append {
        idempotency_key: Some("nine".to_owned()),
        ..Append::new(Publication { offset: 0, ..publication(9) }, Some(LIMITS))
    };
    let nine = whole.append(&channel, append_eight.clone()).await.unwrap().into_position();
    assert_eq!(whole.append(&channel, append_eight).await.unwrap().into_position(), nine);

    let page = after.history(&channel, HistoryQuery::default(), LIMITS).await.unwrap();
    assert_ne!(page.position.epoch, before.epoch, "clients learn that something may be missing");
    assert!(page.position.offset > nine.offset);
    let kept: Vec<_> = page.publications.iter().map(|kept| kept.data.clone()).collect();
    assert_eq!(kept, (1..=9).map(|number: u64| Bytes::from(number.to_string())).collect::<Vec<_>>());
    let next = append(after, &channel, 10).await;
    assert_eq!((next.offset, &next.epoch), (page.position.offset + 1, &page.position.epoch));
    let newest = HistoryQuery { reverse: true, limit: Some(3), since: None };
    assert_eq!(read(after, &channel, newest).await, [next.offset, 9, 8]);
}

async fn racers_go_on_from_one_place(after: ArchivedHotState) {
    let (channel, hot) = (new_id(), Arc::new(after));
    let mut racers = JoinSet::new();
    for number in 0..32 {
        let (channel, hot) = (channel.clone(), Arc::clone(&hot));
        racers.spawn(async move { append(&*hot, &channel, number).await });
    }
    let positions = racers.join_all().await;
    let mut given: Vec<_> = positions.iter().map(|position| position.offset).collect();
    given.sort_unstable();
    assert_eq!(given, (1..=32).collect::<Vec<_>>());
    assert!(positions.iter().all(|position| position.epoch == positions[0].epoch));
    assert_eq!(read(&*hot, &channel, HistoryQuery::default()).await, given);
}

async fn what_is_removed_is_gone(hot: &dyn HotState) {
    let channel = new_id();
    for number in 1..=9 {
        append(hot, &channel, number).await;
    }
    hot.remove_history(&channel, LIMITS).await.unwrap();
    assert!(read(hot, &channel, HistoryQuery::default()).await.is_empty());
    assert_eq!(append(hot, &channel, 10).await.offset, 10);
    assert_eq!(read(hot, &channel, HistoryQuery::default()).await, [10]);
}
