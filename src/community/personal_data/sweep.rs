//! The sweep: one round over all that is stored, for all who leave and all who want an export at that time. What is done with each
//! partition and entry follows from what its kind declares, and from the kind's hook where it has one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use mundotango_storage::db::{
    Db, Erasure, Fields, IndexSpec, KindSpec, Look, Person, Plain, PlainEntry, Plan, Schema, Sighting, Whose,
    mentions,
};
use mundotango_storage::{StoreError, now};

use super::exporting::Exporter;
use super::hooks::Hooks;
use super::rules::{Page, Place, Round, Tally};
use super::store::SweepStore;
use crate::community::search::sources::searched_as;
use crate::search::log::{Change, ChangeLog};

/// Rows of a partition that are written together.
const ROWS_AT_ONCE: usize = 50;

/// By what id visits of a user are kept.
#[async_trait]
pub trait Visits: Send + Sync {
    /// The id.
    async fn visitor(&self, user_id: &str) -> Result<String, StoreError>;

    /// Has all removed that is kept of a user's visits.
    async fn forget(&self, user_id: &str) -> Result<(), StoreError>;
}

/// Where an entry of an index leads to, by the names of index and key.
pub type LeadsTo = fn(&str, &str) -> Option<(&'static KindSpec, String)>;

/// All that is stored, and what is to be known of it.
pub struct Catalogue {
    /// The kinds and indexes.
    pub schema: Schema,
    /// Where entries lead to.
    pub leads_to: LeadsTo,
    /// What kinds do themselves.
    pub hooks: Hooks,
}

/// One of the things that a round goes over.
enum Table {
    Kind(&'static KindSpec),
    Index(&'static IndexSpec),
}

/// Those whom a round is for. Who leaves gets no export any more.
struct People {
    all: Vec<Person>,
    leavers: HashSet<String>,
    /// All ids by which they may be named, and which of them that is.
    by_id: HashMap<String, usize>,
}

impl People {
    fn new(all: Vec<Person>, leavers: HashSet<String>) -> Self {
        let mut by_id = HashMap::new();
        for (index, one) in all.iter().enumerate() {
            let visitor = one.visitor.as_deref().and_then(|visitor| visitor.rsplit(':').next());
            let ids = visitor.into_iter().chain([one.id.as_str()]);
            by_id.extend(ids.map(|id| (id.to_owned(), index)));
        }
        Self { all, leavers, by_id }
    }

    fn are_mentioned(&self, text: &str) -> bool {
        mentions(text, |id| self.by_id.contains_key(id))
    }

    /// Those whom a partition names anywhere, and to whom it belongs.
    fn named_in(&self, plain: &Plain, owner: Option<&str>) -> impl Iterator<Item = &Person> {
        let mut named = BTreeSet::<usize>::new();
        let mut look = |text: &str| {
            mentions(text, |id| {
                named.extend(self.by_id.get(id));
                false
            });
        };
        look(&plain.id);
        for value in [&plain.facts, &plain.head].into_iter().flatten().chain(plain.rows.values()) {
            look(&value.to_string());
        }
        plain.rows.keys().for_each(|key| look(key));
        let is_owner = |one: &Person| owner.is_some_and(|owner| owner == one.id || owner == one.alias);
        named.extend(owner.and_then(|_| self.all.iter().position(is_owner)));
        named.into_iter().filter_map(move |index| self.all.get(index))
    }

    fn leaver_in(&self, text: &str) -> Option<&Person> {
        let mut found = None;
        mentions(text, |id| {
            let one = self.by_id.get(id).and_then(|index| self.all.get(*index));
            found = found.or(one.filter(|one| self.leavers.contains(&one.id)));
            found.is_some()
        });
        found
    }
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// Nobody waits any more, or another sweeper is at work.
    All,
    /// The time was over: the job has to be done again.
    NotAll,
}

/// Goes over all that is stored.
pub struct Sweeper {
    db: Db,
    store: SweepStore,
    catalogue: Arc<Catalogue>,
    visits: Arc<dyn Visits>,
    changes: ChangeLog,
}

impl Sweeper {
    /// A sweeper of a store.
    pub fn new(db: &Db, catalogue: Arc<Catalogue>, visits: Arc<dyn Visits>) -> Self {
        let (store, changes) = (SweepStore::new(db.clone()), ChangeLog::new(db.clone()));
        Self { db: db.clone(), store, catalogue, visits, changes }
    }

    fn table(&self, number: usize) -> Option<Table> {
        let Schema { kinds, indexes } = &self.catalogue.schema;
        let kind = kinds.get(number).copied().map(Table::Kind);
        kind.or_else(|| indexes.get(number.checked_sub(kinds.len())?).copied().map(Table::Index))
    }

    /// Makes rounds until nobody waits any more, or the time is over.
    pub async fn run(&self, job: &str, time: Duration) -> Result<Swept, StoreError> {
        let began = Instant::now();
        loop {
            let Some(Some(round)) = self.store.go_on(job, now()).await? else { return Ok(Swept::All) };
            let people = self.people(&round).await?;
            let mut exports = Exporter::of_round(&self.db, &round).await?;
            let mut place = round.place.clone();
            while let Some(table) = self.table(place.table) {
                let page = match table {
                    Table::Kind(kind) => self.page_of_kind(kind, place, &people, &mut exports).await?,
                    Table::Index(index) => self.page_of_index(index, place, &people, &mut exports).await?,
                };
                exports.save(&page.after).await?;
                place = page.after.clone();
                if !self.store.advance(job, page, now()).await? {
                    return Ok(Swept::All);
                }
                if began.elapsed() >= time {
                    return Ok(Swept::NotAll);
                }
            }
            exports.finish(&self.catalogue.schema, now()).await?;
            for (user, departure, is_gone) in self.store.end(round.number).await? {
                if is_gone {
                    tracing::info!(rounds = departure.rounds, "nothing is left of a user who left");
                } else if departure.is_stuck() {
                    let left = departure.last.left;
                    tracing::error!(
                        user,
                        left,
                        "traces of a user who left stay, however often they are removed"
                    );
                }
            }
        }
    }

    async fn people(&self, round: &Round) -> Result<People, StoreError> {
        let users: Vec<_> = round.leavers.keys().cloned().collect();
        let (mut all, mut leavers) = (Vec::new(), HashSet::new());
        for (id, departure) in self.store.departures_of(&users).await? {
            let Some(alias) = departure.alias else { continue };
            leavers.insert(id.clone());
            all.push(Person { visitor: Some(self.visits.visitor(&id).await?), id, alias });
        }
        for id in round.exporters.iter().filter(|id| !leavers.contains(*id)) {
            let visitor = Some(self.visits.visitor(id).await?);
            all.push(Person { id: id.clone(), visitor, alias: id.clone() });
        }
        Ok(People::new(all, leavers))
    }

    async fn page_of_kind(
        &self,
        kind: &'static KindSpec,
        before: Place,
        people: &People,
        exports: &mut Exporter,
    ) -> Result<Page, StoreError> {
        let found = self.db.sightings(kind, before.from.as_deref()).await?;
        let mut page = next_page(before, found.next, found.items.len());
        for sighting in found.items {
            let what = format!("{} {:?}", kind.name, sighting.id());
            let (plain, owner) = match self.open(kind, sighting, people).await {
                Ok(Some(seen)) => seen,
                Ok(None) => continue,
                Err(error) => {
                    pass_over(&mut page, people, &what, error)?;
                    continue;
                }
            };
            for person in people.named_in(&plain, owner.as_deref()) {
                let mut look = Look::at(kind.personal, person, &plain);
                if owner.as_deref().is_some_and(|owner| owner == person.id || owner == person.alias) {
                    look = look.as_own();
                }
                if people.leavers.contains(&person.id) {
                    let tally = self.part_with(kind, person, &look, &plain).await?;
                    add(&mut page, person, tally);
                } else {
                    exports.take(kind, person, &look, &plain, &page.after).await?;
                }
            }
        }
        Ok(page)
    }

    /// Reads a partition, if somebody of these is in it; with whose it is, where only its kind's hook can say.
    async fn open(
        &self,
        kind: &'static KindSpec,
        sighting: Sighting,
        people: &People,
    ) -> Result<Option<(Plain, Option<String>)>, StoreError> {
        let hook = self.catalogue.hooks.get(kind.name).filter(|hook| hook.knows_whose());
        let is_seen = |text: &str| hook.is_some() || people.are_mentioned(text);
        let Some(plain) = self.db.open(kind, sighting, &is_seen).await? else { return Ok(None) };
        let owner = match hook {
            Some(hook) => hook.whose(&plain).await?,
            None => None,
        };
        Ok(Some((plain, owner)))
    }

    /// Does with a partition what its kind declares for a person who leaves. What fails is counted, and tried again in the next
    /// round: it holds nobody else up.
    async fn part_with(
        &self,
        kind: &'static KindSpec,
        person: &Person,
        look: &Look<'_>,
        plain: &Plain,
    ) -> Result<Tally, StoreError> {
        match self.erase(kind, person, look, plain).await {
            Ok(tally) => Ok(tally),
            Err(error @ (StoreError::Unavailable(_) | StoreError::NoSpace)) => Err(error),
            Err(error) => {
                tracing::error!(%error, kind = kind.name, id = plain.id, "a user who left is still in it");
                Ok(Tally { changed: 0, left: 1 })
            }
        }
    }

    async fn erase(
        &self,
        kind: &'static KindSpec,
        person: &Person,
        look: &Look<'_>,
        plain: &Plain,
    ) -> Result<Tally, StoreError> {
        let (hook, now) = (self.catalogue.hooks.get(kind.name), now());
        let rows = match look.plan(kind, plain)? {
            Plan::Nothing => {
                return Ok(Tally { changed: 0, left: u64::from(!look.left(plain).is_empty()) });
            }
            Plan::Remove => {
                if let Some(hook) = hook {
                    hook.before_removal(&plain.id).await?;
                }
                self.db.remove(kind, &plain.id).await?;
                self.tell_search(kind, &plain.id).await?;
                return Ok(Tally { changed: 1, left: 0 });
            }
            Plan::Rewrite { rows, .. } => rows,
        };
        if let Some(hook) = hook {
            hook.take_out(plain, &rows, person, now).await?;
        }
        let is_counted = hook.is_none_or(|hook| hook.counts_rows());
        // Rows first: by what the rest says it is known whose they are.
        for some in rows.chunks(ROWS_AT_ONCE) {
            let edit = |one: &mut Plain| {
                // What is counted only the kind itself removes.
                let kept =
                    one.rows.clone().into_iter().filter(|(key, row)| is_counted && look.row_goes(key, row));
                let kept: Vec<_> = kept.collect();
                let (facts, head) = (one.facts.take(), one.head.take());
                look.erase(kind, one)?;
                (one.facts, one.head) = (facts, head);
                one.rows.extend(kept);
                Ok(())
            };
            self.db.rewrite(kind, &plain.id, some, edit).await?;
        }
        let edit = |one: &mut Plain| Look::at(kind.personal, person, one).erase(kind, one);
        self.db.rewrite(kind, &plain.id, &[], edit).await?;
        self.tell_search(kind, &plain.id).await?;
        let is_named = |text: &str| mentions(text, |id| id == person.id);
        let named = plain.rows.iter().filter(|(key, row)| is_named(key) || is_named(&row.to_string()));
        let named: Vec<_> = named.map(|(key, _)| key.clone()).collect();
        let after = self.db.plain(kind, &plain.id, &named).await?;
        let left = after.map(|after| look.left(&after)).unwrap_or_default();
        if !left.is_empty() {
            tracing::error!(kind = kind.name, id = plain.id, ?left, "a user who left is still named");
        }
        Ok(Tally { changed: 1, left: u64::from(!left.is_empty()) })
    }

    /// Has the search indexes look anew at a thing, if it is searched for.
    async fn tell_search(&self, kind: &'static KindSpec, id: &str) -> Result<(), StoreError> {
        let Some(name) = searched_as(kind) else { return Ok(()) };
        self.changes.note(&Change { kind: name.to_owned(), id: id.to_owned() }).await
    }

    async fn page_of_index(
        &self,
        index: &'static IndexSpec,
        before: Place,
        people: &People,
        exports: &mut Exporter,
    ) -> Result<Page, StoreError> {
        let found = self.db.plain_entries(index, before.from.as_deref()).await?;
        let mut page = next_page(before, found.next, found.items.len());
        let (mut gone, mut lists) = (Vec::new(), BTreeMap::new());
        for entry in found.items {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    pass_over(&mut page, people, index.name, error)?;
                    continue;
                }
            };
            if let Some(person) = people.leaver_in(&entry.list) {
                let after = Look::at_entry(index.personal, person, &entry).entry_after(&entry);
                let after = after.map(|after| after.list);
                if after.as_ref() != Some(&entry.list) {
                    add(&mut page, person, Tally { changed: 1, left: 0 });
                    lists.entry(entry.list).or_insert(after);
                }
                continue;
            }
            let owner = Plain { id: entry.list.clone(), ..Plain::default() };
            for person in people.named_in(&owner, None) {
                exports.take_entry(index, person, &entry, &page.after).await?;
            }
            if people.leavers.is_empty() {
                continue;
            }
            let goes = self.goes(index, &entry, people).await;
            match goes.and_then(|goes| goes.then(|| entry.of(index)).transpose()) {
                Ok(entry) => gone.extend(entry),
                Err(error) => pass_over(&mut page, people, index.name, error)?,
            }
        }
        for (list, after) in lists {
            match after {
                Some(after) => self.db.move_list(index, &list, &after).await?,
                None => self.db.remove_list(index, &list).await?,
            }
        }
        self.db.remove_entries(&gone).await?;
        Ok(page)
    }

    /// Whether an entry goes that is in nobody's list who leaves.
    async fn goes(
        &self,
        index: &'static IndexSpec,
        entry: &PlainEntry,
        people: &People,
    ) -> Result<bool, StoreError> {
        let follows = index
            .personal
            .iter()
            .any(|some| some.personal.is_some_and(|personal| personal.erasure == Erasure::AsTarget));
        let named = people.leaver_in(&entry.key).or_else(|| people.leaver_in(&entry.entry.to_string()));
        Ok(match named {
            Some(_) if follows => true,
            Some(person) => Look::at_entry(index.personal, person, entry).entry_after(entry).is_none(),
            None => follows && self.is_left(index, entry, people).await?,
        })
    }

    async fn is_left(
        &self,
        index: &'static IndexSpec,
        entry: &PlainEntry,
        people: &People,
    ) -> Result<bool, StoreError> {
        let Some((kind, id)) = (self.catalogue.leads_to)(index.name, &entry.key) else { return Ok(false) };
        let Some(target) = self.db.plain(kind, &id, &[]).await? else {
            // An entry is written before what it leads to.
            return self.db.is_deleted(kind, &id).await;
        };
        let mut leavers = people.all.iter().filter(|one| people.leavers.contains(&one.id));
        Ok(leavers.any(|person| has_lost_author(kind.personal, &target, &person.alias)))
    }
}

/// Whether the author of a thing was one who has left, and something was emptied there: entries may tell of that.
fn has_lost_author(fields: &'static [Fields], plain: &Plain, alias: &str) -> bool {
    let mut of_author =
        fields.iter().filter_map(|some| some.personal.filter(|personal| personal.whose == Whose::Author));
    let nobody = Person { id: alias.to_owned(), visitor: None, alias: alias.to_owned() };
    of_author.any(|personal| personal.erasure == Erasure::Emptied)
        && Look::at(fields, &nobody, plain).is_by_author()
}

fn next_page(before: Place, next: Option<String>, looked_at: usize) -> Page {
    let after = match next {
        Some(from) => Place { table: before.table, from: Some(from) },
        None => Place { table: before.table + 1, from: None },
    };
    Page { before, after, looked_at: looked_at as u64, leavers: BTreeMap::new() }
}

/// Passes over what is damaged, so that it holds nobody up: as nobody knows who is in it, something is left of all who leave.
fn pass_over(page: &mut Page, people: &People, what: &str, error: StoreError) -> Result<(), StoreError> {
    let StoreError::Damaged(error) = error else { return Err(error) };
    tracing::error!(error, what, "something damaged is passed over, in which users who left may still be");
    for person in people.all.iter().filter(|one| people.leavers.contains(&one.id)) {
        add(page, person, Tally { changed: 0, left: 1 });
    }
    Ok(())
}

fn add(page: &mut Page, person: &Person, tally: Tally) {
    if tally != Tally::default() {
        let sum = page.leavers.entry(person.id.clone()).or_default();
        sum.changed += tally.changed;
        sum.left += tally.left;
    }
}
