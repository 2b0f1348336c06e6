//! What circles promise.

use futures_util::future::{join, join_all};
use mundotango::community::graph::error::GraphError;
use mundotango::community::graph::relations::Sorts;
use mundotango::community::graph::rules::{Act, Counts, Friendship, Tie};
use mundotango::community::graph::store::{CIRCLES, Circles};
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, RowRange, prefix};
use mundotango_storage::{PageRequest, now};

use super::{cut_off, walk};

/// Runs the suite.
pub async fn graph(nodes: &[Db; 2]) {
    let circles = nodes.each_ref().map(|db| Circles::new(db.clone()));
    friends_are_made_and_end(&nodes[0], &circles).await;
    a_block_wins_whatever_it_races_with(nodes, &circles).await;
    what_a_node_left_undone_is_made_up_for(nodes, &circles).await;
    followers_are_counted_once(&circles).await;
}

async fn act(circles: &Circles, user: &str, other: &str, act: Act) {
    Box::pin(circles.act(user, other, act, now())).await.unwrap();
}

fn follow() -> Act {
    Act::Follow(new_id())
}

async fn friendships(circles: &Circles, one: &str, other: &str) -> [Friendship; 2] {
    [circles.tie(one, other).await.unwrap().friendship(), circles.tie(other, one).await.unwrap().friendship()]
}

/// The counts of a circle are what its rows come to.
async fn counts_are_right(db: &Db, user: &str) -> Counts {
    let range = RowRange::first(prefix(&["u"]), 1_000);
    let rows = db.rows(&CIRCLES, user, &range).await.unwrap().items;
    let mut sum = Counts::default();
    for (_, tie) in &rows {
        sum.replace(&Tie::default(), tie);
    }
    let head = db.read(&CIRCLES, user).await.unwrap().unwrap().head;
    assert_eq!((head.counts, head.rows as usize), (sum, rows.len()));
    sum
}

async fn friends_are_made_and_end(db: &Db, [here, there]: &[Circles; 2]) {
    let [ana, ben, cam] = [(); 3].map(|()| new_id());
    act(here, &ana, &ben, Act::Befriend).await;
    assert_eq!(friendships(there, &ana, &ben).await, [Friendship::Requested, Friendship::Asked]);
    assert!(there.view(&ben).await.unwrap().to(&ana).is(Sorts::ASKED));
    act(there, &ben, &ana, Act::Befriend).await;
    assert_eq!(friendships(here, &ana, &ben).await, [Friendship::Friends; 2]);
    for circles in [here, there] {
        assert!(circles.view(&ana).await.unwrap().is_friend(&ben), "each node sees it at once");
    }
    // Two who ask each other at the same moment meet.
    Box::pin(join(act(here, &ana, &cam, Act::Befriend), act(there, &cam, &ana, Act::Befriend))).await;
    assert_eq!(friendships(here, &ana, &cam).await, [Friendship::Friends; 2]);
    counts_are_right(db, &cam).await;
    assert_eq!(counts_are_right(db, &ana).await.friends, 2);
    act(here, &ben, &ana, Act::Unfriend).await;
    assert_eq!(friendships(there, &ana, &ben).await, [Friendship::None; 2]);
    assert!(!there.view(&ana).await.unwrap().is_friend(&ben));
    // One who asks and is declined is told nothing.
    act(here, &ana, &ben, Act::Befriend).await;
    act(there, &ben, &ana, Act::Unfriend).await;
    assert_eq!(friendships(there, &ana, &ben).await, [Friendship::Requested, Friendship::None]);
    assert_eq!(counts_are_right(db, &ana).await.requested, 1);
    act(here, &ana, &cam, Act::Mute).await;
    assert!(there.view(&ana).await.unwrap().has_muted(&cam));
    let myself = Box::pin(here.act(&ana, &ana, follow(), now())).await;
    assert!(matches!(myself, Err(GraphError::Myself)));
}

/// Trap 36. A block, and all that the other does at the same moment.
async fn a_block_wins_whatever_it_races_with(nodes: &[Db; 2], [here, there]: &[Circles; 2]) {
    for _ in 0..3 {
        let [ana, ben] = [(); 2].map(|()| new_id());
        act(here, &ben, &ana, follow()).await;
        act(here, &ana, &ben, follow()).await;
        let others = [Act::Befriend, follow(), Act::Mute].map(async |act| {
            // Refused where the block was heard of before.
            let _ = Box::pin(there.act(&ben, &ana, act, now())).await;
        });
        Box::pin(join(act(here, &ana, &ben, Act::Block), join_all(others))).await;
        let (mine, theirs) = (here.tie(&ana, &ben).await.unwrap(), here.tie(&ben, &ana).await.unwrap());
        assert!(mine.block.is_some() && theirs.theirs.block);
        assert!(mine.follow.is_none() && theirs.follow.is_none(), "{mine:?} {theirs:?}");
        assert_eq!(friendships(here, &ana, &ben).await, [Friendship::None; 2]);
        for user in [&ana, &ben] {
            assert_eq!(here.follower_count(user).await.unwrap(), 0);
            counts_are_right(&nodes[0], user).await;
            let read = async |page: PageRequest| here.followers(user, page).await;
            assert_eq!(walk(10, read, String::clone).await, Vec::<String>::new());
        }
        assert!(there.view(&ben).await.unwrap().keeps_apart(&ana), "each node sees it at once");
        for refused in [Act::Befriend, follow(), Act::Mute, Act::Block] {
            let refused = Box::pin(there.act(&ben, &ana, refused, now())).await;
            assert!(matches!(refused, Err(GraphError::Hidden)));
        }
        act(here, &ana, &ben, Act::Unblock).await;
        assert!(!there.view(&ben).await.unwrap().keeps_apart(&ana));
        act(there, &ben, &ana, follow()).await;
        assert_eq!(there.follower_count(&ana).await.unwrap(), 1);
    }
}

/// A node dies at any point of a call; the jobs that it left are done then.
async fn what_a_node_left_undone_is_made_up_for(nodes: &[Db; 2], [here, there]: &[Circles; 2]) {
    for polls in (1..12).step_by(2) {
        let [ana, ben] = [(); 2].map(|()| new_id());
        act(here, &ana, &ben, Act::Befriend).await;
        act(here, &ben, &ana, Act::Befriend).await;
        Box::pin(cut_off(here.act(&ana, &ben, Act::Block, now()), polls)).await;
        // A change goes on without its caller: what comes behind it in the queue of its node waits for it.
        act(here, &ana, &ben, Act::Unmute).await;
        act(here, &ben, &ana, Act::Unmute).await;
        for _ in 0..2 {
            for (one, other) in [(&ana, &ben), (&ben, &ana)] {
                Box::pin(there.tell(one, other, now())).await.unwrap();
            }
        }
        let (mine, theirs) = (here.tie(&ana, &ben).await.unwrap(), here.tie(&ben, &ana).await.unwrap());
        assert_eq!((mine.theirs, theirs.theirs), (theirs.own, mine.own), "after {polls} polls");
        assert_eq!(mine.friendship(), theirs.friendship(), "after {polls} polls");
        assert_eq!(mine.friendship() == Friendship::None, mine.block.is_some());
        for user in [&ana, &ben] {
            counts_are_right(&nodes[0], user).await;
        }
    }
}

async fn followers_are_counted_once([here, there]: &[Circles; 2]) {
    let star = new_id();
    let fans: Vec<_> = (0..6).map(|_| new_id()).collect();
    for fan in &fans {
        act(here, fan, &star, follow()).await;
        act(there, fan, &star, follow()).await;
    }
    let expected: Vec<_> = fans.iter().rev().cloned().collect();
    let read = async |page: PageRequest| there.followers(&star, page).await;
    assert_eq!(walk(2, read, String::clone).await, expected, "the last one first");
    assert_eq!(here.follower_count(&star).await.unwrap(), 6);
    act(here, &fans[5], &star, Act::Unfollow).await;
    act(here, &fans[5], &star, Act::Unfollow).await;
    act(here, &fans[0], &star, Act::Unfollow).await;
    act(here, &fans[0], &star, follow()).await;
    let read = async |page: PageRequest| there.followers(&star, page).await;
    let expected = [0, 4, 3, 2, 1].map(|number| fans[number].clone());
    assert_eq!(walk(100, read, String::clone).await, expected, "who follows anew is the newest");
    assert_eq!(here.follower_count(&star).await.unwrap(), 5);
    // Both nodes at once, back and forth.
    let toggles = fans.iter().map(async |fan| {
        Box::pin(join(act(here, fan, &star, Act::Unfollow), act(there, fan, &star, follow()))).await;
    });
    join_all(toggles).await;
    let read = async |page: PageRequest| here.followers(&star, page).await;
    let listed = walk(100, read, String::clone).await;
    let ties = here.ties_to(&fans, &star).await.unwrap();
    let following = ties.iter().filter(|tie| tie.follow.is_some()).count();
    assert_eq!(listed.len(), following);
    // What other nodes count is as old as the count may be.
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    assert_eq!(here.follower_count(&star).await.unwrap(), following as u64);
}
