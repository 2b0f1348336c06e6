//! What the port to hot state promises.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use mundotango_protocol::{ClientInfo, Publication, StreamPosition};

use super::new_id;
use crate::StoreError;
use crate::hot::{
    Append, Appended, HistoryLimits, HistoryQuery, HotState, IfMissing, PresenceStats, Present, Quota,
    Version,
};

const LIMITS: HistoryLimits = HistoryLimits::new(100, Duration::from_mins(1), Duration::from_mins(10));

fn publication(number: u64) -> Publication {
    Publication { data: Bytes::from(number.to_string()), ..Publication::default() }
}

async fn append(
    hot: &dyn HotState,
    channel: &str,
    publication: Publication,
    limits: HistoryLimits,
) -> StreamPosition {
    hot.append(channel, Append::new(publication, Some(limits))).await.unwrap().into_position()
}

async fn offsets(hot: &dyn HotState, channel: &str, query: HistoryQuery) -> Vec<u64> {
    let page = hot.history(channel, query, LIMITS).await.unwrap();
    page.publications.iter().map(|kept| kept.offset).collect()
}

/// Runs the suite.
pub async fn hot_state(hot: Arc<dyn HotState>) {
    a_new_history_has_an_epoch(&*hot).await;
    a_forgotten_history_has_another_epoch(&*hot).await;
    a_history_starts_where_it_is_told(&*hot).await;
    reads_parts_of_a_history(&*hot).await;
    trims_to_its_size(&*hot).await;
    publications_expire(&*hot).await;
    removed_history_keeps_its_place(&*hot).await;
    a_renewed_history_is_another(&*hot).await;
    offsets_have_no_gap_and_no_twin(&hot).await;
    presence_comes_and_goes(&*hot).await;
    presence_expires(&*hot).await;
    many_are_present(&*hot).await;
    any_text_is_a_users_id(&*hot).await;
    a_key_publishes_once(&hot).await;
    an_old_version_is_not_published(&*hot).await;
    users_come_and_go(&*hot).await;
    many_users_come_and_go(&*hot).await;
    a_quota_is_kept(&hot).await;
}

async fn a_new_history_has_an_epoch(hot: &dyn HotState) {
    let channel = new_id();
    let empty = hot.history(&channel, HistoryQuery::default(), LIMITS).await.unwrap();
    assert_eq!((empty.position.offset, empty.publications.len()), (0, 0));
    assert!(!empty.position.epoch.is_empty());
    let first = append(hot, &channel, publication(1), LIMITS).await;
    assert_eq!((first.offset, &first.epoch), (1, &empty.position.epoch));
    let again = hot.history(&channel, HistoryQuery::default(), LIMITS).await.unwrap();
    assert_eq!(again.position, first);
    let other = append(hot, &new_id(), publication(1), LIMITS).await;
    assert_ne!(other.epoch, first.epoch);
}

/// A client that stood in a forgotten history must not take the next one for it.
async fn a_forgotten_history_has_another_epoch(hot: &dyn HotState) {
    let channel = new_id();
    let limits = HistoryLimits::new(100, Duration::from_secs(1), Duration::from_secs(1));
    let before = append(hot, &channel, publication(1), limits).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let read = hot.history(&channel, HistoryQuery::default(), limits).await.unwrap();
    assert_eq!((read.position.offset, read.publications.len()), (0, 0));
    assert_ne!(read.position.epoch, before.epoch);
    let after = append(hot, &channel, publication(2), limits).await;
    assert_eq!(after.offset, 1);
    assert_ne!(after.epoch, before.epoch);
}

async fn a_history_starts_where_it_is_told(hot: &dyn HotState) {
    let channel = new_id();
    let limits = |if_missing| HistoryLimits { if_missing, ..LIMITS };
    let fail = limits(IfMissing::Fail);
    let read = hot.history(&channel, HistoryQuery::default(), fail).await;
    assert!(matches!(read, Err(StoreError::NotBegun)), "{read:?}");
    let appended = hot.append(&channel, Append::new(publication(1), Some(fail))).await;
    assert!(matches!(appended, Err(StoreError::NotBegun)), "{appended:?}");
    let renewed = hot.renew_history(&channel, "epoch", fail).await;
    assert!(matches!(renewed, Err(StoreError::NotBegun)), "{renewed:?}");

    let start = limits(IfMissing::StartAt(7));
    let read = hot.history(&channel, HistoryQuery::default(), start).await.unwrap();
    assert_eq!(read.position.offset, 7);
    let first = append(hot, &channel, publication(1), fail).await;
    assert_eq!((first.offset, &first.epoch), (8, &read.position.epoch));
    let appended = append(hot, &new_id(), publication(1), start).await;
    assert_eq!(appended.offset, 8);
    let renewed = new_id();
    hot.renew_history(&renewed, "epoch", start).await.unwrap();
    let first = append(hot, &renewed, publication(1), fail).await;
    assert_eq!((first.offset, first.epoch.as_str()), (8, "epoch"));
}

async fn reads_parts_of_a_history(hot: &dyn HotState) {
    let channel = new_id();
    for number in 1..=5 {
        append(hot, &channel, publication(number), LIMITS).await;
    }
    let page = hot.history(&channel, HistoryQuery::default(), LIMITS).await.unwrap();
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
        (since(u64::MAX), &[]),
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
        let position = append(hot, &channel, publication(number), limits).await;
        assert_eq!(position.offset, number);
    }
    assert_eq!(offsets(hot, &channel, HistoryQuery::default()).await, [8, 9, 10]);
    let since = HistoryQuery { since: Some(8), ..HistoryQuery::default() };
    assert_eq!(offsets(hot, &channel, since).await, [9, 10]);
}

async fn publications_expire(hot: &dyn HotState) {
    let channel = new_id();
    let limits = HistoryLimits { ttl: Duration::from_secs(1), ..LIMITS };
    let before = append(hot, &channel, publication(1), limits).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let page = hot.history(&channel, HistoryQuery::default(), LIMITS).await.unwrap();
    assert!(page.publications.is_empty());
    assert_eq!(page.position, before, "offset and epoch outlive the publications");
    let after = append(hot, &channel, publication(2), limits).await;
    assert_eq!((after.offset, after.epoch), (2, before.epoch));
}

async fn removed_history_keeps_its_place(hot: &dyn HotState) {
    let channel = new_id();
    let before = append(hot, &channel, publication(1), LIMITS).await;
    hot.remove_history(&channel, LIMITS).await.unwrap();
    let page = hot.history(&channel, HistoryQuery::default(), LIMITS).await.unwrap();
    assert_eq!((page.publications.len(), page.position), (0, before));
    hot.remove_history(&new_id(), LIMITS).await.unwrap();
}

async fn a_renewed_history_is_another(hot: &dyn HotState) {
    let channel = new_id();
    let before = append(hot, &channel, publication(1), LIMITS).await;
    let epoch = new_id();
    hot.renew_history(&channel, &epoch, LIMITS).await.unwrap();
    let page = hot.history(&channel, HistoryQuery::default(), LIMITS).await.unwrap();
    assert_ne!(page.position.epoch, before.epoch);
    assert_eq!((page.position.offset, page.publications.len()), (1, 0));
    let after = append(hot, &channel, publication(2), LIMITS).await;
    assert_eq!((after.offset, &after.epoch), (2, &epoch));
    hot.renew_history(&channel, &epoch, LIMITS).await.unwrap();
    assert_eq!(offsets(hot, &channel, HistoryQuery::default()).await, [2], "renewed once");
    hot.renew_history(&new_id(), &epoch, LIMITS).await.unwrap();
}

async fn offsets_have_no_gap_and_no_twin(hot: &Arc<dyn HotState>) {
    let channel = new_id();
    let racing: Vec<_> = (0..32)
        .map(|_| {
            let (hot, channel) = (Arc::clone(hot), channel.clone());
            tokio::spawn(async move {
                let mut offsets = Vec::new();
                for number in 0..50 {
                    offsets.push(append(&*hot, &channel, publication(number), LIMITS).await.offset);
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

fn present(client: &str, user: &str) -> Present {
    let info = ClientInfo { client: client.to_owned(), user: user.to_owned(), ..ClientInfo::default() };
    Present { client: client.to_owned(), info }
}

async fn presence_comes_and_goes(hot: &dyn HotState) {
    let channel = new_id();
    let ttl = Duration::from_mins(1);
    assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats::default());
    hot.add_presence(&channel, &[present("1", "ana"), present("2", "ana")], ttl).await.unwrap();
    hot.add_presence(&channel, &[present("3", "beto"), present("3", "beto")], ttl).await.unwrap();
    hot.add_presence(&channel, &[], ttl).await.unwrap();
    assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats { clients: 3, users: 2 });
    assert_eq!(hot.presence(&channel).await.unwrap()["2"], present("2", "ana").info);
    hot.remove_presence(&channel, &["1".to_owned()]).await.unwrap();
    assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats { clients: 2, users: 2 });
    hot.remove_presence(&channel, &["2", "2", "3", "4"].map(str::to_owned)).await.unwrap();
    assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats::default());
    assert!(hot.presence(&channel).await.unwrap().is_empty());
}

async fn presence_expires(hot: &dyn HotState) {
    let channel = new_id();
    hot.add_presence(&channel, &[present("1", "ana")], Duration::from_secs(1)).await.unwrap();
    hot.add_presence(&channel, &[present("2", "ana")], Duration::from_mins(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(hot.presence(&channel).await.unwrap().into_keys().collect::<Vec<_>>(), ["2"]);
    assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats { clients: 1, users: 1 });
}

async fn many_are_present(hot: &dyn HotState) {
    let channel = new_id();
    let all: Vec<_> =
        (0..1200).map(|number| present(&number.to_string(), &(number % 400).to_string())).collect();
    hot.add_presence(&channel, &all, Duration::from_mins(1)).await.unwrap();
    hot.add_presence(&channel, &all[100..1200], Duration::from_mins(1)).await.unwrap();
    assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats { clients: 1200, users: 400 });
    let listed = hot.presence(&channel).await.unwrap();
    assert_eq!(listed.len(), 1200);
    assert!(all.iter().all(|present| listed[&present.client] == present.info));
    let clients: Vec<_> = all[..1199].iter().map(|present| present.client.clone()).collect();
    hot.remove_presence(&channel, &clients).await.unwrap();
    assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats { clients: 1, users: 1 });
    assert_eq!(hot.presence(&channel).await.unwrap().into_keys().collect::<Vec<_>>(), ["1199"]);
}

async fn any_text_is_a_users_id(hot: &dyn HotState) {
    // A channel's name as well.
    let channel = format!("}}{}\0|:", new_id());
    for user in ["", "|", "a|b", "\0", "a\0|b", "line\nbreak", "{}", "ñ"] {
        hot.add_presence(&channel, &[present("1", user)], Duration::from_mins(1)).await.unwrap();
        assert_eq!(hot.presence(&channel).await.unwrap()["1"].user, user);
        assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats { clients: 1, users: 1 });
        hot.remove_presence(&channel, &["1".to_owned()]).await.unwrap();
        assert_eq!(hot.presence_stats(&channel).await.unwrap(), PresenceStats::default(), "{user:?}");
    }
    assert_eq!(append(hot, &channel, publication(1), LIMITS).await.offset, 1);
}

async fn a_key_publishes_once(hot: &Arc<dyn HotState>) {
    for limits in [Some(LIMITS), None] {
        let channel = new_id();
        let keyed = |key: &str| Append {
            idempotency_key: Some(key.to_owned()),
            ..Append::new(publication(1), limits)
        };
        let racing: Vec<_> = (0..16)
            .map(|_| {
                let (hot, channel, append) = (Arc::clone(hot), channel.clone(), keyed("one"));
                tokio::spawn(async move { hot.append(&channel, append).await.unwrap() })
            })
            .collect();
        let mut new = 0;
        for racer in racing {
            match racer.await.unwrap() {
                Appended::New(_) => new += 1,
                Appended::Repeated(position) => assert_eq!(position.offset, u64::from(limits.is_some())),
                Appended::Outdated(position) => panic!("outdated at {position:?}"),
            }
        }
        assert_eq!(new, 1);
        assert!(matches!(hot.append(&channel, keyed("two")).await.unwrap(), Appended::New(_)));
        assert!(matches!(hot.append(&new_id(), keyed("one")).await.unwrap(), Appended::New(_)));
    }
}

async fn an_old_version_is_not_published(hot: &dyn HotState) {
    let channel = new_id();
    let versioned = async |number, epoch: &str| {
        let version = Some(Version { number, epoch: epoch.to_owned() });
        hot.append(&channel, Append { version, ..Append::new(publication(number), Some(LIMITS)) })
            .await
            .unwrap()
    };
    for (number, epoch, offset, published) in
        [(2, "", 1, true), (2, "", 1, false), (1, "", 1, false), (3, "", 2, true), (1, "other", 3, true)]
    {
        match versioned(number, epoch).await {
            Appended::New(position) => assert!(published && position.offset == offset),
            Appended::Outdated(position) => assert!(!published && position.offset == offset),
            Appended::Repeated(position) => panic!("repeated at {position:?}"),
        }
    }
    assert_eq!(append(hot, &channel, publication(9), LIMITS).await.offset, 4, "without a version");
}

async fn users_come_and_go(hot: &dyn HotState) {
    let (user, nobody) = (new_id(), new_id());
    let start = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap();
    let status = async || hot.user_statuses(&[user.clone(), nobody.clone()]).await.unwrap();
    assert!(status().await.is_empty());
    hot.set_user_online(&user, true).await.unwrap();
    let online = status().await[&user];
    assert!(online.online_since.is_some_and(|since| since >= start));
    tokio::time::sleep(Duration::from_millis(20)).await;
    hot.set_user_online(&user, true).await.unwrap();
    assert_eq!(status().await[&user].online_since, online.online_since, "without a break");
    hot.set_user_online(&user, false).await.unwrap();
    let offline = status().await;
    assert_eq!(offline.len(), 1);
    assert!(offline[&user].online_since.is_none() && offline[&user].last_seen > online.last_seen);
}

async fn many_users_come_and_go(hot: &dyn HotState) {
    let users: Vec<_> = (0..600).map(|_| new_id()).collect();
    hot.set_users_online(&users, true).await.unwrap();
    let online = hot.user_statuses(&users).await.unwrap();
    assert!(online.len() == 600 && online.values().all(|status| status.online_since.is_some()));
    hot.set_users_online(&users, false).await.unwrap();
    let offline = hot.user_statuses(&users).await.unwrap();
    assert!(offline.len() == 600 && offline.values().all(|status| status.online_since.is_none()));
    hot.set_users_online(&[], true).await.unwrap();
}

async fn a_quota_is_kept(hot: &Arc<dyn HotState>) {
    let key = new_id();
    let quota = Quota { limit: 10, window: Duration::from_secs(2) };
    let racing: Vec<_> = (0..32)
        .map(|_| {
            let (hot, key) = (Arc::clone(hot), key.clone());
            tokio::spawn(async move { hot.take(&key, quota).await.unwrap() })
        })
        .collect();
    let start = Instant::now();
    let mut taken = 0;
    for racer in racing {
        match racer.await.unwrap() {
            None => taken += 1,
            Some(wait) => assert!(wait <= quota.window, "{wait:?}"),
        }
    }
    // What became free while they raced may have been taken too.
    let most = 10 + start.elapsed().as_millis() / 200 + 1;
    assert!((10..=most).contains(&taken), "{taken} taken");
    assert_eq!(hot.take(&new_id(), quota).await.unwrap(), None, "each key has its own");
    let wait = loop {
        if let Some(wait) = hot.take(&key, quota).await.unwrap() {
            break wait;
        }
    };
    tokio::time::sleep(wait + Duration::from_millis(20)).await;
    assert_eq!(hot.take(&key, quota).await.unwrap(), None, "one is there again");
}

/// What a node says goes with it. `hot` and `other` are the same hot state as two nodes see it; `node` is the first's.
pub async fn shared_hot_state(hot: Arc<dyn HotState>, node: &str, other: Arc<dyn HotState>) {
    let (channel, ttl) = (new_id(), Duration::from_mins(1));
    let (ana, beto) = (new_id(), new_id());
    hot.add_presence(&channel, &[present("1", &ana), present("2", &beto)], ttl).await.unwrap();
    other.add_presence(&channel, &[present("3", &ana)], ttl).await.unwrap();
    for who in [&ana, &beto] {
        hot.set_user_online(who, true).await.unwrap();
    }
    other.set_user_online(&ana, true).await.unwrap();
    assert_eq!(other.presence_stats(&channel).await.unwrap(), PresenceStats { clients: 3, users: 2 });
    other.remove_presence(&channel, &["1".to_owned()]).await.unwrap();
    assert_eq!(other.presence(&channel).await.unwrap().len(), 3, "a node takes away its own alone");

    let crowd = new_id();
    let many: Vec<_> = (0..700).map(|number| present(&number.to_string(), "many")).collect();
    hot.add_presence(&crowd, &many, ttl).await.unwrap();
    other.add_presence(&crowd, &[present("other", "many")], ttl).await.unwrap();
    assert!(!hot.beat().await.unwrap().forgotten);
    assert!(!other.beat().await.unwrap().forgotten);

    let (mut gone, crowded): (Vec<_>, Vec<_>) =
        other.forget_node(node).await.unwrap().into_iter().partition(|(name, _)| *name == channel);
    gone.sort_by(|a, b| a.1.client.cmp(&b.1.client));
    assert_eq!(
        gone,
        [(channel.clone(), present("1", &ana).info), (channel.clone(), present("2", &beto).info)]
    );
    assert!(crowded.len() == 700 && crowded.iter().all(|(name, _)| *name == crowd));
    assert_eq!(other.presence_stats(&crowd).await.unwrap(), PresenceStats { clients: 1, users: 1 });
    assert!(hot.beat().await.unwrap().forgotten, "so that the node says all again");
    assert!(!hot.beat().await.unwrap().forgotten);
    assert!(!other.beat().await.unwrap().forgotten);
    assert_eq!(other.presence_stats(&channel).await.unwrap(), PresenceStats { clients: 1, users: 1 });
    let statuses = other.user_statuses(&[ana.clone(), beto.clone()]).await.unwrap();
    assert!(statuses[&ana].online_since.is_some(), "she has a session elsewhere");
    assert!(statuses[&beto].online_since.is_none());
    assert!(other.forget_node(node).await.unwrap().is_empty());

    let position = append(&*hot, &channel, publication(1), LIMITS).await;
    let next = append(&*other, &channel, publication(2), LIMITS).await;
    assert_eq!((next.offset, &next.epoch), (position.offset + 1, &position.epoch));
}
