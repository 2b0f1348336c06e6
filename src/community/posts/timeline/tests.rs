//! Random posts, edits, follows, absences and readings on a real store: a walk loses and repeats nothing, whatever happens
//! meanwhile, but what a timeline has no room for.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use mundotango_protocol::new_id;
use mundotango_storage::embedded::{EmbeddedOptions, EmbeddedStore};
use mundotango_storage::{PageRequest, PageStart, now};
use proptest::prelude::*;

use super::filling::Timelines;
use super::jobs::FanOut;
use super::rules::Bounds;
use crate::community::graph::rules::Act;
use crate::community::graph::store::Circles;
use crate::community::posts::editing::PostEdit;
use crate::community::posts::store::{Post, PostStore, Text, Visibility};

/// Authors; the first one is the reader's friend, and the last one is popular.
const AUTHORS: usize = 3;
const FRIEND: usize = 0;
const POPULAR: usize = AUTHORS - 1;
/// So small that they are reached.
const BOUNDS: Bounds = Bounds { kept: 6, slack: 2, of_author: 4, of_each: 2 };
/// Days after which a timeline is neither whole nor filled.
const LONG: i64 = 16;

#[derive(Clone, Debug)]
enum Step {
    Follow(usize),
    Unfollow(usize),
    Post(usize, Visibility),
    /// One of the posts, by a number, is for others.
    Show(usize, Visibility),
    /// One of the jobs that wait, by a number.
    Deliver(usize),
    /// The reader does not come for a while.
    Away,
    Read,
}

fn visibility() -> impl Strategy<Value = Visibility> {
    prop_oneof![4 => Just(Visibility::Public), 1 => Just(Visibility::Friends), 1 => Just(Visibility::Private)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..AUTHORS).prop_map(Step::Follow),
        2 => (0..AUTHORS).prop_map(Step::Unfollow),
        14 => (0..AUTHORS, visibility()).prop_map(|(author, visibility)| Step::Post(author, visibility)),
        3 => (any::<usize>(), visibility()).prop_map(|(number, visibility)| Step::Show(number, visibility)),
        14 => any::<usize>().prop_map(Step::Deliver),
        1 => Just(Step::Away),
        12 => Just(Step::Read),
    ]
}

/// A post as the model knows it.
struct Made {
    id: String,
    author: usize,
    visibility: Visibility,
}

impl Made {
    fn is_readable(&self) -> bool {
        match self.visibility {
            Visibility::Public => true,
            Visibility::Friends => self.author == FRIEND,
            Visibility::Private => false,
        }
    }
}

/// A reader, and what the reader has to find.
struct World {
    timelines: Timelines,
    circles: Circles,
    posts: PostStore,
    reader: String,
    authors: Vec<String>,
    follows: [bool; AUTHORS],
    waiting: Vec<FanOut>,
    /// Sorted by id.
    made: Vec<Made>,
    /// Posts to which the timeline led since it was built, or the list of an author.
    reached: BTreeSet<String>,
    /// Days since the beginning, and those until the last reading.
    day: i64,
    read_on: i64,
    start: PageStart,
    walked: Vec<String>,
    /// What the walk under way has to show.
    due: BTreeSet<String>,
}

impl World {
    fn post(&self, id: &str) -> &Made {
        self.made.iter().find(|post| post.id == id).unwrap()
    }

    fn is_shown(&self, id: &str) -> bool {
        let post = self.post(id);
        self.follows[post.author] && post.is_readable()
    }

    fn now(&self) -> Timestamp {
        now() + SignedDuration::from_hours(24 * self.day)
    }

    fn is_away(&self) -> bool {
        self.day > self.read_on
    }

    /// What is found of an author's list: the last posts that the reader may see, among those that are looked at.
    fn last_of(&self, author: usize) -> Vec<String> {
        let of_author = self.made.iter().rev().filter(|post| post.author == author);
        let looked_at = of_author.take(3 * BOUNDS.of_each).filter(|post| post.is_readable());
        looked_at.take(BOUNDS.of_each).map(|post| post.id.clone()).collect()
    }

    async fn act(&self, author: usize, act: Act) {
        Box::pin(self.circles.act(&self.reader, &self.authors[author], act, now())).await.unwrap();
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Follow(author) => {
                self.act(author, Act::Follow(new_id())).await;
                let (reader, now) = (&self.reader, self.now());
                Box::pin(self.timelines.followed(reader, &self.authors[author], now)).await.unwrap();
                self.follows[author] = true;
                if author != POPULAR && !self.is_away() {
                    self.reached.extend(self.last_of(author));
                }
            }
            Step::Unfollow(author) => {
                self.act(author, Act::Unfollow).await;
                self.follows[author] = false;
                self.forget_hidden();
            }
            Step::Post(author, visibility) => {
                let text = Text::new("¡Bailemos!", now());
                let post = Post::made(new_id(), self.authors[author].clone(), text, visibility);
                self.posts.create(&post, &[]).await.unwrap();
                if author == POPULAR {
                    self.reached.insert(post.id.clone());
                }
                self.waiting.push(FanOut::of(&post.id));
                self.made.push(Made { id: post.id, author, visibility });
                self.made.sort_by(|one, other| one.id.cmp(&other.id));
            }
            Step::Show(number, visibility) if !self.made.is_empty() => {
                let at = number % self.made.len();
                let id = self.made[at].id.clone();
                let edit = PostEdit { visibility: Some(visibility), ..PostEdit::default() };
                let edited = self.posts.edit(&id, edit, now(), |_| Ok(Vec::<()>::new())).await;
                assert!(edited.unwrap().is_some());
                if visibility.is_wider_than(self.made[at].visibility) {
                    self.waiting.push(FanOut::of(&id));
                }
                self.made[at].visibility = visibility;
                self.forget_hidden();
            }
            Step::Deliver(number) if !self.waiting.is_empty() => {
                let turn = self.waiting.swap_remove(number % self.waiting.len());
                let id = turn.post_id.clone();
                assert_eq!(Box::pin(self.timelines.fan_out(turn, self.now(), false)).await.unwrap(), None);
                if self.is_shown(&id) && !self.is_away() {
                    self.reached.insert(id);
                }
            }
            Step::Show(..) | Step::Deliver(_) => {}
            Step::Away => self.day += LONG,
            Step::Read => self.read().await,
        }
    }

    /// Nothing has to show what is not shown any more.
    fn forget_hidden(&mut self) {
        let due = std::mem::take(&mut self.due);
        self.due = due.into_iter().filter(|id| self.is_shown(id)).collect();
    }

    /// What a timeline leads to that is built anew.
    fn build(&mut self) {
        let followed = (0..AUTHORS).filter(|author| *author != POPULAR && self.follows[*author]);
        let mut found: Vec<_> = followed.flat_map(|author| self.last_of(author)).collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.truncate(BOUNDS.kept as usize);
        let pulled = self.made.iter().filter(|post| post.author == POPULAR).map(|post| post.id.clone());
        self.reached = found.into_iter().chain(pulled).collect();
        // What is there again above the place of the walk under way is not in it.
        let (reached, start) = (&self.reached, &self.start);
        let is_ahead = |id: &String| !matches!(start, PageStart::After(last) if id >= last);
        self.due.retain(|id| reached.contains(id) && is_ahead(id));
    }

    /// Whether a post may have been taken out: it is not above the floor, or as many later ones of its author as are kept for
    /// each were there.
    fn may_be_out(&self, id: &str, floor: Option<&str>) -> bool {
        let author = self.post(id).author;
        let later =
            self.reached.iter().filter(|other| other.as_str() > id && self.post(other).author == author);
        floor.is_some_and(|floor| id <= floor)
            || (author != POPULAR && later.count() >= BOUNDS.of_author as usize)
    }

    async fn read(&mut self) {
        if self.is_away() {
            self.build();
            self.read_on = self.day;
        }
        if self.start == PageStart::First {
            self.due = self.reached.iter().filter(|id| self.is_shown(id)).cloned().collect();
            self.walked.clear();
        }
        let request = PageRequest { start: self.start.clone(), limit: 3 };
        let page = Box::pin(self.timelines.page(&self.reader, request, self.now())).await.unwrap();
        assert!(page.items.len() <= 3);
        for post in page.items {
            assert!(self.is_shown(&post.id), "what is not to be seen");
            assert!(self.walked.last().is_none_or(|last| post.id < *last), "in order, and once");
            self.walked.push(post.id);
        }
        let head = self.timelines.store.head(&self.reader).await.unwrap();
        let floor = head.floor.as_deref();
        assert!(head.rows <= BOUNDS.kept + BOUNDS.slack && !head.building, "{head:?}");
        // The floor rises where what is above is full of what each author may have, and by nobody alone.
        let fair = |author: usize| {
            let above = self.reached.iter().filter(|id| floor.is_none_or(|floor| id.as_str() > floor));
            above.filter(|id| self.post(id).author == author).count().min(BOUNDS.of_author as usize)
        };
        let kept: usize = (0..POPULAR).map(fair).sum();
        assert!(floor.is_none() || kept >= BOUNDS.kept as usize, "{kept} above {floor:?}");
        if let Some(next) = page.next {
            self.start = PageStart::After(next);
            return;
        }
        let lost = self.due.iter().filter(|id| !self.walked.contains(id) && !self.may_be_out(id, floor));
        let lost: Vec<_> = lost.collect();
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
        timelines: Timelines::new(&db, &circles).holding(BOUNDS),
        circles,
        posts: PostStore::new(db.clone()),
        reader: new_id(),
        authors: (0..AUTHORS).map(|_| new_id()).collect(),
        follows: [false; AUTHORS],
        waiting: Vec::new(),
        made: Vec::new(),
        reached: BTreeSet::new(),
        day: 0,
        read_on: 0,
        start: PageStart::First,
        walked: Vec::new(),
        due: BTreeSet::new(),
    };
    assert!(world.timelines.store.note_popular(&world.authors[POPULAR]).await.unwrap());
    let (reader, friend) = (world.reader.clone(), world.authors[FRIEND].clone());
    for (one, other) in [(&reader, &friend), (&friend, &reader)] {
        Box::pin(world.circles.act(one, other, Act::Befriend, now())).await.unwrap();
    }
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
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_walk_loses_and_repeats_nothing(steps in prop::collection::vec(step(), 0..120)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
