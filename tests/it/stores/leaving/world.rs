//! A user who leaves, and others, with things of all features.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use mundotango::community::accounts::profile::Profile;
use mundotango::community::accounts::rules::Login;
use mundotango::community::accounts::store::{AccountStore, NewLogin, User};
use mundotango::community::bookmarks::store::BookmarkStore;
use mundotango::community::calendars::imported::{ImportedStore, Known};
use mundotango::community::effects::Effect;
use mundotango::community::events::door::CheckIn;
use mundotango::community::events::rules::{CoHostRole, RsvpChoice};
use mundotango::community::events::store::{Event, EventStore};
use mundotango::community::housing::bookings::reviews::Review;
use mundotango::community::housing::bookings::saga::Bookings;
use mundotango::community::housing::listings::kind::Listing;
use mundotango::community::housing::listings::requests::Asked;
use mundotango::community::housing::status::Side;
use mundotango::community::location::Location;
use mundotango::community::money::{Currency, Money};
use mundotango::community::payments::ledger::Ledger;
use mundotango::community::payments::quote::Purpose;
use mundotango::community::payments::reads::Order;
use mundotango::community::payments::state::{Facts, Movement, Posting};
use mundotango::community::payments::store::PaymentStore;
use mundotango::community::posts::editing::PostEdit;
use mundotango::community::posts::rules::ReactionType;
use mundotango::community::posts::store::{Post, PostStore, Text, Visibility};
use mundotango::community::posts::timeline::store::{Putting, TimelineStore};
use mundotango::community::roles::Role;
use mundotango::life_ceo::store::{Conversation, ConversationStore, Speaker, Turn};
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::now;

use super::super::NO_EFFECTS;
use super::super::events::event;
use super::super::housing::{ask, asked, details, stay};
use super::social::{self, Social};
use super::staff::{self, Work};

/// What a user who leaves has said, each of which occurs nowhere else.
pub const WORDS: [&str; 9] = [
    "Palabra-post",
    "Palabra-privada",
    "Palabra-evento",
    "Palabra-lugar",
    "Palabra-mensaje",
    "Palabra-resena",
    "Palabra-agente",
    "Palabra-casa",
    "Palabra-editada",
];

/// A person with an account.
pub struct Somebody {
    pub user: User,
}

impl Somebody {
    pub async fn new(db: &Db, name: &str) -> Self {
        let id = new_id();
        let mark = &id[id.len() - 12..];
        let user = User {
            email: format!("{name}.{mark}@example.net"),
            username: format!("{name}_{mark}"),
            full_name: format!("{name} {mark}"),
            role: Role::User,
            bio: Some(format!("bio of {name} {mark}")),
            city: None,
            avatar_url: None,
            profile: Profile::default(),
            is_verified: false,
            paused_since: None,
            created_at: now(),
            id,
        };
        let store = AccountStore::new(db.clone());
        assert_eq!(store.create(&user, "hash".to_owned()).await.unwrap(), Ok(()));
        let login = Login {
            id: new_id(),
            user_id: user.id.clone(),
            token_hash: "hash".to_owned(),
            previous_hash: None,
            rotated_at: None,
            created_at: now(),
            expires_at: now() + SignedDuration::from_hours(1),
            device: Some(format!("phone of {name}")),
            network: None,
        };
        let made = store.create_login(login, Some("hash".to_owned())).await.unwrap();
        assert!(matches!(made, NewLogin::Made(_)));
        Self { user }
    }

    pub fn id(&self) -> &str {
        &self.user.id
    }

    /// All by which the person would be recognised.
    pub fn traces(&self) -> Vec<String> {
        let User { id, email, username, full_name, bio, .. } = self.user.clone();
        vec![id, email.to_lowercase(), username.to_lowercase(), full_name, bio.unwrap_or_default()]
    }
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// What of others is to stay as it is, and counts that are to be right.
pub struct World {
    pub ana: Somebody,
    pub ben: Somebody,
    pub eva: Somebody,
    pub past: Event,
    pub to_come: Event,
    pub handed: Event,
    pub cancelled: Event,
    pub bens: Event,
    pub post: Post,
    pub stay: String,
    pub asked: String,
    pub listing: Listing,
    pub payment: String,
    pub social: Social,
    pub work: Work,
}

impl World {
    /// Who leaves, and two others.
    pub fn people(&self) -> [&Somebody; 3] {
        [&self.ana, &self.ben, &self.eva]
    }

    /// All that is looked for of what the one who leaves has said.
    pub fn words() -> Vec<String> {
        let words = WORDS.iter().chain(&social::SAID).chain([&staff::SAID]);
        words.map(|word| (*word).to_owned()).collect()
    }
}

fn post_of(author: &Somebody, content: &str, visibility: Visibility) -> Post {
    Post::made(new_id(), author.id().to_owned(), Text::new(content, now()), visibility)
}

fn event_of(host: &Somebody, start: Timestamp, capacity: Option<u32>) -> Event {
    let location =
        Location { text: WORDS[3].to_owned(), city: Some("Rosario".to_owned()), coordinates: None };
    let is_anas = host.user.username.starts_with("ana");
    let description = if is_anas { WORDS[2] } else { "by others" };
    let location =
        if is_anas { location } else { Location { text: "La Viruta".to_owned(), ..Location::default() } };
    Event {
        host_id: host.id().to_owned(),
        description: description.to_owned(),
        location,
        ..event(start, capacity)
    }
}

async fn answer(store: &EventStore, event: &Event, user: &Somebody, choice: RsvpChoice, at: Timestamp) {
    store.rsvp(&event.id, user.id(), choice, at, |_| NO_EFFECTS).await.unwrap().unwrap();
}

async fn events_of(db: &Db, ana: &Somebody, ben: &Somebody, eva: &Somebody) -> [Event; 5] {
    let (store, at) = (EventStore::new(db.clone()), now());
    let long_ago = at - hours(24 * 40);
    let past = event_of(ana, at - hours(24 * 20), Some(1));
    let to_come = event_of(eva, at + hours(24 * 30), Some(1));
    // It is Ben's to say what it is, once it is his.
    let handed = Event {
        description: "Handed over".to_owned(),
        location: Location { text: "La Viruta".to_owned(), ..Location::default() },
        ..event_of(ana, at + hours(24 * 31), None)
    };
    let cancelled = event_of(ana, at + hours(24 * 32), None);
    let bens = event_of(ben, at - hours(24 * 21), None);
    for one in [&past, &to_come, &handed, &cancelled, &bens] {
        store.create(one, &[]).await.unwrap();
    }
    // Over: Ben has the place, Ana waits.
    for user in [ben, ana] {
        answer(&store, &past, user, RsvpChoice::Going, long_ago).await;
    }
    answer(&store, &bens, ana, RsvpChoice::Going, long_ago).await;
    answer(&store, &bens, ben, RsvpChoice::Maybe, long_ago).await;
    // To come: Ana has the place, Ben waits.
    for user in [ana, ben] {
        answer(&store, &to_come, user, RsvpChoice::Going, at).await;
    }
    answer(&store, &cancelled, ben, RsvpChoice::Going, at).await;
    store.set_co_host(&handed.id, ben.id(), Some(CoHostRole::Editor)).await.unwrap();
    store.set_co_host(&bens.id, ana.id(), Some(CoHostRole::Door)).await.unwrap();
    let check_in = |by: &Somebody| CheckIn {
        at: at - hours(24 * 21),
        by: by.id().to_owned(),
        device: Some("A phone".to_owned()),
    };
    let check_ins =
        BTreeMap::from([(ana.id().to_owned(), check_in(ben)), (ben.id().to_owned(), check_in(ana))]);
    store.check_in(&bens.id, check_ins).await.unwrap();
    ImportedStore::new(db.clone()).claim(ana.id(), "uid", Known::Event(past.id.clone())).await.unwrap();
    [past, to_come, handed, cancelled, bens]
}

async fn stays_of(db: &Db, ana: &Somebody, ben: &Somebody) -> (String, String, Listing) {
    let (bookings, at) = (Bookings::new(db), "2030-05-01T12:00:00Z".parse::<Timestamp>().unwrap());
    let mut listing = Listing::new(new_id(), ben.id().to_owned(), at, details());
    bookings.listings.create(&listing).await.unwrap();
    let message = Asked { message: Some(WORDS[4].to_owned()), ..asked(ana.id(), stay(5, 3)) };
    let booking = bookings.ask(&listing.id, &new_id(), message, at).await.unwrap().unwrap();
    let booking = bookings.confirm(&booking, 0, at + hours(1)).await.unwrap();
    let day = |days: i64| at + hours(24 * days);
    let review = |text: &str, now| Review {
        stars: 4,
        text: text.to_owned(),
        private: None,
        written_at: now,
        reply: None,
    };
    bookings.review(&booking, Side::Guest, review(WORDS[5], day(9))).await.unwrap();
    bookings.review(&booking, Side::Host, review("A good guest.", day(10))).await.unwrap();
    bookings.store.reply(&booking.id, Side::Guest, WORDS[5].to_owned(), day(11)).await.unwrap();
    bookings.listings.rate(&listing.id, &booking.id, 4).await.unwrap();
    let asked = ask(&bookings, &listing, ana.id(), stay(40, 2), at).await;
    let mut own = details();
    WORDS[7].clone_into(&mut own.description);
    let anas = Listing::new(new_id(), ana.id().to_owned(), at, own);
    bookings.listings.create(&anas).await.unwrap();
    listing = bookings.listings.listing(&listing.id).await.unwrap().unwrap();
    (booking.id, asked.id, listing)
}

async fn payment_of(db: &Db, payer: &Somebody, payee: &Somebody) -> String {
    let store = PaymentStore::new(db.clone());
    let order = Order { purpose: Purpose::Ticket, thing: new_id(), payer: payer.id().to_owned() };
    let (id, attempt) = store.begin(&order, None, new_id(), now()).await.unwrap();
    let currency = Currency::parse("EUR").unwrap();
    let facts = Facts {
        purpose: order.purpose,
        thing: order.thing.clone(),
        attempt,
        payer: order.payer.clone(),
        payee: payee.id().to_owned(),
        title: "Milonga".to_owned(),
        lines: Vec::new(),
        total: Money::new(2500, currency),
        fee: 62,
        account: None,
        made_at: now(),
        expires_at: now() + hours(1),
    };
    let payment = store.create(&id, &facts).await.unwrap();
    let posting = Posting { movement: Movement::Captured, minor: 2500, fee: 62, at: now() };
    Ledger::new(db.clone()).post(&payment.id, &payment.facts, "capture", posting).await.unwrap();
    id
}

pub async fn world(db: &Db) -> World {
    let (ana, ben) = (Somebody::new(db, "ana").await, Somebody::new(db, "ben").await);
    let eva = Somebody::new(db, "eva").await;
    let posts = PostStore::new(db.clone());
    let post = post_of(&ben, "by others", Visibility::Public);
    let own = [post_of(&ana, WORDS[0], Visibility::Public), post_of(&ana, WORDS[1], Visibility::Private)];
    for one in own.iter().chain([&post]) {
        posts.create(one, &[]).await.unwrap();
        for user in [&ana, &ben] {
            posts.react(&one.id, user.id(), Some(ReactionType::Heart)).await.unwrap();
        }
    }
    let edit = PostEdit { words: Some((WORDS[8].to_owned(), BTreeMap::new())), ..PostEdit::default() };
    posts.edit(&own[0].id, edit, now(), |_| NO_EFFECTS).await.unwrap().unwrap();
    let bookmarks = BookmarkStore::new(db.clone());
    for user in [&ana, &ben] {
        bookmarks.set(user.id(), &post.id, true, None::<Effect>).await.unwrap();
    }
    let timelines = TimelineStore::new(db.clone());
    for user in [&ana, &ben] {
        let leads = [&own[0], &post].map(|post| (post.id.clone(), post.author_id.clone()));
        timelines.put(user.id(), leads.to_vec(), Putting::Asked).await.unwrap();
    }
    assert!(timelines.note_popular(ana.id()).await.unwrap());
    let conversations = ConversationStore::new(db.clone());
    let conversation = Conversation {
        id: new_id(),
        user_id: ana.id().to_owned(),
        agent_id: "travel".to_owned(),
        created_at: now(),
    };
    conversations.create(&conversation).await.unwrap();
    let fence = conversations.take_over(&conversation.id).await.unwrap().unwrap();
    let turn = Turn {
        number: 0,
        id: new_id(),
        speaker: Speaker::User,
        content: WORDS[6].to_owned(),
        finished: true,
        created_at: now(),
    };
    conversations.add_turn(&conversation.id, fence, turn).await.unwrap();
    let [past, to_come, handed, cancelled, bens] = Box::pin(events_of(db, &ana, &ben, &eva)).await;
    let (stay, asked, listing) = Box::pin(stays_of(db, &ana, &ben)).await;
    let payment = Box::pin(payment_of(db, &ben, &ana)).await;
    Box::pin(payment_of(db, &ana, &ben)).await;
    let people = [&ana, &ben, &eva];
    let social = Box::pin(social::social(db, people, &post.id, &own[0].id)).await;
    let work = Box::pin(staff::work(db, people)).await;
    World {
        ana,
        ben,
        eva,
        past,
        to_come,
        handed,
        cancelled,
        bens,
        post,
        stay,
        asked,
        listing,
        payment,
        social,
        work,
    }
}
