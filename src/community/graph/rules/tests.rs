use proptest::prelude::*;

use super::*;

/// One of two people, with the counts of a circle that holds nobody else.
#[derive(Clone, Debug, Default)]
struct Person {
    tie: Tie,
    counts: Counts,
    last: u64,
    /// What the other is still to be told: all that ever was, as each may come late and again.
    sent: Vec<Notice>,
    news: Vec<News>,
}

impl Person {
    fn change<T>(&mut self, change: impl FnOnce(&mut Tie, &Counts, u64) -> Result<T, Refusal>) -> Option<T> {
        let before = self.tie.clone();
        let mut after = before.clone();
        let done = change(&mut after, &self.counts, self.last + 1).ok()?;
        self.last += 1;
        self.counts.replace(&before, &after);
        if after.own != before.own {
            self.sent.push(after.own);
        }
        self.tie = after;
        Some(done)
    }

    fn act(&mut self, act: &Act) -> bool {
        self.change(|tie, counts, number| tie.act(act, counts, number, at(0))).is_some()
    }

    fn hear(&mut self, notice: Notice) {
        let news = self.change(|tie, _, number| Ok(tie.hear(notice, number, at(0))));
        self.news.extend(news.flatten());
    }
}

fn at(days: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * days)
}

/// Both hear all that was said, until nothing is left.
fn settle(one: &mut Person, other: &mut Person) {
    for _ in 0..20 {
        one.sent.clone().into_iter().for_each(|notice| other.hear(notice));
        other.sent.clone().into_iter().for_each(|notice| one.hear(notice));
    }
}

/// What two people come to who have heard all.
fn agree(one: &Person, other: &Person) -> Result<(), TestCaseError> {
    for (mine, theirs) in [(one, other), (other, one)] {
        prop_assert_eq!(mine.tie.theirs, theirs.tie.own, "the copy is the other's own");
        prop_assert_eq!(mine.counts, Counts::of(&mine.tie), "counts are what the rows come to");
        let (here, there) = (mine.tie.friendship(), theirs.tie.friendship());
        prop_assert_eq!(here == Friendship::Friends, there == Friendship::Friends);
        if here == Friendship::Asked {
            prop_assert_eq!(there, Friendship::Requested);
        }
        if mine.tie.keeps_apart() {
            prop_assert!(theirs.tie.keeps_apart(), "both know of a block");
            prop_assert!(mine.tie.follow.is_none() && mine.tie.own.friend.is_none(), "a block wins");
            prop_assert_eq!(here, Friendship::None);
        }
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Step {
    /// One of them does something.
    Act(bool, Act),
    /// One of them hears something that the other said at any time before.
    Hear(bool, prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let act = prop_oneof![
        1 => Just(Act::Follow("f".to_owned())),
        1 => Just(Act::Unfollow),
        3 => Just(Act::Befriend),
        2 => Just(Act::Unfriend),
        1 => Just(Act::Block),
        1 => Just(Act::Unblock),
        1 => Just(Act::Mute),
        1 => Just(Act::Unmute),
    ];
    prop_oneof![
        (any::<bool>(), act).prop_map(|(who, act)| Step::Act(who, act)),
        (any::<bool>(), any::<prop::sample::Index>()).prop_map(|(who, which)| Step::Hear(who, which)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever two people do, and however late, often and out of order they hear of it.
    #[test]
    fn in_the_end_both_sides_agree_and_a_block_wins(steps in prop::collection::vec(step(), 0..40)) {
        let mut people = [Person::default(), Person::default()];
        for step in steps {
            match step {
                Step::Act(who, act) => {
                    people[usize::from(who)].act(&act);
                }
                Step::Hear(who, which) => {
                    let said = &people[usize::from(!who)].sent;
                    if !said.is_empty() {
                        let notice = said[which.index(said.len())];
                        people[usize::from(who)].hear(notice);
                    }
                }
            }
            for person in &people {
                prop_assert_eq!(person.counts, Counts::of(&person.tie));
            }
        }
        let [mut one, mut other] = people;
        settle(&mut one, &mut other);
        agree(&one, &other)?;
    }
}

#[test]
fn requests_that_cross_make_friends_and_both_are_told() {
    let (mut ana, mut ben) = (Person::default(), Person::default());
    assert!(ana.act(&Act::Befriend) && ben.act(&Act::Befriend));
    assert_eq!(ana.tie.friendship(), Friendship::Requested);
    settle(&mut ana, &mut ben);
    assert_eq!([ana.tie.friendship(), ben.tie.friendship()], [Friendship::Friends; 2]);
    assert_eq!([ana.news, ben.news], [[News::Accepted], [News::Accepted]]);
}

#[test]
fn a_request_that_is_declined_stays_unanswered_and_is_not_asked_again_for_a_month() {
    let (mut ana, mut ben) = (Person::default(), Person::default());
    ana.act(&Act::Befriend);
    settle(&mut ana, &mut ben);
    assert_eq!(ben.tie.friendship(), Friendship::Asked);
    ben.act(&Act::Unfriend);
    settle(&mut ana, &mut ben);
    assert_eq!((ana.tie.friendship(), ben.tie.friendship()), (Friendship::Requested, Friendship::None));
    ana.act(&Act::Unfriend);
    ana.act(&Act::Befriend);
    settle(&mut ana, &mut ben);
    assert_eq!(ben.tie.friendship(), Friendship::None, "asked again within the month");
    assert_eq!(ben.news, [News::Requested], "told of the first alone");
    ana.act(&Act::Unfriend);
    ana.act(&Act::Befriend);
    let said = ana.tie.own;
    assert_eq!(ben.tie.clone().hear(said, 100, at(31)), Some(News::Requested), "after the month");
    ben.act(&Act::Befriend);
    settle(&mut ana, &mut ben);
    assert_eq!([ana.tie.friendship(), ben.tie.friendship()], [Friendship::Friends; 2], "who said no may ask");
}

#[test]
fn who_asks_and_takes_it_back_rings_once_a_month() {
    let (mut ana, mut ben) = (Person::default(), Person::default());
    for _ in 0..5 {
        ana.act(&Act::Befriend);
        settle(&mut ana, &mut ben);
        assert_eq!(ben.tie.friendship(), Friendship::Asked, "it is listed");
        ana.act(&Act::Unfriend);
        settle(&mut ana, &mut ben);
    }
    assert_eq!(ben.news, [News::Requested]);
}

#[test]
fn a_friendship_ends_for_both_and_neither_can_begin_it_alone() {
    let (mut ana, mut ben) = (Person::default(), Person::default());
    ana.act(&Act::Befriend);
    settle(&mut ana, &mut ben);
    ben.act(&Act::Befriend);
    settle(&mut ana, &mut ben);
    ana.act(&Act::Unfriend);
    ana.act(&Act::Befriend);
    assert_eq!(ana.tie.friendship(), Friendship::Requested, "the other has not agreed again");
    settle(&mut ana, &mut ben);
    assert_eq!((ana.tie.friendship(), ben.tie.friendship()), (Friendship::Requested, Friendship::Asked));
}

#[test]
fn a_block_ends_what_was_between_the_two_also_when_it_is_heard_of_after_it_is_over() {
    let (mut ana, mut ben) = (Person::default(), Person::default());
    for person in [&mut ana, &mut ben] {
        person.act(&Act::Follow("f".to_owned()));
        person.act(&Act::Befriend);
    }
    settle(&mut ana, &mut ben);
    ana.act(&Act::Block);
    assert!(!ana.act(&Act::Befriend) && !ana.act(&Act::Follow("g".to_owned())), "unblock first");
    ana.act(&Act::Unblock);
    // Of all that is said the last alone is heard.
    ben.hear(ana.tie.own);
    assert!(ben.tie.follow.is_none() && ben.tie.own.friend.is_none());
    settle(&mut ana, &mut ben);
    assert_eq!([ana.tie.friendship(), ben.tie.friendship()], [Friendship::None; 2]);
    assert!(ben.act(&Act::Follow("h".to_owned())), "it is over");
}

#[test]
fn who_is_blocked_can_do_nothing_and_takes_back_all() {
    let (mut ana, mut ben) = (Person::default(), Person::default());
    ben.act(&Act::Mute);
    ana.act(&Act::Block);
    settle(&mut ana, &mut ben);
    for act in [Act::Follow("f".to_owned()), Act::Befriend, Act::Mute, Act::Block] {
        let refused = ben.tie.clone().act(&act, &ben.counts, 9, at(0));
        assert_eq!(refused, Err(Refusal::Hidden), "{act:?}");
    }
    for act in [Act::Unfollow, Act::Unfriend, Act::Unblock, Act::Unmute] {
        assert!(ben.act(&act), "{act:?}");
    }
    assert!(ben.tie.mute.is_none());
}

#[test]
fn bounds_hold_and_what_ends_frees() {
    let full = Counts {
        following: MOST_FOLLOWED,
        friends: MOST_FRIENDS - 1,
        requested: 0,
        asked: 7,
        blocked: 1,
        muted: MOST_KEPT_OUT - 1,
    };
    let act = |counts: &Counts, tie: &Tie, act| tie.clone().act(&act, counts, 1, at(0));
    let stranger = Tie::default();
    for refused in [Act::Follow("f".to_owned()), Act::Block, Act::Mute] {
        assert!(matches!(act(&full, &stranger, refused), Err(Refusal::Full(_))));
    }
    assert_eq!(act(&full, &stranger, Act::Befriend), Ok(()), "the last one");
    let asking = Counts { friends: 0, requested: MOST_REQUESTED, ..full };
    assert!(matches!(act(&asking, &stranger, Act::Befriend), Err(Refusal::Full(_))));
    let friends = Counts { friends: MOST_FRIENDS - 1, requested: 1, ..full };
    assert!(matches!(act(&friends, &stranger, Act::Befriend), Err(Refusal::Full(_))));
    let followed = Tie { follow: Some(Follow { id: "f".to_owned() }), ..Tie::default() };
    assert_eq!(act(&full, &followed, Act::Unfollow), Ok(()));
    assert_eq!(act(&full, &followed, Act::Follow("g".to_owned())), Ok(()), "it stands");
}
