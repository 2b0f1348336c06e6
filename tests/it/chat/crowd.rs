//! A group of 1,000 members in which much is said.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mundotango::community::chat::blocks::NewMessage;
use mundotango::community::chat::members::MembersChange;
use mundotango::community::chat::rules::{MOST_ADDED, MOST_MEMBERS};
use mundotango::community::chat::store::ChatStore;
use mundotango::community::effects::Effect;
use mundotango::schema::schema;
use mundotango_protocol::new_id;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::now;

/// Messages in a second, and for how many seconds, unless `MUNDOTANGO_CROWD_SECONDS` says otherwise.
const A_SECOND: usize = 100;
const SECONDS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_a_thousand_takes_a_hundred_messages_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default(), &schema()).unwrap();
    let store = ChatStore::new(store.stores().db);
    let (id, owner) = (new_id(), new_id());
    let began = Instant::now();
    let (chat, _) = store.create_group(&id, &owner, "Camp".to_owned(), false, now()).await.unwrap();
    let mut users = vec![owner];
    while users.len() < MOST_MEMBERS {
        let some = MOST_ADDED.min(MOST_MEMBERS - users.len());
        let more: Vec<_> = (0..some).map(|_| new_id()).collect();
        let people = more.iter().map(|user| (user.clone(), true)).collect();
        let told = |_: &MembersChange| Effect::publish("chat:x", &());
        store.add_members(&chat, &users[0], people, now(), told).await.unwrap();
        users.extend(more);
    }
    println!("a group of {} in {:?}", users.len(), began.elapsed());
    let seconds = std::env::var("MUNDOTANGO_CROWD_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let all = A_SECOND * seconds.unwrap_or(SECONDS);
    let start = tokio::time::Instant::now();
    let sending = (0..all).map(|number| {
        let (store, chat, author) = (&store, &chat, users[number * 7 % users.len()].clone());
        async move {
            tokio::time::sleep_until(start + Duration::from_millis(number as u64 * 1_000 / A_SECOND as u64))
                .await;
            let new = NewMessage {
                id: new_id(),
                at: now(),
                author,
                text: Some("¿Quién baila?".to_owned()),
                attachments: Vec::new(),
                reply_to: None,
                mentions: Vec::new(),
                most_before: None,
            };
            let sent = Instant::now();
            let (seq, _) = store.send(&chat.id, new, |_, _| Effect::publish("chat:x", &())).await.unwrap();
            (seq, sent.elapsed())
        }
    });
    let mut sent = join_all(sending).await;
    sent.sort_unstable();
    assert!(sent.iter().map(|(seq, _)| *seq).eq(1..=all as u64), "without holes");
    let mut times: Vec<_> = sent.into_iter().map(|(_, time)| time).collect();
    times.sort_unstable();
    println!("{all} messages: half within {:?}, all within {:?}", times[all / 2], times[all - 1]);
}
