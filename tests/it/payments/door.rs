//! Something to pay for: a door with a number of places, which are held for who is about to pay.

use std::collections::BTreeMap;

use async_trait::async_trait;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use mundotango::community::money::Currency;
use mundotango::community::payments::payable::Payable;
use mundotango::community::payments::quote::{Line, Quote};
use mundotango::community::payments::reads::Payment;
use mundotango::community::payments::state::Place;
use mundotango_gateway::problem::Problem;
use mundotango_jobs::Failure;
use parking_lot::Mutex;

struct State {
    now: Timestamp,
    price: u64,
    hold: SignedDuration,
    room: usize,
    /// Payers with the payments by which they have a place.
    places: BTreeMap<String, String>,
    released: Vec<String>,
    /// How often it does not answer.
    failures: usize,
}

/// A door.
pub struct Door(Mutex<State>);

impl Door {
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(State {
            now,
            price: 1250,
            hold: SignedDuration::from_mins(35),
            room: 10,
            places: BTreeMap::new(),
            released: Vec::new(),
            failures: 0,
        }))
    }

    pub fn set_now(&self, now: Timestamp) {
        self.0.lock().now = now;
    }

    pub fn set_price(&self, price: u64) {
        self.0.lock().price = price;
    }

    pub fn set_hold(&self, hold: SignedDuration) {
        self.0.lock().hold = hold;
    }

    pub fn set_room(&self, room: usize) {
        self.0.lock().room = room;
    }

    /// So often it does not answer whether there is room.
    pub fn fail(&self, times: usize) {
        self.0.lock().failures = times;
    }

    pub fn held_until(&self, now: Timestamp) -> Timestamp {
        now + self.0.lock().hold
    }

    /// The payment by which a payer has a place.
    pub fn has(&self, payer: &str) -> Option<String> {
        self.0.lock().places.get(payer).cloned()
    }

    /// A payer gives the place up.
    pub fn give_up(&self, payer: &str) {
        self.0.lock().places.remove(payer);
    }

    /// For whom nothing is held any more.
    pub fn released(&self) -> Vec<String> {
        self.0.lock().released.clone()
    }
}

#[async_trait]
impl Payable for Door {
    async fn quote(&self, thing: &str, payer: &str) -> Result<Quote, Problem> {
        let state = self.0.lock();
        if thing != "door" {
            return Err(Problem::not_found("door"));
        }
        if state.places.contains_key(payer) {
            return Err(Problem::new(StatusCode::CONFLICT, format!("{payer} has a place")));
        }
        Ok(Quote {
            payee: "host".to_owned(),
            title: "Milonga".to_owned(),
            currency: Currency::parse("EUR").unwrap(),
            lines: vec![Line { name: "Entrance".to_owned(), unit: state.price, quantity: 2 }],
            held_until: state.now + state.hold,
        })
    }

    async fn paid(&self, _: &str, payment: &Payment) -> Result<Place, Failure> {
        let mut state = self.0.lock();
        if state.failures > 0 {
            state.failures -= 1;
            return Err(Failure::retry("the door does not answer"));
        }
        let payer = payment.facts.payer.clone();
        match state.places.get(&payer) {
            Some(own) if *own == payment.id => return Ok(Place::Taken),
            Some(_) => return Ok(Place::NoRoom),
            None => {}
        }
        if state.places.len() >= state.room {
            return Ok(Place::NoRoom);
        }
        state.places.insert(payer, payment.id.clone());
        Ok(Place::Taken)
    }

    async fn released(&self, _: &str, payment: &Payment) -> Result<(), Failure> {
        self.0.lock().released.push(payment.facts.payer.clone());
        Ok(())
    }
}
