//! What conversations promise.

use mundotango::life_ceo::store::{Conversation, ConversationStore, Fence, Speaker, Turn, TurnError};
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::now;

use super::{first, walk};

fn turn(content: &str) -> Turn {
    Turn {
        number: 0,
        id: new_id(),
        speaker: Speaker::User,
        content: content.to_owned(),
        finished: true,
        created_at: now(),
    }
}

async fn conversation(store: &ConversationStore) -> Conversation {
    let conversation =
        Conversation { id: new_id(), user_id: new_id(), agent_id: "travel".to_owned(), created_at: now() };
    store.create(&conversation).await.unwrap();
    conversation
}

/// Runs the suite.
pub async fn conversations(db: &Db) {
    let store = ConversationStore::new(db.clone());
    turns_keep_their_order(&store).await;
    a_turn_is_said_bit_by_bit(&store).await;
    an_older_fence_writes_nothing(&store).await;
    every_take_over_gets_a_higher_fence(&store).await;
    one_of_many_claimants_writes(&store).await;
}

async fn turns_keep_their_order(store: &ConversationStore) {
    let made = conversation(store).await;
    assert_eq!(store.conversation(&made.id).await.unwrap(), Some(made.clone()));
    assert_eq!(store.conversation(&new_id()).await.unwrap(), None);
    assert_eq!(store.take_over(&new_id()).await.unwrap(), None);
    assert!(store.turns(&made.id, first(10)).await.unwrap().items.is_empty());
    let fence = store.take_over(&made.id).await.unwrap().unwrap();
    let mut said = Vec::new();
    for number in 1..=7 {
        let turn = Turn { number, ..turn(&number.to_string()) };
        assert_eq!(store.add_turn(&made.id, fence, turn.clone()).await.unwrap(), number);
        said.push(turn);
    }
    assert_eq!(store.turns(&made.id, first(10)).await.unwrap().items, said);
    assert_eq!(store.last_turns(&made.id, 2).await.unwrap(), said[5..]);
    let ids = walk(3, async |page| store.turns(&made.id, page).await, |turn| turn.id.clone()).await;
    assert_eq!(ids, said.iter().map(|turn| turn.id.clone()).collect::<Vec<_>>());
}

async fn a_turn_is_said_bit_by_bit(store: &ConversationStore) {
    let made = conversation(store).await;
    let fence = store.take_over(&made.id).await.unwrap().unwrap();
    let begun = Turn { speaker: Speaker::Agent, content: String::new(), finished: false, ..turn("") };
    store.add_turn(&made.id, fence, begun.clone()).await.unwrap();
    for (content, finished) in [("Un", false), ("Un dos tres", true)] {
        store.set_turn(&made.id, fence, 1, content, finished).await.unwrap();
        let last = store.last_turns(&made.id, 1).await.unwrap();
        assert_eq!(last, [Turn { number: 1, content: content.to_owned(), finished, ..begun.clone() }]);
    }
}

async fn an_older_fence_writes_nothing(store: &ConversationStore) {
    let made = conversation(store).await;
    let old = store.take_over(&made.id).await.unwrap().unwrap();
    store.add_turn(&made.id, old, turn("first")).await.unwrap();
    let new = store.take_over(&made.id).await.unwrap().unwrap();
    assert!(new > old);
    let early = Fence(new.0 + 1);
    assert!(matches!(store.add_turn(&made.id, old, turn("late")).await, Err(TurnError::Fenced)));
    assert!(matches!(store.set_turn(&made.id, old, 1, "late", true).await, Err(TurnError::Fenced)));
    assert!(matches!(store.add_turn(&made.id, early, turn("early")).await, Err(TurnError::Fenced)));
    assert_eq!(store.add_turn(&made.id, new, turn("second")).await.unwrap(), 2);
    let said: Vec<_> =
        store.turns(&made.id, first(10)).await.unwrap().items.into_iter().map(|turn| turn.content).collect();
    assert_eq!(said, ["first", "second"]);
}

async fn every_take_over_gets_a_higher_fence(store: &ConversationStore) {
    let made = conversation(store).await;
    let racing: Vec<_> = (0..8)
        .map(|_| {
            let (store, id) = (store.clone(), made.id.clone());
            tokio::spawn(async move {
                let mut fences = Vec::new();
                for _ in 0..4 {
                    fences.push(store.take_over(&id).await.unwrap().unwrap());
                }
                assert!(fences.is_sorted());
                fences
            })
        })
        .collect();
    let mut all = Vec::new();
    for one in racing {
        all.extend(one.await.unwrap());
    }
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!(all.len(), count, "no fence is given twice");
}

async fn one_of_many_claimants_writes(store: &ConversationStore) {
    let made = conversation(store).await;
    let fence = store.take_over(&made.id).await.unwrap().unwrap();
    // Each takes over once and writes once under what it got.
    let racing: Vec<_> = (0..8)
        .map(|_| {
            let (store, id) = (store.clone(), made.id.clone());
            tokio::spawn(async move {
                let fence = store.take_over(&id).await.unwrap().unwrap();
                match store.add_turn(&id, fence, turn("mine")).await {
                    Ok(_) => 1,
                    Err(TurnError::Fenced) => 0,
                    Err(error) => panic!("{error}"),
                }
            })
        })
        .collect();
    let mut written = 0;
    for one in racing {
        written += one.await.unwrap();
    }
    assert!(matches!(store.add_turn(&made.id, fence, turn("late")).await, Err(TurnError::Fenced)));
    let turns = store.turns(&made.id, first(20)).await.unwrap().items;
    assert_eq!(turns.len(), written, "what was acknowledged is there, and nothing else");
    assert!(turns.iter().map(|turn| turn.number).eq(1..=written as u64));
}
