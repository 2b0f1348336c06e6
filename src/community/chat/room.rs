//! What makes room for what in a user's list of conversations. Groups that strangers offer make room for each other, and so do
//! direct requests, so that one who offers many takes the place of nobody else's request, and no stranger that of a conversation
//! which was answered. Pure.

use super::kinds::{InboxHead, ListState, Listed};

/// Conversations of one list; the one in which nothing happened for longest makes room.
pub const MOST_LISTED: u64 = 2_000;
/// Direct requests that wait in one list; the oldest makes room.
pub const MOST_REQUESTS: u64 = 100;
/// Groups of strangers that wait in one list; the oldest makes room.
pub const MOST_OFFERS: usize = 50;
/// Groups of one stranger among them. Another one is refused, or makes room where it is offered at the same time.
pub const MOST_OFFERS_OF_ONE: usize = 5;

/// How many rows the parts of a list have at most.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    listed: u64,
    requests: u64,
    offers: usize,
    offers_of_one: usize,
}

/// Those of all lists.
const BOUNDS: Bounds = Bounds {
    listed: MOST_LISTED,
    requests: MOST_REQUESTS,
    offers: MOST_OFFERS,
    offers_of_one: MOST_OFFERS_OF_ONE,
};

/// A list is full of what makes no room for what waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// In which part of a list, each with a bound of its own, a conversation has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room<'a> {
    /// Among those that were answered.
    Answered,
    /// Among the direct ones that wait for an answer.
    Request,
    /// Among the groups that wait for an answer, by who offers them.
    Offer(&'a str),
}

impl<'a> Room<'a> {
    fn of(row: &'a Listed) -> Self {
        match (row.state, &row.offered_by) {
            (ListState::Request, Some(by)) => Self::Offer(by),
            (ListState::Request, None) => Self::Request,
            (ListState::Open | ListState::Declined, _) => Self::Answered,
        }
    }
}

/// Rows of which the oldest makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full<'a> {
    /// All of them.
    List,
    /// Direct requests.
    Requests,
    /// Groups of strangers.
    Offers,
    /// Groups of this stranger.
    OffersOf(&'a str),
}

impl<'a> Full<'a> {
    /// What is full for a row that is about to stand in the place of another one, or of none. In a full list, what waits for an
    /// answer makes room for its like alone.
    pub fn of(head: &InboxHead, before: Option<&Listed>, row: &'a Listed) -> Result<Option<Self>, NoRoom> {
        Self::within(BOUNDS, head, before, row)
    }

    fn within(
        most: Bounds,
        head: &InboxHead,
        before: Option<&Listed>,
        row: &'a Listed,
    ) -> Result<Option<Self>, NoRoom> {
        let room = Room::of(row);
        let is_full = before.is_none() && head.count >= most.listed;
        Ok(match room {
            _ if before.is_some_and(|before| Room::of(before) == room) => None,
            Room::Offer(by) if head.offers_of(by) >= most.offers_of_one => Some(Self::OffersOf(by)),
            Room::Offer(_) if head.offers.len() >= most.offers => Some(Self::Offers),
            Room::Request if head.requests >= most.requests => Some(Self::Requests),
            _ if !is_full => None,
            Room::Answered => Some(Self::List),
            Room::Offer(_) if !head.offers.is_empty() => Some(Self::Offers),
            Room::Request if head.requests > 0 => Some(Self::Requests),
            Room::Offer(_) | Room::Request => return Err(NoRoom),
        })
    }

    /// Whether a row is one of those of which the oldest makes room.
    pub fn holds(self, row: &Listed) -> bool {
        match (self, Room::of(row)) {
            (Self::List, _) | (Self::Requests, Room::Request) | (Self::Offers, Room::Offer(_)) => true,
            (Self::OffersOf(one), Room::Offer(by)) => one == by,
            _ => false,
        }
    }
}

impl InboxHead {
    /// How many groups of somebody wait for an answer.
    pub fn offers_of(&self, by: &str) -> usize {
        self.offers.iter().filter(|one| *one == by).count()
    }

    /// Counts a row in the place of another one.
    pub fn replace(&mut self, before: Option<&Listed>, after: Option<&Listed>) {
        let (was, is) = (before.map(Room::of), after.map(Room::of));
        let counted = |count: u64, was: bool, is: bool| (count + u64::from(is)).saturating_sub(was.into());
        self.count = counted(self.count, was.is_some(), is.is_some());
        self.requests = counted(self.requests, was == Some(Room::Request), is == Some(Room::Request));
        if let Some(Room::Offer(by)) = was
            && let Some(place) = self.offers.iter().position(|one| one == by)
        {
            self.offers.swap_remove(place);
        }
        if let Some(Room::Offer(by)) = is {
            self.offers.push(by.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: usize) -> Timestamp {
        Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap()
    }

    /// A list as the store keeps it.
    #[derive(Default)]
    struct List {
        head: InboxHead,
        rows: BTreeMap<String, Listed>,
    }

    /// Bounds that a few rows reach.
    const FEW: Bounds = Bounds { listed: 40, requests: 10, offers: 12, offers_of_one: 3 };

    impl List {
        fn put(&mut self, id: &str, row: Listed) {
            self.put_within(BOUNDS, id, row).unwrap();
        }

        fn put_within(&mut self, most: Bounds, id: &str, row: Listed) -> Result<(), NoRoom> {
            let before = self.rows.get(id).cloned();
            if let Some(full) = Full::within(most, &self.head, before.as_ref(), &row)? {
                let others = self.rows.iter().filter(|(other, row)| *other != id && full.holds(row));
                let oldest = others.min_by_key(|(_, row)| row.at).map(|(id, _)| id.clone());
                let gone = self.rows.remove(&oldest.unwrap()).unwrap();
                self.head.replace(Some(&gone), None);
            }
            self.head.replace(before.as_ref(), Some(&row));
            self.rows.insert(id.to_owned(), row);
            Ok(())
        }

        fn count(&self, is_meant: impl Fn(&Listed) -> bool) -> usize {
            self.rows.values().filter(|row| is_meant(row)).count()
        }
    }

    fn offer(by: &str, seconds: usize) -> Listed {
        Listed::new(ListState::Request, Some(by.to_owned()), 0, at(seconds))
    }

    fn request(seconds: usize) -> Listed {
        Listed::new(ListState::Request, None, 0, at(seconds))
    }

    #[test]
    fn a_stranger_with_many_groups_takes_the_place_of_no_other() {
        let mut list = List::default();
        list.put("of ben", request(0));
        list.put("group of cam", offer("cam", 1));
        for number in 0..100 {
            list.put(&format!("group {number}"), offer("ana", 2 + number));
        }
        assert_eq!(
            (list.rows.len(), list.head.offers_of("ana")),
            (2 + MOST_OFFERS_OF_ONE, MOST_OFFERS_OF_ONE)
        );
        assert!(list.rows.contains_key("of ben") && list.rows.contains_key("group of cam"));
        assert!(list.rows.contains_key("group 99") && !list.rows.contains_key("group 94"), "the oldest goes");
    }

    #[test]
    fn a_full_list_of_answered_conversations_makes_no_room_for_strangers() {
        let open = |seconds| Listed::new(ListState::Open, None, 0, at(seconds));
        let mut list = List::default();
        list.put_within(FEW, "of ben", request(0)).unwrap();
        for number in 1..40 {
            list.put_within(FEW, &format!("open {number}"), open(number)).unwrap();
        }
        assert_eq!(list.put_within(FEW, "group", offer("ana", 50)), Err(NoRoom));
        list.put_within(FEW, "of cam", request(51)).unwrap();
        assert!(!list.rows.contains_key("of ben") && list.rows.contains_key("open 1"), "its like goes");
        list.put_within(FEW, "open 40", open(52)).unwrap();
        assert!(!list.rows.contains_key("open 1"), "the oldest goes for what the user answers");
        assert_eq!(list.rows.len(), 40);
    }

    proptest! {
        #[test]
        fn each_part_of_a_list_has_its_bound_and_is_counted(
            steps in prop::collection::vec((0..150_usize, 0..4_u8, 0..20_u8), 1..600),
        ) {
            let mut list = List::default();
            for (seconds, (id, kind, by)) in steps.into_iter().enumerate() {
                let answered = list.count(|row| row.state != ListState::Request);
                let requests = list.count(|row| Room::of(row) == Room::Request);
                let offers = list.count(|row| row.offered_by.is_some());
                let id = id.to_string();
                let before = list.rows.get(&id).cloned();
                let row = match kind {
                    0 => request(seconds),
                    1 => Listed::new(ListState::Open, None, 0, at(seconds)),
                    _ => offer(&by.to_string(), seconds),
                };
                let own = before.as_ref().map(Room::of);
                if list.put_within(FEW, &id, row).is_err() {
                    prop_assert!(kind != 1 && own.is_none() && list.rows.len() as u64 == FEW.listed);
                    prop_assert_eq!(if kind == 0 { requests } else { offers }, 0);
                    continue;
                }
                if kind != 1 {
                    prop_assert_eq!(
                        list.count(|row| row.state != ListState::Request),
                        answered - usize::from(own == Some(Room::Answered))
                    );
                }
                if kind > 1 {
                    prop_assert_eq!(
                        list.count(|row| Room::of(row) == Room::Request),
                        requests - usize::from(own == Some(Room::Request))
                    );
                }
                let requests = list.count(|row| Room::of(row) == Room::Request) as u64;
                let offers = list.count(|row| row.offered_by.is_some());
                prop_assert!(requests <= FEW.requests && offers <= FEW.offers);
                prop_assert!(list.head.count <= FEW.listed);
                prop_assert_eq!(
                    (list.head.count, list.head.requests, list.head.offers.len()),
                    (list.rows.len() as u64, requests, offers)
                );
                for by in 0..20_u8 {
                    let by = by.to_string();
                    let of_one = list.count(|row| Room::of(row) == Room::Offer(&by));
                    prop_assert!(of_one <= FEW.offers_of_one && list.head.offers_of(&by) == of_one);
                }
            }
        }
    }
}
