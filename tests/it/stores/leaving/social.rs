//! What somebody who leaves has to do with others: relations, conversations, comments, points and notifications.

use std::collections::BTreeMap;

use mundotango::community::chat::blocks::NewMessage;
use mundotango::community::chat::inbox::{InboxStore, News};
use mundotango::community::chat::kinds::{ListState, Listed, Member, Message};
use mundotango::community::chat::members::MembersChange;
use mundotango::community::chat::rules::ChatRole;
use mundotango::community::chat::store::{Chat, ChatStore};
use mundotango::community::effects::Effect;
use mundotango::community::graph::rules::{Act, Counts};
use mundotango::community::graph::store::Circles;
use mundotango::community::notifications::kinds::NotificationKind;
use mundotango::community::notifications::store::{Arrangement, Notification, NotificationStore, Numbered};
use mundotango::community::points::board::{self, BoardStore, Standing};
use mundotango::community::points::rules::{Cause, Deed, Told};
use mundotango::community::points::store::ScoreStore;
use mundotango::community::posts::comments::kind::Comment;
use mundotango::community::posts::comments::rules::CommentId;
use mundotango::community::posts::comments::store::{CommentStore, NewComment};
use mundotango::community::posts::rules::ReactionType;
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::{StoreError, now};

use super::super::{NO_EFFECTS, first};
use super::world::Somebody;

/// What the one who leaves has said here, each of which occurs nowhere else.
pub const SAID: [&str; 7] = [
    "Palabra-directa",
    "Palabra-corregida",
    "Palabra-grupo",
    "Palabra-contestada",
    "Palabra-suelta",
    "Palabra-respuesta",
    "Palabra-propia",
];
const OF_OTHERS: &str = "by others";
const MONTH: &str = "2031-05";

/// What of it is to be right afterwards.
pub struct Social {
    blocker: String,
    direct: Chat,
    group: Chat,
    post: String,
    /// A comment of who leaves that was answered, one that was not, and one of somebody else.
    comments: [CommentId; 3],
}

fn told(_: u64, _: &Message) -> Result<Effect, StoreError> {
    Effect::publish("chat:x", &())
}

fn members_told(_: &MembersChange) -> Result<Effect, StoreError> {
    Effect::publish("chat:x", &())
}

/// Relations of all sorts each way; who keeps the one out who leaves.
async fn relations(db: &Db, ana: &str, ben: &str, eva: &str) -> String {
    let (circles, blocked, blocker) = (Circles::new(db.clone()), new_id(), new_id());
    for (user, other, act) in [
        (ana, ben, Act::Follow(new_id())),
        (ben, ana, Act::Follow(new_id())),
        (ana, eva, Act::Befriend),
        (eva, ana, Act::Befriend),
        (ana, blocked.as_str(), Act::Block),
        (blocker.as_str(), ana, Act::Block),
    ] {
        Box::pin(circles.act(user, other, act, now())).await.unwrap();
    }
    blocker
}

fn message(author: &str, text: &str, mentions: Vec<String>) -> NewMessage {
    NewMessage {
        id: new_id(),
        at: now(),
        author: author.to_owned(),
        text: Some(text.to_owned()),
        attachments: Vec::new(),
        reply_to: None,
        mentions,
        most_before: None,
    }
}

/// A direct conversation, and a group of who leaves.
async fn conversations(db: &Db, ana: &str, ben: &str, eva: &str) -> [Chat; 2] {
    let (store, inboxes) = (ChatStore::new(db.clone()), InboxStore::new(db.clone()));
    let (direct, _) = store.create_direct(ana, ben, true, now()).await.unwrap();
    store.create_direct(ana, eva, false, now()).await.unwrap();
    let (group, _) = store.create_group(&new_id(), ana, "Camp".to_owned(), false, now()).await.unwrap();
    let people = BTreeMap::from([ben, eva].map(|user| (user.to_owned(), false)));
    store.add_members(&group, ana, people, now(), members_told).await.unwrap();
    for (chat, said) in [(&direct, SAID[0]), (&group, SAID[2])] {
        for message in [message(ana, said, Vec::new()), message(ben, OF_OTHERS, vec![ana.to_owned()])] {
            Box::pin(store.send(&chat.id, message, told)).await.unwrap();
        }
        for (seq, user) in [(1, ana), (1, ben), (2, ana), (2, ben)] {
            store.react(&chat.id, seq, user, Some(ReactionType::Heart), told).await.unwrap();
        }
        for user in [ana, ben] {
            let (at, state) = (now(), ListState::Open);
            let news = News { last: 2, at, state, offered_by: None, joins: false, read: 0 };
            let nothing = |_: Option<&Listed>, _: &Listed| Ok(Vec::new());
            inboxes.hear(user, &chat.id, news, nothing).await.unwrap();
        }
    }
    store.edit(&direct.id, 1, SAID[1].to_owned(), now(), told).await.unwrap();
    [direct, group]
}

async fn add(store: &CommentStore, post: &str, by: &str, said: &str, below: Option<&Comment>) -> Comment {
    let new = NewComment {
        request: new_id(),
        author_id: by.to_owned(),
        content: said.to_owned(),
        mentions: BTreeMap::new(),
        at: now(),
    };
    Box::pin(store.add(post, new, below, |_| NO_EFFECTS)).await.unwrap().unwrap()
}

/// Comments on a post of somebody else's, and on one of who leaves.
async fn comments(db: &Db, ana: &str, ben: &str, post: &str, own: &str) -> [CommentId; 3] {
    let store = CommentStore::new(db.clone());
    let answered = add(&store, post, ana, SAID[3], None).await;
    add(&store, post, ben, OF_OTHERS, Some(&answered)).await;
    let alone = add(&store, post, ana, SAID[4], None).await;
    let bens = add(&store, post, ben, OF_OTHERS, None).await;
    add(&store, post, ana, SAID[5], Some(&bens)).await;
    add(&store, own, ben, OF_OTHERS, None).await;
    add(&store, own, ana, SAID[6], None).await;
    for comment in [&answered, &bens] {
        for user in [ana, ben] {
            store.react(&comment.id, user, Some(ReactionType::Heart)).await.unwrap();
        }
    }
    [answered.id, alone.id, bens.id]
}

async fn points(db: &Db, ana: &str, ben: &str) {
    let (scores, boards) = (ScoreStore::new(db.clone()), BoardStore::new(db.clone()));
    let deed = |host: Option<&str>| Deed {
        cause: Cause::Attended,
        thing: new_id(),
        day: format!("{MONTH}-01"),
        city: Some("rosario".to_owned()),
        host: host.map(str::to_owned),
    };
    scores.note(ana, &deed(None), (Told::Done, 0)).await.unwrap();
    scores.note(ben, &deed(Some(ana)), (Told::Done, 0)).await.unwrap();
    for (user, points) in [(ana, 9), (ben, 5)] {
        let standing = Standing { points, version: 1 };
        boards.place(&board::id(Some(MONTH), None), user, standing, true).await.unwrap();
    }
}

/// Makes it, with `post` of somebody else and `own` of who leaves.
pub async fn social(db: &Db, people: [&Somebody; 3], post: &str, own: &str) -> Social {
    let [ana, ben, eva] = people.map(Somebody::id);
    let blocker = Box::pin(relations(db, ana, ben, eva)).await;
    let [direct, group] = Box::pin(conversations(db, ana, ben, eva)).await;
    let comments = Box::pin(comments(db, ana, ben, post, own)).await;
    points(db, ana, ben).await;
    let follower = Notification {
        kind: NotificationKind::FollowNew,
        thing: ben.to_owned(),
        title: people[0].user.full_name.clone(),
        actor_id: Some(ana.to_owned()),
        count: 1,
        at: now(),
        stale_at: None,
    };
    let notifications = NotificationStore::new(db.clone());
    let announce = |_: &Numbered, _: usize| Effect::publish("#x", &());
    assert!(notifications.add(ben, "a job", follower, Arrangement::default(), announce).await.unwrap());
    Social { blocker, direct, group, post: post.to_owned(), comments }
}

/// What others have is right once the first of these people has left.
pub async fn is_right(db: &Db, [_, ben, eva]: [&Somebody; 3], social: &Social) {
    let circles = Circles::new(db.clone());
    for user in [ben.id(), eva.id(), &social.blocker] {
        let head = circles.head(user).await.unwrap();
        assert_eq!((head.counts, head.rows), (Counts::default(), 0), "nobody has to do with who is gone");
    }
    assert_eq!(circles.follower_count(ben.id()).await.unwrap(), 0);
    assert!(circles.followers(ben.id(), first(10)).await.unwrap().items.is_empty());

    let heart = BTreeMap::from([(ReactionType::Heart, 1)]);
    let chats = ChatStore::new(db.clone());
    for chat in [&social.direct, &social.group] {
        let gone = chats.message(&chat.id, 1).await.unwrap().unwrap();
        assert!(gone.deleted_at.is_some() && gone.text.is_none(), "its place stays: {gone:?}");
        assert!(gone.author.starts_with("00000000-"), "{gone:?}");
        let others = chats.message(&chat.id, 2).await.unwrap().unwrap();
        assert_eq!((others.text.as_deref(), &others.reactions), (Some(OF_OTHERS), &heart));
    }
    let (direct, own) = chats.chat(&social.direct.id, ben.id()).await.unwrap().unwrap();
    assert!(own.as_ref().is_some_and(Member::is_member), "the other one keeps it");
    assert_eq!((direct.head.members, direct.head.known), (1, 1));
    let (group, _) = chats.chat(&social.group.id, ben.id()).await.unwrap().unwrap();
    assert_eq!((group.head.members, group.head.known), (2, 2));
    let members = chats.all_members(&social.group.id).await.unwrap();
    let owners = members.iter().filter(|(_, member)| member.role == ChatRole::Owner).count();
    assert_eq!((members.len(), owners), (2, 1), "somebody else owns the group");

    let comments = CommentStore::new(db.clone());
    let [answered, alone, bens] = &social.comments;
    let place = comments.comment(answered).await.unwrap().unwrap();
    assert!(place.is_removed && place.author_id.is_none() && place.content.is_empty(), "{place:?}");
    assert_eq!(comments.comment(alone).await.unwrap(), None);
    assert_eq!(comments.count(&social.post).await.unwrap().0, 2);
    let reactions = comments.reactions(&[bens.to_string()], ben.id()).await.unwrap();
    assert_eq!((&reactions[0].0.reactions, reactions[0].1), (&heart, Some(ReactionType::Heart)));

    let standings = BoardStore::new(db.clone()).standings(&board::id(Some(MONTH), None)).await.unwrap();
    let shown: Vec<_> = standings.iter().map(|(user, _)| user.as_str()).collect();
    assert_eq!(shown, [ben.id()]);
    let score = ScoreStore::new(db.clone()).score(ben.id()).await.unwrap();
    assert_eq!(score.points, Cause::Attended.points(), "what was earned stays earned");
    let notifications = NotificationStore::new(db.clone());
    let newest = notifications.newest(ben.id(), NotificationKind::FollowNew, ben.id()).await.unwrap();
    assert_eq!(newest, None, "nobody is told of who is gone");
}
