//! Bookings: a partition a booking, with a row for each review of the stay.

use jiff::Timestamp;
use jiff::civil::Date;
use mundotango_storage::db::{
    Db, Decision, Effect, Erasure, Export, Fields, Found, Kind, Part, Wants, Whose, day_of_id,
};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::Serialize;

use super::lists::{self, BOOKINGS_BY_USER, REVIEWS_BY_SUBJECT, STAYS_BY_DAY};
use super::reviews::Review;
use super::rules::{Booking, Progress, Step};
use crate::community::housing::error::HousingError;
use crate::community::housing::status::{Side, Status};
use crate::community::housing::terms::Request;

/// The bookings.
pub static BOOKINGS: Kind<Request, Progress, Review> =
    Kind::new("bookings", "a booking: 20 KB of quotes and texts, 2 reviews of 10 KB, 40 KB", PERSONAL);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::Sides,
        Export::Given,
        Erasure::Anonymous("the booking is the other side's too, and stands behind its payment"),
        &["facts.host_id", "facts.guest_id"],
    ),
    Fields::of(
        Whose::Sides,
        Export::Given,
        Erasure::Kept(
            "10 years for bookkeeping, as its payment; it names nobody once both sides are replaced",
        ),
        &[
            "facts.listing_id",
            "facts.title",
            "facts.created_at",
            "facts.time_zone",
            "facts.stay.**",
            "facts.guests",
            "facts.quote.**",
            "facts.policy.**",
            "facts.answer_by",
            "head.status",
            "head.offer.number",
            "head.offer.stay.**",
            "head.offer.quote.**",
            "head.offer.answer_by",
            "head.bill.**",
            "head.reviews.**",
            "head.passed.*.*",
        ],
    ),
    Fields::of(Whose::At("facts.guest_id"), Export::Given, Erasure::Emptied, &["facts.message"]),
    Fields::of(Whose::At("facts.host_id"), Export::Given, Erasure::Emptied, &["head.offer.message"]),
    // Either side may have written it.
    Fields::of(Whose::Sides, Export::Given, Erasure::Emptied, &["head.reason"]),
    Fields::of(
        Whose::ByKey(WRITERS),
        Export::Given,
        Erasure::Anonymous("the mean is of the stars; they name nobody"),
        &["rows.r.stars", "rows.r.written_at"],
    ),
    Fields::of(Whose::ByKey(WRITERS), Export::Given, Erasure::Emptied, &["rows.r.text", "rows.r.private"]),
    Fields::of(
        Whose::ByKey(&[("guest", "facts.host_id"), ("host", "facts.guest_id")]),
        Export::Given,
        Erasure::Emptied,
        &["rows.r.reply.text", "rows.r.reply.written_at"],
    ),
    Fields::of_nobody(&["id", "keys.r", "head.version"]),
];

/// Who wrote which review.
const WRITERS: &[(&str, &str)] = &[("guest", "facts.guest_id"), ("host", "facts.host_id")];

/// Bookings that one page reads at most: past them it ends early, with a cursor to go on.
const MOST_READ: usize = 500;
/// Entries that are read at a time.
const ENTRIES_AT_ONCE: usize = 50;

type Open<'a> = Part<'a, Request, Progress, Review>;

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// The booking as it is then.
    pub booking: Booking,
    /// Whether the step changed it.
    pub changed: bool,
}

/// A review that is shown, with the stay that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The stay.
    pub booking: Booking,
    /// The side that wrote it.
    pub author: Side,
    /// What it says.
    pub review: Review,
}

/// Of whom or what reviews are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A place, by its guests.
    Listing(String),
    /// A user on a side, by the other side.
    User(Side, String),
}

/// The row of a side's review.
const fn review_key(author: Side) -> &'static str {
    match author {
        Side::Guest => "r/guest",
        Side::Host => "r/host",
    }
}

fn opened(id: &str, part: &Open<'_>) -> Booking {
    Booking { id: id.to_owned(), request: part.facts.clone(), progress: part.head.clone() }
}

fn found(id: &str, found: Found<Request, Progress>) -> Booking {
    Booking { id: id.to_owned(), request: found.facts, progress: found.head }
}

/// The bookings of a store.
#[derive(Clone)]
pub struct BookingStore(Db);

impl BookingStore {
    /// The bookings of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// Adds a booking that was just asked for, with what that causes. Its id is a UUID of version 7.
    pub async fn create(&self, booking: &Booking, effects: &[Effect]) -> Result<(), StoreError> {
        self.0.create(&BOOKINGS, &booking.id, &booking.request, &lists::asked(booking)?, effects).await
    }

    /// The booking with this id.
    pub async fn booking(&self, id: &str) -> Result<Option<Booking>, StoreError> {
        Ok(self.0.read(&BOOKINGS, id).await?.map(|one| found(id, one)))
    }

    /// The booking with this id and its reviews: the guest's, and the host's.
    pub async fn reviewed(&self, id: &str) -> Result<Option<(Booking, [Option<Review>; 2])>, StoreError> {
        let read = self.0.read_with(&BOOKINGS, id, &Side::BOTH.map(review_key)).await?;
        Ok(read.map(|(one, mut rows)| {
            (found(id, one), Side::BOTH.map(|author| rows.remove(review_key(author))))
        }))
    }

    /// Takes a step; what came of it, `None` if there is no such booking. `effects` are what a change causes, of the booking before
    /// and after it.
    pub async fn step<E: Serialize>(
        &self,
        id: &str,
        step: Step,
        now: Timestamp,
        effects: impl Fn(&Booking, &Booking) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Stepped>, HousingError> {
        let booking_id = id.to_owned();
        let rule = move |part: &mut Open<'_>| {
            let before = opened(&booking_id, part);
            let mut booking = before.clone();
            if !booking.take(&step, now)? {
                return Ok(Decision::Stands(Stepped { booking, changed: false }));
            }
            part.head = booking.progress.clone();
            if booking.progress.status == Status::Confirmed {
                for entry in lists::confirmed(&booking)? {
                    part.enter(entry);
                }
            }
            for effect in effects(&before, &booking)? {
                part.emit(&effect)?;
            }
            Ok(Decision::Write(Stepped { booking, changed: true }))
        };
        self.0.change(&BOOKINGS, id, Wants::head(), rule).await
    }

    /// Notes by `note` what happened to the money of a booking; what came of it, `None` if there is no such booking. `effects` are
    /// what a change causes, of the booking before and after it.
    pub async fn note_money<E: Serialize>(
        &self,
        id: &str,
        note: impl Fn(&mut Booking) -> bool + Send + 'static,
        effects: impl Fn(&Booking, &Booking) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Stepped>, StoreError> {
        let booking_id = id.to_owned();
        let rule = move |part: &mut Open<'_>| {
            let before = opened(&booking_id, part);
            let mut booking = before.clone();
            if !note(&mut booking) {
                return Ok::<_, StoreError>(Decision::Stands(Stepped { booking, changed: false }));
            }
            booking.progress.version += 1;
            part.head = booking.progress.clone();
            for effect in effects(&before, &booking)? {
                part.emit(&effect)?;
            }
            Ok(Decision::Write(Stepped { booking, changed: true }))
        };
        self.0.change(&BOOKINGS, id, Wants::head(), rule).await
    }

    /// Writes a side's review; the booking as it is then, `None` if there is none. `effects` are what follows where both are shown by
    /// it, of the guest's stars.
    pub async fn review<E: Serialize>(
        &self,
        id: &str,
        author: Side,
        review: Review,
        effects: impl Fn(&Booking, Option<u32>) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<Option<Booking>, HousingError> {
        let (booking_id, guests) = (id.to_owned(), review_key(Side::Guest));
        let rule = move |part: &mut Open<'_>| {
            let mut booking = opened(&booking_id, part);
            let is_revealed = booking.note_review(author, review.written_at)?;
            part.set(review_key(author), review.clone());
            let stars = part.row(guests).map(|review| review.stars);
            if is_revealed {
                reveal(part, &booking, review.written_at)?;
                for effect in effects(&booking, stars)? {
                    part.emit(&effect)?;
                }
            }
            part.head = booking.progress.clone();
            Ok(Decision::Write(booking))
        };
        self.0.change(&BOOKINGS, id, Wants::head().row(guests), rule).await
    }

    /// Shows what was written when the time for reviews is over; whether that is news. `effects` are as those of [`Self::review`].
    pub async fn reveal<E: Serialize>(
        &self,
        id: &str,
        now: Timestamp,
        effects: impl Fn(&Booking, Option<u32>) -> Result<Vec<E>, StoreError> + Send + 'static,
    ) -> Result<bool, StoreError> {
        let (booking_id, guests) = (id.to_owned(), review_key(Side::Guest));
        let rule = move |part: &mut Open<'_>| {
            let mut booking = opened(&booking_id, part);
            if !booking.note_revealed(now) {
                return Ok::<_, StoreError>(Decision::Stands(false));
            }
            let stars = part.row(guests).map(|review| review.stars);
            reveal(part, &booking, now)?;
            for effect in effects(&booking, stars)? {
                part.emit(&effect)?;
            }
            part.head = booking.progress.clone();
            Ok(Decision::Write(true))
        };
        let revealed = self.0.change(&BOOKINGS, id, Wants::head().row(guests), rule).await?;
        Ok(revealed.unwrap_or_default())
    }

    /// Adds what a side answers to the other's review, once that is shown; whether there is such a review.
    pub async fn reply(
        &self,
        id: &str,
        side: Side,
        text: String,
        now: Timestamp,
    ) -> Result<bool, HousingError> {
        let (booking_id, row) = (id.to_owned(), review_key(side.other()));
        let rule = move |part: &mut Open<'_>| {
            let booking = opened(&booking_id, part);
            let shown = booking.revealed_at(now).and_then(|_| part.row(row).cloned());
            let Some(mut review) = shown else { return Ok(Decision::Stands(false)) };
            review.reply(text.clone(), now)?;
            part.set(row, review);
            part.head.version += 1;
            Ok::<_, HousingError>(Decision::Write(true))
        };
        let replied = self.0.change(&BOOKINGS, id, Wants::head().row(row), rule).await?;
        Ok(replied.unwrap_or_default())
    }

    /// A user's bookings on some sides that stand in one of some states at a time (in any for none), the last one that was asked
    /// for first. The cursor is the id of the last one that was looked at.
    pub async fn bookings(
        &self,
        user_id: &str,
        sides: &[Side],
        statuses: &[Status],
        now: Timestamp,
        page: PageRequest,
    ) -> Result<Page<Booking>, StoreError> {
        let (mut after, mut skip) = page.start.behind(|cursor| day_of_id(&cursor).map(|_| cursor))?;
        let lists: Vec<_> = sides.iter().map(|side| lists::of_user(*side, user_id)).collect();
        let lists: Vec<_> = lists.iter().map(String::as_str).collect();
        let (mut items, mut read) = (Vec::new(), 0);
        loop {
            let entries = self.0.walk(&BOOKINGS_BY_USER, &lists, after.as_deref(), ENTRIES_AT_ONCE).await?;
            let ids: Vec<_> = entries.items.into_iter().map(|(id, ())| id).collect();
            let mut last = ids.iter().zip(self.0.read_all(&BOOKINGS, &ids).await?).peekable();
            read += ids.len();
            while items.len() < page.limit
                && let Some((id, one)) = last.next()
            {
                after = Some(id.clone());
                let booking = one.map(|one| found(id, one));
                let is_in =
                    |booking: &Booking| statuses.is_empty() || statuses.contains(&booking.status(now));
                if let Some(booking) = booking.filter(is_in) {
                    match skip {
                        0 => items.push(booking),
                        _ => skip -= 1,
                    }
                }
            }
            let is_over = entries.next.is_none() && last.peek().is_none();
            if is_over || items.len() >= page.limit || read >= MOST_READ {
                return Ok(Page { items, next: after.filter(|_| !is_over) });
            }
        }
    }

    /// A user's stays that were confirmed, as guest and as host, with those that were cancelled since: by check-in day, from one on.
    /// There are so many at most. [`Booking::status`] tells how each stands.
    pub async fn stays(&self, user_id: &str, from: Date, most: usize) -> Result<Vec<Booking>, StoreError> {
        // A day sorts before all keys of that day.
        let after = from.to_string();
        let entries = self.0.walk(&STAYS_BY_DAY, &[user_id], Some(&after), most).await?.items;
        let ids: Vec<_> = entries.iter().map(|(key, ())| lists::booking_of(key)).collect();
        let read = ids.iter().zip(self.0.read_all(&BOOKINGS, &ids).await?).zip(&entries);
        let stays = read.filter_map(|((id, one), (key, ()))| {
            let booking = found(id, one?);
            // An entry is written before the booking is confirmed.
            let was_confirmed = booking.progress.passed.iter().any(|one| one.status == Status::Confirmed);
            (was_confirmed && lists::stay_key(&booking) == *key).then_some(booking)
        });
        Ok(stays.collect())
    }

    /// The reviews of a subject that are shown, the last one first.
    pub async fn reviews(
        &self,
        subject: &Subject,
        now: Timestamp,
        page: PageRequest,
    ) -> Result<Page<Shown>, StoreError> {
        let (after, skip) = page.start.behind(Some)?;
        let (list, author) = match subject {
            Subject::Listing(id) => (lists::of_listing(id), Side::Guest),
            Subject::User(side, id) => (lists::of_user(*side, id), side.other()),
        };
        let limit = skip.saturating_add(page.limit);
        let entries = self.0.walk(&REVIEWS_BY_SUBJECT, &[&list], after.as_deref(), limit).await?;
        let keys = entries.items.into_iter().skip(skip).map(|(key, ())| key);
        let keys: Vec<_> = keys.collect();
        let ids: Vec<_> = keys.iter().map(|key| lists::booking_of(key)).collect();
        let (stays, reviews) = tokio::try_join!(
            self.0.read_all(&BOOKINGS, &ids),
            self.0.row_of_all(&BOOKINGS, &ids, review_key(author)),
        )?;
        let read = keys.iter().zip(&ids).zip(stays).zip(reviews);
        let shown = read.filter_map(|(((key, id), one), review)| {
            let booking = found(id, one?);
            let at = booking.revealed_at(now)?;
            (lists::review_key(id, at) == *key).then_some(Shown { booking, author, review: review? })
        });
        Ok(Page { items: shown.collect(), next: entries.next })
    }
}

/// Puts the reviews of a stay into the lists.
fn reveal(part: &mut Open<'_>, booking: &Booking, now: Timestamp) -> Result<(), StoreError> {
    if let Some(at) = booking.revealed_at(now) {
        for entry in lists::revealed(booking, at)? {
            part.enter(entry);
        }
    }
    Ok(())
}
