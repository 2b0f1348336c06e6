//! What series promise: whoever works on one, wherever an attempt was cut off, and however often it is done again.

mod hosts;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, date, time};
use mundotango::community::events::listing::EventFilter;
use mundotango::community::events::occurrence::Field;
use mundotango::community::events::rules::{Cancelled, Plan, RsvpChoice, RsvpStatus, Settings};
use mundotango::community::events::schedule::Schedule;
use mundotango::community::events::series::hosted::MOST_LIVE;
use mundotango::community::events::series::rules::{Day, End, Ends, Repeats, Rule, Times};
use mundotango::community::events::series::state::{DateState, Facts, Head, Series, Template};
use mundotango::community::events::series::store::{SeriesError, SeriesStore};
use mundotango::community::events::series::work::SeriesWorker;
use mundotango::community::events::store::{Edited, Event, EventStore, EventType};
use mundotango::community::location::Location;
use mundotango_protocol::new_id;
use mundotango_storage::StoreError;
use mundotango_storage::db::Db;
use tokio::task::JoinSet;

use super::moderation::act;
use super::taken_away::caused;
use super::{NO_EFFECTS, cut_off, first};

const FIRST: Date = date(2031, 1, 7); // A Tuesday.
const ENOUGH: usize = 300;

fn now() -> Timestamp {
    "2030-12-20T12:00:00Z".parse().unwrap()
}

fn weekly(on: &[Day], ends: Ends) -> Rule {
    let repeats = Repeats::Weekly(on.iter().copied().collect());
    Rule { repeats, interval: 1, ends, excluded: BTreeSet::new() }
}

/// One node on a store.
struct Node {
    series: SeriesStore,
    events: EventStore,
    worker: SeriesWorker,
}

impl Node {
    fn new(db: &Db) -> Self {
        Self {
            series: SeriesStore::new(db.clone()),
            events: EventStore::new(db.clone()),
            worker: SeriesWorker::new(db),
        }
    }

    /// A series in a city of its own, of which nothing is worked on yet.
    async fn give(&self, rule: Rule, capacity: Option<u32>) -> Series {
        self.give_as(&new_id(), rule, capacity).await
    }

    async fn give_as(&self, host_id: &str, rule: Rule, capacity: Option<u32>) -> Series {
        let city = Some(new_id());
        let template = Template {
            rev: 1,
            title: "Milonga".to_owned(),
            description: String::new(),
            location: Location { text: "La Viruta".to_owned(), city, coordinates: None },
            settings: Settings::capacity(capacity),
            times: Times { start: time(21, 0, 0, 0), end: Some(End { days: 1, time: time(3, 0, 0, 0) }) },
            rule,
            first: FIRST,
            owner: None,
        };
        let facts = Facts {
            host_id: host_id.to_owned(),
            zone: "Europe/Berlin".to_owned(),
            event_type: EventType::Milonga,
            created_at: now(),
            template,
            lives_until: date(2032, 1, 7),
            continues: None,
        };
        let series = Series { id: new_id(), facts, head: Head::default() };
        self.series.create(&series, &[]).await.unwrap();
        series
    }

    async fn work(&self, id: &str) {
        assert!(self.worker.run(id, now(), ENOUGH).await.unwrap(), "the work ends");
    }

    async fn series(&self, id: &str) -> Series {
        self.series.series(id).await.unwrap().unwrap()
    }

    /// The dates of a series with their events.
    async fn dates(&self, id: &str) -> BTreeMap<DateTime, Event> {
        let series = self.series(id).await;
        let dates = self.series.dates(&series, Date::MIN, first(400)).await.unwrap().items;
        let mut found = BTreeMap::new();
        for (original, row) in dates {
            assert_ne!(row.state, DateState::Planned, "{original} of {id} has no event");
            let event = self.events.event(&row.event_id).await.unwrap().unwrap();
            assert_eq!(row.state == DateState::Cancelled, event.cancelled.is_some(), "{original}");
            found.insert(original, event);
        }
        found
    }

    async fn change(
        &self,
        id: &str,
        from: Option<DateTime>,
        edit: impl Fn(Template) -> Template + Send + 'static,
    ) -> Result<Option<Series>, SeriesError> {
        let changed = self.series.change(id, from, new_id(), now(), edit, |_| NO_EFFECTS).await?;
        Ok(changed.unwrap().rest)
    }

    async fn answer(&self, event_id: &str, user: &str, choice: RsvpChoice) {
        self.events.rsvp(event_id, user, choice, now(), |_| NO_EFFECTS).await.unwrap().unwrap();
    }

    async fn status(&self, event_id: &str, user: &str) -> Option<RsvpStatus> {
        self.events.rsvp_of(event_id, user).await.unwrap().map(|rsvp| rsvp.status)
    }

    /// Fails unless all events of a city that take place are dates of these series, each with its place, its time and its title,
    /// and each series has no others.
    async fn check(&self, ids: &[&str], what: &str) {
        let mut wanted = BTreeMap::new();
        let mut city = None;
        for id in ids {
            // A change goes on when who asked for it is cut off: what comes late is work for the job that it causes.
            let settled = async || {
                let series = self.series(id).await;
                if !series.head.is_settled {
                    self.worker.run(id, now(), ENOUGH).await.unwrap();
                }
                series.head.is_settled.then_some(series)
            };
            let series = crate::server::until(what, settled).await;
            let (template, zone) = (series.template().clone(), series.facts.zone().unwrap());
            city.clone_from(&template.location.city);
            for (original, event) in self.dates(id).await {
                if event.cancelled.is_some() {
                    continue;
                }
                let place = event.series.clone().unwrap();
                assert_eq!((place.id.as_str(), place.original_start), (*id, original), "{what}");
                assert_eq!(event.when, template.times.on(original.date(), &zone).unwrap(), "{what}");
                assert_eq!(event.title, template.title, "{what}");
                assert!(template.rule.fits(original.date()), "{what}: {original} is a ghost");
                assert!(wanted.insert(event.id.clone(), original).is_none(), "{what}: twins");
            }
        }
        let filter = EventFilter { city, ..EventFilter::default() };
        let listed = self.events.events(&filter, first(500)).await.unwrap();
        let listed: BTreeSet<_> = listed.items.into_iter().map(|event| event.id).collect();
        assert_eq!(listed, wanted.into_keys().collect::<BTreeSet<_>>(), "{what}: ghosts, or holes");
    }
}

fn title(title: &'static str) -> impl Fn(Template) -> Template + Send + 'static {
    move |before| Template { title: title.to_owned(), ..before }
}

fn at(hour: i8) -> impl Fn(Template) -> Template + Send + 'static {
    let end = Some(End { days: 1, time: time(4, 0, 0, 0) });
    move |before| Template { times: Times { start: time(hour, 0, 0, 0), end }, ..before }
}

fn by(rule: Rule) -> impl Fn(Template) -> Template + Send + 'static {
    move |before| Template { rule: rule.clone(), ..before }
}

/// A change of one event.
fn edit(change: fn(Plan) -> Plan) -> impl Fn(Edited) -> Edited + Send + 'static {
    move |before| Edited { plan: change(before.plan), ..before }
}

/// Runs the suite.
pub async fn series(nodes: &[Db; 2]) {
    let [here, there] = [Node::new(&nodes[0]), Node::new(&nodes[1])];
    t24_dates_are_made_once_and_half_a_year_ahead(nodes).await;
    a_series_ends_unless_it_is_renewed(&here).await;
    t18_a_change_of_all_keeps_events_answers_and_what_is_their_own(&here).await;
    t16_a_division_takes_events_answers_and_habits_along(&here, &there).await;
    t18_another_rule_moves_dates_or_cancels_them(&here, &there).await;
    what_is_cancelled_stays_so_and_what_is_ended_may_go_on(&here).await;
    a_change_of_a_series_notes_whom_it_concerns(&here, &there).await;
    after_a_division_nobody_hears_twice_of_a_move(&here).await;
    Box::pin(however_often_a_series_is_ended_each_end_is_told(&here)).await;
    Box::pin(what_a_series_makes_of_a_suspended_date_is_told_when_it_is_given_back(&here, &nodes[0])).await;
    t17_who_always_comes_answers_each_date_alone(&here, &there).await;
    whoever_is_cut_off_anywhere_leaves_nothing_behind(&here, &there).await;
    a_user_has_so_many_series_that_go_on(&here).await;
    hosts::hosts_go_along_when_a_series_is_divided(&here, &there).await;
    hosts::a_series_changes_hands_with_its_dates(&here, &there).await;
}

async fn t24_dates_are_made_once_and_half_a_year_ahead(dbs: &[Db; 2]) {
    let here = Node::new(&dbs[0]);
    let series = here.give(weekly(&Day::ALL, Ends::Never), None).await;
    let mut racers = JoinSet::new();
    for racer in 0..4 {
        let (worker, id) = (SeriesWorker::new(&dbs[racer % 2]), series.id.clone());
        racers.spawn(async move { worker.run(&id, now(), ENOUGH).await.unwrap() });
    }
    assert!(racers.join_all().await.into_iter().all(|is_done| is_done));
    let dates = here.dates(&series.id).await;
    let days: Vec<_> = dates.keys().map(|original| original.date()).collect();
    assert_eq!((days[0], *days.last().unwrap(), days.len()), (FIRST, date(2031, 7, 7), 182));
    let ids: BTreeSet<_> = dates.values().map(|event| event.id.clone()).collect();
    assert_eq!(ids.len(), dates.len(), "no twins");
    here.check(&[&series.id], "made by many").await;
    let head = here.series(&series.id).await.head;
    assert!(head.wakes_at.is_some_and(|at| at > now()), "the next ones are made in time");
    let later: Timestamp = "2031-03-01T12:00:00Z".parse().unwrap();
    assert!(here.worker.run(&series.id, later, ENOUGH).await.unwrap());
    let dates = here.dates(&series.id).await;
    assert_eq!(dates.keys().next_back().unwrap().date(), date(2031, 9, 1));
    let later: Timestamp = "2031-06-01T12:00:00Z".parse().unwrap();
    assert!(here.worker.run(&series.id, later, ENOUGH).await.unwrap());
    let dates = here.dates(&series.id).await;
    assert_eq!(dates.keys().next().unwrap().date(), date(2031, 4, 2), "those of long ago are forgotten");
    assert!(dates.len() < 400);
}

async fn a_series_ends_unless_it_is_renewed(here: &Node) {
    let series = here.give(weekly(&[Day::Tuesday], Ends::Never), None).await;
    let last = async |now: &str| {
        let now: Timestamp = now.parse().unwrap();
        assert!(here.worker.run(&series.id, now, ENOUGH).await.unwrap());
        here.dates(&series.id).await.keys().next_back().unwrap().date()
    };
    assert_eq!(last("2031-11-01T12:00:00Z").await, date(2032, 1, 6));
    assert_eq!(here.series(&series.id).await.head.told_end, None);
    assert_eq!(last("2031-12-10T12:00:00Z").await, date(2032, 1, 6));
    assert_eq!(here.series(&series.id).await.head.told_end, Some(date(2032, 1, 7)), "the host is told");
    let renewed = here.series.renew(&series.id, "2031-12-10T12:00:00Z".parse().unwrap(), |_| NO_EFFECTS);
    assert_eq!(renewed.await.unwrap().unwrap().head.lives_until, Some(date(2032, 12, 10)));
    assert_eq!(last("2031-12-10T12:00:00Z").await, date(2032, 6, 8));
}

async fn t18_a_change_of_all_keeps_events_answers_and_what_is_their_own(here: &Node) {
    let series = here.give(weekly(&[Day::Tuesday], Ends::After(6)), None).await;
    here.work(&series.id).await;
    let before = here.dates(&series.id).await;
    let own = &before.values().nth(2).unwrap().id;
    here.answer(own, "ana", RsvpChoice::Going).await;
    let gala = edit(|plan| Plan { title: "Gala".to_owned(), ..plan });
    here.events.change(own, now(), gala, |_| NO_EFFECTS).await.unwrap().unwrap();
    // Before anybody noted it in the series.
    assert_eq!(here.change(&series.id, None, title("Práctica")).await.unwrap(), None);
    assert!(!here.series(&series.id).await.head.is_settled);
    here.work(&series.id).await;
    here.change(&series.id, None, at(22)).await.unwrap();
    here.work(&series.id).await;
    here.worker.note(own).await.unwrap();
    let after = here.dates(&series.id).await;
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (before, after) in before.values().zip(after.values()) {
        assert_eq!(before.id, after.id);
        assert_eq!(after.title, if after.id == *own { "Gala" } else { "Práctica" });
        let (start, end) = (&after.when.start, after.when.end.as_ref().unwrap());
        assert_eq!((start.time(), end.time()), (time(22, 0, 0, 0), time(4, 0, 0, 0)));
    }
    assert_eq!(here.status(own, "ana").await, Some(RsvpStatus::Going));
    let known = here.series(&series.id).await;
    let rows = here.series.dates(&known, Date::MIN, first(10)).await.unwrap().items;
    assert_eq!(rows[2].1.own, BTreeSet::from([Field::Title]));
    // Saying it again changes nothing, and nobody is told again.
    here.change(&series.id, None, at(22)).await.unwrap();
    assert_eq!(here.series(&series.id).await, known);
    let versions =
        async || here.dates(&series.id).await.into_values().map(|event| event.version).sum::<u64>();
    let counted = versions().await;
    here.work(&series.id).await;
    assert_eq!(versions().await, counted);
    let end = Some(End { days: 0, time: time(20, 0, 0, 0) });
    let wrong = move |before: Template| Template { times: Times { end, ..before.times }, ..before };
    let refused = here.change(&series.id, None, wrong).await;
    assert!(matches!(refused, Err(SeriesError::EndsBeforeStart)), "{refused:?}");
}

async fn t16_a_division_takes_events_answers_and_habits_along(here: &Node, there: &Node) {
    let series = here.give(weekly(&[Day::Tuesday], Ends::After(8)), None).await;
    here.work(&series.id).await;
    here.series.attend(&series.id, "bruno", true, now(), || NO_EFFECTS).await.unwrap();
    let before = here.dates(&series.id).await;
    let (from, event) = before.iter().nth(3).unwrap();
    here.answer(&event.id, "ana", RsvpChoice::Going).await;
    let id = new_id();
    let divide = async || {
        let divided =
            here.series.change(&series.id, Some(*from), id.clone(), now(), at(22), |_| NO_EFFECTS).await;
        divided.unwrap().unwrap().rest.unwrap()
    };
    let rest = divide().await;
    assert_eq!((rest.id.as_str(), rest.template().rule.ends), (id.as_str(), Ends::After(5)));
    assert_eq!(divide().await, rest, "asking again divides nothing again");
    let busy = here.change(&series.id, None, title("x")).await;
    assert!(matches!(busy, Err(SeriesError::Dividing)), "{busy:?}");
    here.work(&series.id).await;
    there.work(&rest.id).await;
    here.check(&[&series.id, &rest.id], "divided").await;
    let (old, new) = (here.dates(&series.id).await, here.dates(&rest.id).await);
    assert_eq!((old.len(), new.len()), (3, 5));
    let ids = |dates: &BTreeMap<DateTime, Event>| -> Vec<_> {
        dates.iter().map(|(original, event)| (*original, event.id.clone())).collect()
    };
    assert_eq!([ids(&old), ids(&new)].concat(), ids(&before), "each keeps its event");
    assert_eq!(here.status(&event.id, "ana").await, Some(RsvpStatus::Going), "and its answers");
    assert!(here.series.is_habit(&rest.id, "bruno").await.unwrap());
    assert_eq!(here.series(&series.id).await.template().rule.ends, Ends::Until(date(2031, 1, 21)));
    // From its first date on it is all of it.
    let again = there.change(&rest.id, Some(*from), title("Gala")).await.unwrap();
    assert_eq!(again, None);
    there.work(&rest.id).await;
    here.check(&[&series.id, &rest.id], "changed after it was divided").await;
    let unknown = here.change(&series.id, Some(*from), title("x")).await;
    assert!(matches!(unknown, Err(SeriesError::NoSuchDate)), "{unknown:?}");
}

async fn t18_another_rule_moves_dates_or_cancels_them(here: &Node, there: &Node) {
    let series = here.give(weekly(&[Day::Tuesday, Day::Friday], Ends::After(8)), None).await;
    here.work(&series.id).await;
    let before = here.dates(&series.id).await;
    let first = before.values().next().unwrap();
    here.answer(&first.id, "ana", RsvpChoice::Going).await;
    let late = edit(|plan| {
        let start = plan.when.start.checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
        Plan { when: Schedule { start, ..plan.when }, ..plan }
    });
    here.events.change(&first.id, now(), late, |_| NO_EFFECTS).await.unwrap().unwrap();
    let wednesdays = weekly(&[Day::Wednesday], Ends::Until(date(2031, 2, 28)));
    here.change(&series.id, None, by(wednesdays)).await.unwrap();
    there.work(&series.id).await;
    here.check(&[&series.id], "on Wednesdays").await;
    let after = here.dates(&series.id).await;
    assert_eq!(after.len(), 8, "4 moved, and 4 new ones");
    let (original, moved) = after.iter().next().unwrap();
    assert_eq!((moved.id.as_str(), original.date()), (first.id.as_str(), date(2031, 1, 8)));
    assert_eq!(here.status(&first.id, "ana").await, Some(RsvpStatus::Going));
    for event in before.values().filter(|event| !after.values().any(|kept| kept.id == event.id)) {
        assert!(here.events.event(&event.id).await.unwrap().unwrap().cancelled.is_some(), "no ghost");
    }
    // Before anybody made the new ones: nobody's event is made of what is gone again.
    let daily = Rule { repeats: Repeats::Daily, ..weekly(&[], Ends::Until(date(2031, 1, 20))) };
    here.change(&series.id, None, by(daily)).await.unwrap();
    for _ in 0..4 {
        there.worker.step(&series.id, now()).await.unwrap();
    }
    here.change(&series.id, None, by(weekly(&[Day::Sunday], Ends::After(2)))).await.unwrap();
    there.work(&series.id).await;
    here.check(&[&series.id], "on two Sundays").await;
    assert_eq!(here.dates(&series.id).await.len(), 2);
    let never = Rule {
        excluded: [date(2031, 2, 4)].into(),
        ..weekly(&[Day::Tuesday], Ends::Until(date(2030, 12, 1)))
    };
    let refused = here.change(&series.id, None, by(never)).await;
    assert!(matches!(refused, Err(SeriesError::NoDates)), "{refused:?}");
}

async fn a_change_of_a_series_notes_whom_it_concerns(here: &Node, there: &Node) {
    let series = here.give(weekly(&[Day::Tuesday], Ends::After(4)), None).await;
    here.work(&series.id).await;
    let dates: BTreeSet<_> = here.dates(&series.id).await.into_values().map(|event| event.id).collect();
    let version = async || here.series(&series.id).await.head.version;
    here.change(&series.id, None, title("Gala")).await.unwrap();
    let of_title = version().await;
    assert_eq!(here.series.told_change(&series.id, of_title).await.unwrap(), None, "a title moves nothing");
    here.change(&series.id, None, at(22)).await.unwrap();
    let first = version().await;
    here.change(&series.id, None, at(23)).await.unwrap();
    let second = version().await;
    assert_eq!(
        here.series.told_change(&series.id, first).await.unwrap(),
        None,
        "it is told with the next one"
    );
    there.work(&series.id).await;
    let told = there.series.told_change(&series.id, second).await.unwrap().unwrap();
    assert_eq!((&told.telling.events, told.telling.since_rev, told.telling.rev), (&dates, 3, 4));
    let ids: Vec<_> = dates.iter().cloned().collect();
    let followed = there.events.followed(&ids).await.unwrap();
    assert!(followed.iter().all(|one| one.moved_by == 4 && one.rev == 4), "{followed:?}");
    let cancelled = Cancelled { at: now(), reason: None };
    here.series.end(&series.id, None, cancelled, |_| NO_EFFECTS).await.unwrap().unwrap();
    let told = here.series.told_change(&series.id, version().await).await.unwrap().unwrap();
    assert!(told.telling.is_end && told.telling.events == dates && told.telling.since == now());
    there.work(&series.id).await;
    here.check(&[&series.id], "told of").await;
}

async fn after_a_division_nobody_hears_twice_of_a_move(here: &Node) {
    let series = here.give(weekly(&[Day::Tuesday], Ends::After(8)), None).await;
    here.work(&series.id).await;
    let from = here.dates(&series.id).await.keys().nth(3).copied();
    let rest = here.change(&series.id, from, at(22)).await.unwrap().unwrap();
    let divided = here.series(&series.id).await.head.version;
    here.work(&series.id).await;
    here.work(&rest.id).await;
    let told = async || here.series.told_change(&series.id, divided).await.unwrap().unwrap();
    assert_eq!((told().await.telling.rev, told().await.until_rev), (2, u32::MAX));
    here.change(&series.id, None, at(21)).await.unwrap();
    assert_eq!(told().await.until_rev, u32::MAX, "a change of the first part tells nothing of the rest");
    here.change(&rest.id, None, at(23)).await.unwrap();
    assert_eq!(told().await.until_rev, 3, "what the rest tells of is told there");
    let cancelled = Cancelled { at: now(), reason: None };
    here.series.end(&rest.id, None, cancelled, |_| NO_EFFECTS).await.unwrap().unwrap();
    assert_eq!(told().await.until_rev, 3);
    here.work(&rest.id).await;
}

async fn however_often_a_series_is_ended_each_end_is_told(here: &Node) {
    let series = here.give(weekly(&[Day::Tuesday], Ends::After(16)), None).await;
    here.work(&series.id).await;
    let before = here.dates(&series.id).await;
    let mut ends = Vec::new();
    for from in before.keys().skip(4).rev() {
        let cancelled = Cancelled { at: now(), reason: None };
        here.series.end(&series.id, Some(*from), cancelled, |_| NO_EFFECTS).await.unwrap().unwrap();
        ends.push(here.series(&series.id).await.head.version);
    }
    assert_eq!(ends.len(), 12);
    let mut told = BTreeSet::new();
    for version in &ends {
        let change = here.series.told_change(&series.id, *version).await.unwrap();
        told.extend(change.into_iter().flat_map(|change| change.telling.events));
    }
    let wanted: BTreeSet<_> = before.values().skip(4).map(|event| event.id.clone()).collect();
    assert_eq!(told, wanted);
    // Another change would push one of them out.
    let full = here.change(&series.id, None, at(22)).await;
    assert!(matches!(full, Err(SeriesError::Store(StoreError::Full(_)))), "{full:?}");
    let later = now() + jiff::SignedDuration::from_hours(74);
    here.series.change(&series.id, None, new_id(), later, at(22), |_| NO_EFFECTS).await.unwrap().unwrap();
    assert_eq!(
        here.series.told_change(&series.id, ends[0]).await.unwrap(),
        None,
        "nobody is told any longer"
    );
    here.work(&series.id).await;
    here.check(&[&series.id], "ended often").await;
}

/// A date that moderators have taken away follows its series, and who answered hears of that once it is given back.
async fn what_a_series_makes_of_a_suspended_date_is_told_when_it_is_given_back(here: &Node, db: &Db) {
    let series = here.give(weekly(&[Day::Tuesday], Ends::After(3)), None).await;
    here.work(&series.id).await;
    let ids: Vec<_> = here.dates(&series.id).await.into_values().map(|event| event.id).collect();
    here.events.suspend(&ids[0], "d", act("x"), now()).await.unwrap();
    here.change(&series.id, None, at(22)).await.unwrap();
    here.work(&series.id).await;
    let moved = here.events.followed(&ids).await.unwrap().into_iter().map(|one| (one.rev, one.moved_by));
    assert_eq!(moved.collect::<Vec<_>>(), [(2, 0), (2, 2), (2, 2)], "the series tells of the others alone");
    here.events.give_back(&ids[0], "d", act("x"), now()).await.unwrap();
    assert!(caused(db, &ids[0]).await.contains(&("event_moved".to_owned(), Some(now()))));
    assert!(!caused(db, &ids[1]).await.iter().any(|(kind, _)| kind == "event_moved"));
    here.check(&[&series.id], "moved while one was away").await;
}

async fn what_is_cancelled_stays_so_and_what_is_ended_may_go_on(here: &Node) {
    let series = here.give(weekly(&[Day::Tuesday], Ends::After(6)), None).await;
    here.work(&series.id).await;
    let before = here.dates(&series.id).await;
    let cancelled = || Cancelled { at: now(), reason: Some("The hall is flooded.".to_owned()) };
    let (_, one) = before.iter().nth(1).unwrap();
    here.events.cancel(&one.id, cancelled(), |_| NO_EFFECTS).await.unwrap().unwrap();
    here.worker.note(&one.id).await.unwrap();
    let from = before.keys().nth(3).copied();
    here.series.end(&series.id, from, cancelled(), |_| NO_EFFECTS).await.unwrap().unwrap();
    here.work(&series.id).await;
    here.check(&[&series.id], "ended from the fourth on").await;
    assert_eq!(here.dates(&series.id).await.len(), 3);
    // Longer again: the one that the host cancelled stays so, and the others are new ones.
    here.change(&series.id, None, by(weekly(&[Day::Tuesday], Ends::After(6)))).await.unwrap();
    here.work(&series.id).await;
    here.check(&[&series.id], "longer again").await;
    let after = here.dates(&series.id).await;
    assert_eq!((after.len(), after.values().filter(|event| event.cancelled.is_some()).count()), (6, 1));
    assert!(after.values().skip(3).all(|event| !before.values().any(|old| old.id == event.id)));
    for _ in 0..2 {
        let ended = here.series.end(&series.id, None, cancelled(), |_| NO_EFFECTS).await.unwrap().unwrap();
        assert!(ended.head.cancelled.is_some());
        here.work(&series.id).await;
    }
    here.check(&[&series.id], "cancelled").await;
    let dates = here.dates(&series.id).await;
    assert!(dates.len() == 6 && dates.values().all(|event| event.cancelled.is_some()));
    let refused = here.change(&series.id, None, title("x")).await;
    assert!(matches!(refused, Err(SeriesError::Cancelled)), "{refused:?}");
}

async fn t17_who_always_comes_answers_each_date_alone(here: &Node, there: &Node) {
    let series = here.give(weekly(&[Day::Tuesday], Ends::Never), Some(1)).await;
    here.work(&series.id).await;
    let attend = async |user: &str, wanted| {
        let attended = here.series.attend(&series.id, user, wanted, now(), || NO_EFFECTS).await;
        attended.unwrap().unwrap()
    };
    let dates: Vec<_> = here.dates(&series.id).await.into_values().map(|event| event.id).collect();
    here.answer(&dates[1], "zoe", RsvpChoice::Declined).await;
    here.answer(&dates[2], "zoe", RsvpChoice::Maybe).await;
    // Named against the order of coming.
    for user in ["zoe", "ana"] {
        assert!(attend(user, true).await && !attend(user, true).await);
        for node in [here, there] {
            node.worker.answer_all(&series.id, user, now()).await.unwrap();
        }
    }
    for (number, event) in dates.iter().enumerate() {
        let (zoe, ana) = match number {
            1 => (RsvpStatus::Declined, RsvpStatus::Going),
            _ => (RsvpStatus::Going, RsvpStatus::Waitlisted),
        };
        let statuses = (here.status(event, "zoe").await, here.status(event, "ana").await);
        assert_eq!(statuses, (Some(zoe), Some(ana)), "date {number}");
    }
    // One answer is of one date.
    here.answer(&dates[3], "zoe", RsvpChoice::Declined).await;
    assert_eq!(here.status(&dates[4], "zoe").await, Some(RsvpStatus::Going));
    assert_eq!(here.status(&dates[3], "ana").await, Some(RsvpStatus::Going), "and frees one place");
    here.worker.answer_all(&series.id, "zoe", now()).await.unwrap();
    assert_eq!(here.status(&dates[3], "zoe").await, Some(RsvpStatus::Declined), "no is no");

    let later: Timestamp = "2031-02-01T12:00:00Z".parse().unwrap();
    assert!(here.worker.run(&series.id, later, ENOUGH).await.unwrap());
    let new = here.dates(&series.id).await.into_values().next_back().unwrap();
    assert!(!dates.contains(&new.id));
    for node in [there, here] {
        node.worker.answer_date(&series.id, &new.id, later).await.unwrap();
    }
    let statuses = (here.status(&new.id, "zoe").await, here.status(&new.id, "ana").await);
    assert_eq!(
        statuses,
        (Some(RsvpStatus::Going), Some(RsvpStatus::Waitlisted)),
        "who came first comes first"
    );
    assert!(attend("zoe", false).await && !attend("zoe", false).await);
    assert_eq!(here.status(&new.id, "zoe").await, Some(RsvpStatus::Going), "what is answered stays so");
    assert_eq!(here.series(&series.id).await.head.always, 1);
}

async fn whoever_is_cut_off_anywhere_leaves_nothing_behind(here: &Node, there: &Node) {
    for polls in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89] {
        let series = here.give(weekly(&[Day::Tuesday, Day::Friday], Ends::After(8)), None).await;
        let work = async |id: &str| {
            // One dies, another one dies a little later, and two at once do what is left.
            cut_off(here.worker.run(id, now(), ENOUGH), polls).await;
            cut_off(there.worker.run(id, now(), ENOUGH), polls + 3).await;
            tokio::join!(here.work(id), there.work(id));
        };
        work(&series.id).await;
        here.check(&[&series.id], &format!("made, cut off after {polls} polls")).await;
        let before = here.dates(&series.id).await;
        let from = before.keys().nth(3).copied();
        let rule = weekly(&[Day::Wednesday, Day::Saturday], Ends::After(6));
        let change = move |before| by(rule.clone())(at(20)(before));
        let rest = here.change(&series.id, from, change).await.unwrap().unwrap();
        work(&series.id).await;
        work(&rest.id).await;
        here.check(&[&series.id, &rest.id], &format!("divided, cut off after {polls} polls")).await;
        let after = here.dates(&rest.id).await;
        let kept = before.values().filter(|event| after.values().any(|kept| kept.id == event.id));
        assert_eq!((kept.count(), after.len()), (5, 6));
        here.change(&rest.id, None, title("Práctica")).await.unwrap();
        work(&rest.id).await;
        here.check(&[&series.id, &rest.id], &format!("changed, cut off after {polls} polls")).await;
        let cancelled = Cancelled { at: now(), reason: None };
        here.series.end(&rest.id, None, cancelled, |_| NO_EFFECTS).await.unwrap().unwrap();
        work(&rest.id).await;
        here.check(&[&series.id, &rest.id], &format!("cancelled, cut off after {polls} polls")).await;
    }
}

async fn a_user_has_so_many_series_that_go_on(here: &Node) {
    let host = new_id();
    let mut made = Vec::new();
    for _ in 0..MOST_LIVE {
        let series = here.give_as(&host, weekly(&[Day::Tuesday], Ends::After(2)), None).await;
        here.series.claim(&host, &series.id, now()).await.unwrap();
        here.series.claim(&host, &series.id, now()).await.unwrap();
        made.push(series.id);
    }
    let (another, lost) = (new_id(), new_id());
    let refused = here.series.claim(&host, &another, now()).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    let cancelled = Cancelled { at: now(), reason: None };
    here.series.end(&made[0], None, cancelled, |_| NO_EFFECTS).await.unwrap();
    here.series.claim(&host, &another, now()).await.unwrap();
    here.series.give_back(&host, &another).await.unwrap();
    // One that was never made counts for some minutes.
    here.series.claim(&host, &lost, now()).await.unwrap();
    assert!(here.series.claim(&host, &another, now()).await.is_err());
    let soon = now() + jiff::SignedDuration::from_mins(10);
    here.series.claim(&host, &another, soon).await.unwrap();
    // One that is another's by now is forgotten.
    let taker = new_id();
    here.series.offer(&made[1], Some(taker.clone()), |_| NO_EFFECTS).await.unwrap();
    here.series.take_over(&made[1], &taker, |_| NO_EFFECTS).await.unwrap().unwrap();
    here.series.claim(&host, &new_id(), soon).await.unwrap();
    assert!(here.series.claim(&host, &new_id(), soon).await.is_err());
    let over: Timestamp = "2031-02-01T12:00:00Z".parse().unwrap();
    for _ in 0..MOST_LIVE {
        here.series.claim(&host, &new_id(), over).await.unwrap();
    }
}
