//! Random posts, follows and readings on a real store: a walk loses and repeats nothing, whatever happens meanwhile.

use std::collections::BTreeSet;

use mundotango_protocol::new_id;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::{PageRequest, PageStart, now};
use proptest::prelude::*;

use super::filling::Timelines;
use super::jobs::FanOut;
use crate::community::graph::rules::Act;
use crate::community::graph::store::Circles;
use crate::community::posts::store::{Post, PostStore, Text, Visibility};

/// Authors; the last one is popular.
const AUTHORS: usize = 3;
const POPULAR: usize = AUTHORS - 1;

#[derive(Clone, Debug)]
enum Step {
    Follow(usize),
    Unfollow(usize),
    Post(usize),
    /// One of the jobs that wait, by a number.
    Deliver(usize),
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..AUTHORS).prop_map(Step::Follow),
        1 => (0..AUTHORS).prop_map(Step::Unfollow),
        6 => (0..AUTHORS).prop_map(Step::Post),
        6 => any::<usize>().prop_map(Step::Deliver),
        6 => Just(Step::Read),
    ]
}

/// A reader, and what the reader has to find.
struct World {
    timelines: Timelines,
    circles: Circles,
    posts: PostStore,
    reader: String,
    authors: Vec<String>,
    follows: [bool; AUTHORS],
    waiting: Vec<(FanOut, usize)>,
    made: Vec<(String, usize)>,
    /// Posts to which the timeline leads, or the list of an author.
    reached: BTreeSet<String>,
    start: PageStart,
    walked: Vec<String>,
    /// What the walk under way has to show.
    due: BTreeSet<String>,
}

impl World {
    fn author_of(&self, id: &str) -> usize {
        self.made.iter().find(|(post, _)| post == id).map(|(_, author)| *author).unwrap()
    }

    async fn act(&self, author: usize, act: Act) {
        Box::pin(self.circles.act(&self.reader, &self.authors[author], act, now())).await.unwrap();
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Follow(author) => {
                self.act(author, Act::Follow(new_id())).await;
                self.timelines.followed(&self.reader, &self.authors[author], now()).await.unwrap();
                self.follows[author] = true;
                let all = self.made.iter().filter(|(_, by)| *by == author).map(|(id, _)| id.clone());
                // As many as are put there when a follow begins.
                self.reached.extend(all.rev().take(20));
            }
            Step::Unfollow(author) => {
                self.act(author, Act::Unfollow).await;
                self.follows[author] = false;
                let made = &self.made;
                self.due.retain(|id| !made.iter().any(|(post, by)| post == id && *by == author));
            }
            Step::Post(author) => {
                let text = Text::new("¡Bailemos!", now());
                let post = Post::made(new_id(), self.authors[author].clone(), text, Visibility::Public);
                self.posts.create(&post, &[]).await.unwrap();
                self.made.push((post.id.clone(), author));
                if author == POPULAR {
                    self.reached.insert(post.id.clone());
                }
                self.waiting.push((FanOut::of(&post.id), author));
            }
            Step::Deliver(number) if !self.waiting.is_empty() => {
                let (turn, author) = self.waiting.swap_remove(number % self.waiting.len());
                let id = turn.post_id.clone();
                assert_eq!(Box::pin(self.timelines.fan_out(turn, now())).await.unwrap(), None);
                if self.follows[author] {
                    self.reached.insert(id);
                }
            }
            Step::Deliver(_) => {}
            Step::Read => self.read().await,
        }
    }

    async fn read(&mut self) {
        if self.start == PageStart::First {
            let due = self.reached.iter().filter(|id| self.follows[self.author_of(id)]);
            self.due = due.cloned().collect();
            self.walked.clear();
        }
        let request = PageRequest { start: self.start.clone(), limit: 3 };
        let page = Box::pin(self.timelines.page(&self.reader, request, now())).await.unwrap();
        assert!(page.items.len() <= 3);
        for post in page.items {
            assert!(self.follows[self.author_of(&post.id)], "of somebody who is not followed");
            assert!(self.walked.last().is_none_or(|last| post.id < *last), "in order, and once");
            self.walked.push(post.id);
        }
        if let Some(next) = page.next {
            self.start = PageStart::After(next);
            return;
        }
        let lost: Vec<_> = self.due.iter().filter(|id| !self.walked.contains(id)).collect();
        assert!(lost.is_empty(), "{lost:?} are lost");
        self.start = PageStart::First;
    }
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let (options, schema) = (EmbeddedOptions::default(), crate::community::schema_of_tests());
    let store = EmbeddedStore::open(folder.path(), &options, &schema).unwrap();
    let db = store.stores().db;
    let circles = Circles::new(db.clone());
    let mut world = World {
        timelines: Timelines::new(&db, &circles),
        circles,
        posts: PostStore::new(db.clone()),
        reader: new_id(),
        authors: (0..AUTHORS).map(|_| new_id()).collect(),
        follows: [false; AUTHORS],
        waiting: Vec::new(),
        made: Vec::new(),
        reached: BTreeSet::new(),
        start: PageStart::First,
        walked: Vec::new(),
        due: BTreeSet::new(),
    };
    assert!(world.timelines.store.note_popular(&world.authors[POPULAR]).await.unwrap());
    world.read().await;
    for step in steps {
        world.step(step).await;
    }
    world.read().await;
    while world.start != PageStart::First {
        world.read().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_walk_loses_and_repeats_nothing(steps in prop::collection::vec(step(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
