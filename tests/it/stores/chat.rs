//! What conversations between people promise.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use jiff::SignedDuration;
use mundotango::community::chat::blocks::NewMessage;
use mundotango::community::chat::error::ChatError;
use mundotango::community::chat::history::Direction;
use mundotango::community::chat::inbox::{InboxStore, News};
use mundotango::community::chat::kinds::{ListState, Listed, Member, Message};
use mundotango::community::chat::members::MembersChange;
use mundotango::community::chat::room::{MOST_OFFERS, MOST_OFFERS_OF_ONE};
use mundotango::community::chat::rules::{ChatRole, MOST_ADDED, MOST_MEMBERS};
use mundotango::community::chat::store::{Chat, ChatStore, Reach};
use mundotango::community::effects::Effect;
use mundotango::community::posts::rules::ReactionType;
use mundotango::community::search::kinds::{MESSAGE, message_id};
use mundotango::community::search::sources::sources;
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::{StoreError, now};

/// Messages that are sent at the same time.
const AT_ONCE: usize = 100;

fn told(_: u64, _: &Message) -> Result<Effect, StoreError> {
    Effect::publish("chat:x", &())
}

fn members_told(_: &MembersChange) -> Result<Effect, StoreError> {
    Effect::publish("chat:x", &())
}

fn message(author: &str, text: &str) -> NewMessage {
    NewMessage {
        id: new_id(),
        at: now(),
        author: author.to_owned(),
        text: Some(text.to_owned()),
        attachments: Vec::new(),
        reply_to: None,
        mentions: Vec::new(),
        most_before: None,
    }
}

/// A group of an owner and others.
async fn group(store: &ChatStore, owner: &str, others: &[&str], history_for_new: bool) -> Chat {
    let id = new_id();
    let (chat, is_new) =
        store.create_group(&id, owner, "Camp".to_owned(), history_for_new, now()).await.unwrap();
    assert!(is_new);
    let people: BTreeMap<_, _> = others.iter().map(|user| ((*user).to_owned(), false)).collect();
    let added = store.add_members(&chat, owner, people, now(), members_told).await.unwrap();
    assert_eq!(added.len(), others.len());
    chat
}

async fn seen(store: &ChatStore, chat: &Chat, user: &str) -> Vec<u64> {
    let (found, member) = store.chat(&chat.id, user).await.unwrap().unwrap();
    let spans = member.unwrap().spans;
    let last = store.last(&chat.id, found.head.block).await.unwrap();
    let all = store.messages(&chat.id, &spans, last, Direction::After(0), 5_000).await.unwrap();
    let back = store.messages(&chat.id, &spans, last, Direction::Before(u64::MAX), 5_000).await.unwrap();
    let seqs: Vec<_> = all.iter().map(|(seq, _)| *seq).collect();
    assert!(back.iter().rev().map(|(seq, _)| *seq).eq(seqs.iter().copied()), "the same in both directions");
    seqs
}

/// Runs the suite.
pub async fn chat(nodes: &[Db; 2]) {
    let stores = nodes.clone().map(ChatStore::new);
    a_pair_has_one_conversation(&stores).await;
    Box::pin(messages_are_numbered_over_blocks_and_sent_once(&stores)).await;
    Box::pin(each_sees_what_was_said_while_a_member(&stores[0])).await;
    Box::pin(nobody_writes_after_being_removed(&stores)).await;
    Box::pin(messages_change_and_go(&stores[0])).await;
    owners_and_admins(&stores[0]).await;
    a_group_is_offered_until_it_is_answered(&stores[0]).await;
    Box::pin(unread_equals_a_recount(&stores[0])).await;
    Box::pin(lists_hear_and_have_bounds(&nodes[0])).await;
    Box::pin(all_that_was_said_is_searched_for(&nodes[0])).await;
}

async fn all_that_was_said_is_searched_for(db: &Db) {
    let (store, ana) = (ChatStore::new(db.clone()), new_id());
    let mut wanted = BTreeSet::new();
    for _ in 0..3 {
        let chat = group(&store, &ana, &[], false).await;
        for text in ["uno", "dos", "tres"] {
            let (seq, _) = store.send(&chat.id, message(&ana, text), told).await.unwrap();
            wanted.insert(message_id(&chat.id, seq));
        }
        store.delete(&chat.id, 2, now(), told).await.unwrap();
    }
    let sources = sources(db);
    let source = sources.iter().find(|source| source.kind() == MESSAGE).unwrap();
    let (mut found, mut from) = (BTreeMap::new(), None);
    loop {
        let page = source.ids(from.as_deref()).await.unwrap();
        assert!(page.items.len() < 2_000, "a page is of two blocks at most");
        let documents = source.documents(&page.items).await.unwrap();
        found.extend(page.items.into_iter().zip(documents));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    for id in wanted {
        let text = found[&id].as_ref().map(|document| document.text.as_str());
        assert_eq!(text.is_some(), !id.ends_with(":2"), "{id}: {text:?}");
    }
}

async fn a_pair_has_one_conversation(stores: &[ChatStore; 2]) {
    let (ana, ben) = (new_id(), new_id());
    let begun = (0..8).map(|number| {
        let (by, other) = if number % 2 == 0 { (&ana, &ben) } else { (&ben, &ana) };
        stores[number % 2].create_direct(by, other, false, now())
    });
    let begun: Vec<_> = join_all(begun).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(begun.iter().filter(|(_, is_new)| *is_new).count(), 1);
    assert!(begun.iter().all(|(chat, _)| chat.id == begun[0].0.id && chat.head == begun[0].0.head));
    let store = &stores[0];
    let chat = begun[0].0.clone();
    let (asker, asked) = if chat.waits_for(&ana) { (&ben, &ana) } else { (&ana, &ben) };
    assert_eq!(store.may_reach(asker, asked, None).await.unwrap(), Reach::Request);
    assert_eq!(store.may_reach(asked, asker, None).await.unwrap(), Reach::Open);
    let limited = |text| NewMessage { most_before: Some(1), ..message(asker, text) };
    store.send(&chat.id, limited("Hola"), told).await.unwrap();
    let refused = store.send(&chat.id, limited("Hola?"), told).await;
    assert!(matches!(refused, Err(ChatError::Pending)), "{refused:?}");
    assert!(matches!(store.answer(&chat.id, asker, true).await, Err(ChatError::Conflict(_))));
    store.answer(&chat.id, asked, false).await.unwrap();
    assert_eq!(store.may_reach(asker, asked, None).await.unwrap(), Reach::Never);
    store.answer(&chat.id, asked, true).await.unwrap();
    assert_eq!(store.may_reach(asker, asked, None).await.unwrap(), Reach::Open);
    let stranger = store.send(&chat.id, message(&new_id(), "x"), told).await;
    assert!(matches!(stranger, Err(ChatError::NotFound(_))), "{stranger:?}");
}

async fn messages_are_numbered_over_blocks_and_sent_once(stores: &[ChatStore; 2]) {
    let (ana, ben) = (new_id(), new_id());
    let chat = group(&stores[0], &ana, &[&ben], false).await;
    let first = message(&ana, "first");
    let (seq, _) = stores[0].send(&chat.id, first.clone(), told).await.unwrap();
    assert_eq!(seq, 1);
    let mut sent = BTreeSet::from([1]);
    let mut texts = BTreeSet::from(["first".to_owned()]);
    for round in 0..11 {
        let sending = (0..AT_ONCE).map(|number| {
            let author = if number % 2 == 0 { &ana } else { &ben };
            stores[number % 2].send(&chat.id, message(author, &format!("{round}.{number}")), told)
        });
        for outcome in join_all(sending).await {
            let (seq, message) = outcome.unwrap();
            assert!(sent.insert(seq), "{seq} twice");
            assert!(texts.insert(message.text.unwrap()));
        }
    }
    let all = 11 * AT_ONCE as u64 + 1;
    assert_eq!(sent, (1..=all).collect(), "without holes");
    assert_eq!(seen(&stores[1], &chat, &ben).await, (1..=all).collect::<Vec<_>>());
    // The request of the first message runs once more, though its block is full by now.
    let (again, message) = stores[1].send(&chat.id, first, told).await.unwrap();
    assert_eq!((again, message.text.as_deref()), (1, Some("first")));
    let (found, _) = stores[0].chat(&chat.id, &ana).await.unwrap().unwrap();
    assert_eq!((found.head.block, stores[0].last(&chat.id, 0).await.unwrap()), (1, all));
}

async fn each_sees_what_was_said_while_a_member(store: &ChatStore) {
    let (ana, ben, cam) = (new_id(), new_id(), new_id());
    let chat = group(store, &ana, &[], false).await;
    let say = async |author: &str| store.send(&chat.id, message(author, "x"), told).await.map(|(seq, _)| seq);
    let add = async |user: &str| {
        let people = BTreeMap::from([(user.to_owned(), false)]);
        store.add_members(&chat, &ana, people, now(), members_told).await.unwrap();
    };
    for _ in 0..3 {
        say(&ana).await.unwrap();
    }
    add(&ben).await;
    assert!(seen(store, &chat, &ben).await.is_empty());
    for author in [&ana, &ben] {
        say(author).await.unwrap();
    }
    store.remove_member(&chat, &ana, &ben, members_told).await.unwrap();
    store.remove_member(&chat, &ana, &ben, members_told).await.unwrap();
    say(&ana).await.unwrap();
    assert!(matches!(say(&ben).await, Err(ChatError::NotFound(_))));
    assert_eq!(seen(store, &chat, &ben).await, [4, 5]);
    add(&ben).await;
    say(&ben).await.unwrap();
    assert_eq!(seen(store, &chat, &ben).await, [4, 5, 7], "not what was said meanwhile");
    store.change_group(&chat.id, None, Some(true), |_| Effect::publish("chat:x", &())).await.unwrap();
    add(&cam).await;
    assert_eq!(seen(store, &chat, &cam).await, (1..=7).collect::<Vec<_>>());
    let (found, _) = store.chat(&chat.id, &ana).await.unwrap().unwrap();
    assert_eq!((found.head.members, found.head.known), (3, 3));
    assert_eq!(store.all_members(&chat.id).await.unwrap().len(), 3);
}

/// Members write as fast as they can while they are removed one after the other.
async fn nobody_writes_after_being_removed(stores: &[ChatStore; 2]) {
    let owner = new_id();
    let users: Vec<_> = (0..4).map(|_| new_id()).collect();
    let others: Vec<_> = users.iter().map(String::as_str).collect();
    let chat = group(&stores[0], &owner, &others, false).await;
    let writing = users.iter().enumerate().map(async |(number, user)| {
        for text in 0..200 {
            let sent = stores[number % 2].send(&chat.id, message(user, &text.to_string()), told).await;
            match sent {
                Ok(_) => {}
                Err(ChatError::NotFound(_)) => return,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let removing = async {
        let mut ends = Vec::new();
        for user in &users {
            stores[1].send(&chat.id, message(&owner, "x"), told).await.unwrap();
            stores[0].remove_member(&chat, &owner, user, members_told).await.unwrap();
            // Whatever is written from here on has a greater number.
            ends.push(stores[0].last(&chat.id, 0).await.unwrap());
        }
        ends
    };
    let (_, ends) = tokio::join!(join_all(writing), removing);
    for _ in 0..3 {
        stores[0].send(&chat.id, message(&owner, "after"), told).await.unwrap();
    }
    for seq in seen(&stores[1], &chat, &owner).await {
        let message = stores[1].message(&chat.id, seq).await.unwrap().unwrap();
        if let Some(place) = users.iter().position(|user| *user == message.author) {
            assert!(seq <= ends[place], "{seq} was written after {}", ends[place]);
        }
    }
}

async fn messages_change_and_go(store: &ChatStore) {
    let (ana, ben) = (new_id(), new_id());
    let chat = group(store, &ana, &[&ben], false).await;
    let (seq, sent) = store.send(&chat.id, message(&ana, "Hola"), told).await.unwrap();
    let answer = NewMessage {
        reply_to: Some(seq),
        mentions: vec![ana.clone()],
        attachments: vec!["https://example.com/a.jpg".to_owned()],
        ..message(&ben, "Hola!")
    };
    store.send(&chat.id, answer.clone(), told).await.unwrap();
    for wrong in [
        NewMessage { id: new_id(), reply_to: Some(9), ..answer.clone() },
        NewMessage { id: new_id(), mentions: vec![new_id()], ..answer },
    ] {
        assert!(matches!(store.send(&chat.id, wrong, told).await, Err(ChatError::Field(..))));
    }
    let edited = store.edit(&chat.id, seq, "Buenas".to_owned(), now(), told).await.unwrap();
    assert_eq!((edited.text.as_deref(), edited.rev, edited.version), (Some("Buenas"), 1, sent.version + 1));
    let same = store.edit(&chat.id, seq, "Buenas".to_owned(), now(), told).await.unwrap();
    assert_eq!(same.version, edited.version);
    let react = async |user: &str, reaction| store.react(&chat.id, seq, user, reaction, told).await;
    react(&ben, Some(ReactionType::Like)).await.unwrap();
    let reacted = react(&ben, Some(ReactionType::Heart)).await.unwrap();
    assert_eq!(reacted.reactions, BTreeMap::from([(ReactionType::Heart, 1)]));
    let own = store.reactions_of(&chat.id, &ben, &[(seq, reacted)]).await.unwrap();
    assert_eq!(own, [Some(ReactionType::Heart)]);
    let gone = store.delete(&chat.id, seq, now(), told).await.unwrap();
    assert!(gone.text.is_none() && gone.reactions.is_empty() && gone.deleted_at.is_some());
    assert!(matches!(react(&ben, None).await, Err(ChatError::Conflict(_))));
    assert!(matches!(
        store.edit(&chat.id, seq, "x".to_owned(), now(), told).await,
        Err(ChatError::Conflict(_))
    ));
    assert_eq!(seen(store, &chat, &ben).await, [1, 2], "the place stays");
    // Of another one the earlier texts and the reactions are kept.
    let (seq, _) = store.send(&chat.id, message(&ana, "a"), told).await.unwrap();
    for number in 0..20 {
        store.edit(&chat.id, seq, number.to_string(), now(), told).await.unwrap();
    }
    assert!(matches!(store.edit(&chat.id, seq, "x".to_owned(), now(), told).await, Err(ChatError::Full(_))));
    store.react(&chat.id, seq, &ben, Some(ReactionType::Laugh), told).await.unwrap();
    let deleted = store.send(&chat.id, message(&ana, "b"), told).await.unwrap().0;
    store.edit(&chat.id, deleted, "c".to_owned(), now(), told).await.unwrap();
    store.delete(&chat.id, deleted, now(), told).await.unwrap();
}

async fn owners_and_admins(store: &ChatStore) {
    let (ana, ben, cam) = (new_id(), new_id(), new_id());
    let chat = group(store, &ana, &[&ben, &cam], false).await;
    let set = async |by: &str, user: &str, role| store.set_role(&chat, by, user, role, members_told).await;
    let remove = async |by: &str, user: &str| store.remove_member(&chat, by, user, members_told).await;
    let role = async |user: &str| {
        let (_, member) = store.chat(&chat.id, user).await.unwrap().unwrap();
        member.filter(Member::is_member).map(|member| member.role)
    };
    assert!(matches!(set(&ben, &cam, ChatRole::Admin).await, Err(ChatError::Forbidden(_))));
    set(&ana, &cam, ChatRole::Admin).await.unwrap();
    assert!(matches!(remove(&cam, &ana).await, Err(ChatError::Forbidden(_))));
    assert!(matches!(set(&ana, &ana, ChatRole::Member).await, Err(ChatError::Conflict(_))));
    remove(&ana, &ana).await.unwrap();
    assert_eq!((role(&ana).await, role(&cam).await), (None, Some(ChatRole::Owner)), "the admin inherits");
    set(&cam, &ben, ChatRole::Owner).await.unwrap();
    assert_eq!((role(&ben).await, role(&cam).await), (Some(ChatRole::Owner), Some(ChatRole::Admin)));
    remove(&cam, &cam).await.unwrap();
    remove(&ben, &ben).await.unwrap();
    assert!(store.all_members(&chat.id).await.unwrap().is_empty());
    // A group is full at 1,000.
    let owner = new_id();
    let chat = group(store, &owner, &[], false).await;
    let by_stranger =
        store.add_members(&chat, &ana, BTreeMap::from([(ben.clone(), false)]), now(), members_told);
    assert!(matches!(by_stranger.await, Err(ChatError::Forbidden(_))));
    let mut outcome = Ok(Vec::new());
    for _ in 0..=MOST_MEMBERS / MOST_ADDED {
        let people = (0..MOST_ADDED).map(|_| (new_id(), true)).collect();
        outcome = store.add_members(&chat, &owner, people, now(), members_told).await;
        if outcome.is_err() {
            break;
        }
    }
    assert!(matches!(outcome, Err(ChatError::Full(_))), "{outcome:?}");
    assert_eq!(store.all_members(&chat.id).await.unwrap().len(), MOST_MEMBERS - MOST_ADDED + 1);
    let mut paged = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let (some, next) = store.members(&chat.id, after.as_deref(), 130).await.unwrap();
        paged.extend(some.into_iter().map(|(user, _)| user));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged.iter().collect::<BTreeSet<_>>().len(), MOST_MEMBERS - MOST_ADDED + 1);
    assert_eq!(paged.len(), MOST_MEMBERS - MOST_ADDED + 1, "nobody comes twice");
    let (direct, _) = store.create_direct(&ana, &ben, false, now()).await.unwrap();
    let refused = store.remove_member(&direct, &ana, &ben, members_told).await;
    assert!(matches!(refused, Err(ChatError::Conflict(_))));
}

async fn a_group_is_offered_until_it_is_answered(store: &ChatStore) {
    let (ana, ben) = (new_id(), new_id());
    let chat = group(store, &ana, &[], false).await;
    let offer = async || {
        let people = BTreeMap::from([(ben.clone(), true)]);
        store.add_members(&chat, &ana, people, now(), members_told).await.unwrap();
    };
    let stands = async || {
        let (chat, member) = store.chat(&chat.id, &ben).await.unwrap().unwrap();
        let member = member.unwrap();
        (chat.state_for(&ben, &member), member.offered_by)
    };
    let outside = async || store.outside(&chat.id, vec![ana.clone(), ben.clone()]).await.unwrap();
    assert_eq!(outside().await, [ben.as_str()]);
    offer().await;
    assert_eq!(stands().await, (ListState::Request, Some(ana.clone())), "also where the list forgot it");
    assert!(outside().await.is_empty());
    for _ in 0..2 {
        store.accept_offer(&chat.id, &ben).await.unwrap();
        assert_eq!(stands().await, (ListState::Open, None));
    }
    store.remove_member(&chat, &ana, &ben, members_told).await.unwrap();
    assert_eq!(outside().await, [ben.as_str()]);
    offer().await;
    assert_eq!(stands().await.0, ListState::Request, "who is taken in again is asked again");
}

async fn unread_equals_a_recount(store: &ChatStore) {
    let (ana, ben) = (new_id(), new_id());
    let chat = group(store, &ana, &[&ben], false).await;
    let sending = (0..150).map(|number| {
        let author = if number % 10 == 0 { &ben } else { &ana };
        store.send(&chat.id, message(author, "x"), told)
    });
    let sent: Vec<_> = join_all(sending).await.into_iter().map(Result::unwrap).collect();
    for seq in [3, 149, 150] {
        store.delete(&chat.id, seq, now(), told).await.unwrap();
    }
    let there = store.messages_at(&chat.id, &[150, 10, 151, 2_000]).await.unwrap();
    assert_eq!(there.keys().copied().collect::<Vec<_>>(), [10, 150]);
    assert!(there[&150].deleted_at.is_some());
    let (_, member) = store.chat(&chat.id, &ben).await.unwrap().unwrap();
    let spans = member.unwrap().spans;
    for read in [0, 2, 3, 10, 60, 100, 148, 150] {
        let recount = sent
            .iter()
            .filter(|(seq, message)| *seq > read && message.author == ana && ![3, 149, 150].contains(seq));
        let recount = recount.count() as u64;
        let (unread, is_capped) = store.unread(&chat.id, &ben, &spans, read, 150).await.unwrap();
        assert_eq!((unread, is_capped), (recount.min(100), recount > 99), "from {read}");
    }
}

async fn lists_hear_and_have_bounds(db: &Db) {
    let (inboxes, user) = (InboxStore::new(db.clone()), new_id());
    let at = now();
    let nothing = |_: Option<&Listed>, _: &Listed| Ok(Vec::new());
    let news = |last, seconds, state| News {
        last,
        at: at + SignedDuration::from_secs(seconds),
        state,
        offered_by: None,
        joins: false,
        read: 0,
    };
    inboxes.hear(&user, "open", news(5, 500, ListState::Open), nothing).await.unwrap();
    inboxes.hear(&user, "open", news(3, 300, ListState::Request), nothing).await.unwrap();
    let row = inboxes.listed(&user, "open").await.unwrap().unwrap();
    assert_eq!((row.last, row.state), (5, ListState::Open), "older news change nothing");
    for number in 0..=100 {
        let id = format!("request {number:03}");
        inboxes.hear(&user, &id, news(1, number, ListState::Request), nothing).await.unwrap();
    }
    let all = inboxes.all(&user).await.unwrap();
    assert_eq!(all.len(), 101, "100 requests wait at most");
    assert!(all.iter().any(|(id, _)| id == "open") && all.iter().all(|(id, _)| id != "request 000"));
    let (ana, strangers): (_, Vec<_>) = (new_id(), (0..60).map(|_| new_id()).collect());
    let offer =
        |by: &str, seconds| News { offered_by: Some(by.to_owned()), ..news(1, seconds, ListState::Request) };
    for number in 0..20 {
        let id = format!("offer {number:03}");
        inboxes.hear(&user, &id, offer(&ana, 600 + number), nothing).await.unwrap();
    }
    let count = async |is_offer: bool| {
        let all = inboxes.all(&user).await.unwrap();
        all.into_iter().filter(|(_, row)| row.offered_by.is_some() == is_offer).count()
    };
    assert_eq!(
        (count(false).await, count(true).await),
        (101, MOST_OFFERS_OF_ONE),
        "the requests are there still"
    );
    let other = new_id();
    let open = inboxes.offers_of(&ana, &[user.clone(), other]).await.unwrap();
    assert_eq!(open, [MOST_OFFERS_OF_ONE, 0]);
    for (seconds, stranger) in (700..).zip(&strangers) {
        inboxes.hear(&user, stranger, offer(stranger, seconds), nothing).await.unwrap();
    }
    assert_eq!(
        (count(false).await, count(true).await),
        (101, MOST_OFFERS),
        "offers make room for each other"
    );
    let last = &strangers[59];
    let answer = |row: &mut Listed| row.answer(ListState::Open);
    let answered = inboxes.change(&user, last, row.clone(), answer, nothing).await.unwrap();
    assert_eq!((answered.state, answered.offered_by), (ListState::Open, None));
    assert_eq!(inboxes.offers_of(last, std::slice::from_ref(&user)).await.unwrap(), [0]);
    assert_eq!(count(true).await, MOST_OFFERS - 1);
    let until = Some(at);
    let rule = move |row: &mut Listed| row.muted_until = until;
    let changed = inboxes.change(&user, "open", row, rule, nothing).await.unwrap();
    assert_eq!(changed.muted_until, until);
}
