//! A desk: the cases of one workflow as they are kept. Opening, changing and listing them is written here once for all workflows.

use std::marker::PhantomData;

use jiff::{SignedDuration, Timestamp};
use mundotango_storage::db::{Db, Decision, Found, Index, Kind, Part, Wants};
use mundotango_storage::{Page, PageRequest, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::WorkError;
use super::lists::{self, WORK_LISTS, WORK_PENDING};
use super::slots;
use super::work::{Head, Work, Workflow};
use crate::community::effects::Effect;

/// Cases that one page reads at most: past them it ends early, with a cursor to go on.
const MOST_READ: usize = 500;
/// Entries that are read at a time.
const AT_ONCE: usize = 50;

/// A workflow: what its cases are made of.
pub trait Case: Send + Sync + 'static {
    /// What never changes about one.
    type Facts: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What changes besides its work.
    type Own: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Its rows.
    type Row: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The workflow.
    const WORKFLOW: Workflow;
    /// Within what time something is to be done about a new one.
    const WITHIN: SignedDuration;
    /// Most that are open of one user.
    const MOST_OPEN: usize;
    /// What those are called, for the error.
    const MANY: &'static str;

    /// Where they are kept.
    fn kind() -> &'static Kind<Self::Facts, Head<Self::Own>, Self::Row>;

    /// When one was opened, and by which user, if by one.
    fn opened(facts: &Self::Facts) -> (Timestamp, Option<&str>);
}

/// A case.
#[derive(Clone, Debug)]
pub struct Kept<C: Case> {
    /// Its id.
    pub id: String,
    /// What never changes.
    pub facts: C::Facts,
    /// How it stands, and who works on it.
    pub work: Work,
    /// What else changes.
    pub own: C::Own,
}

/// A case as a rule sees it.
pub type Open<'a, C> = Part<'a, <C as Case>::Facts, Head<<C as Case>::Own>, <C as Case>::Row>;

impl<C: Case> Kept<C> {
    fn found(id: &str, found: Found<C::Facts, Head<C::Own>>) -> Self {
        let Head { work, own } = found.head;
        Self { id: id.to_owned(), facts: found.facts, work, own }
    }

    pub(super) fn in_part(id: &str, part: &Open<'_, C>) -> Self {
        let Head { work, own } = part.head.clone();
        Self { id: id.to_owned(), facts: part.facts.clone(), work, own }
    }

    /// When it was opened.
    pub fn opened_at(&self) -> Timestamp {
        C::opened(&self.facts).0
    }

    /// The user who opened it.
    pub fn opened_by(&self) -> Option<&str> {
        C::opened(&self.facts).1
    }

    /// When it changed last.
    pub fn changed_at(&self) -> Timestamp {
        self.work.changed_at.unwrap_or(self.opened_at())
    }

    /// Until when something is to be done.
    pub fn due(&self) -> Timestamp {
        let usual = self.opened_at().saturating_add(C::WITHIN).unwrap_or(Timestamp::MAX);
        self.work.due.unwrap_or(usual)
    }

    /// Its key in the list of those that wait.
    pub(super) fn pending_key(&self) -> String {
        lists::case_key(C::WORKFLOW, self.work.queued_at.unwrap_or(self.opened_at()), &self.id)
    }
}

/// A change of a case.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The version that the caller saw, if the caller says.
    pub version: Option<u64>,
    /// The time.
    pub now: Timestamp,
    /// What it is counted as.
    pub action: &'static str,
}

/// Counts what was done with a case of a workflow.
pub(super) fn count(workflow: Workflow, action: &str) {
    mundotango_ops::metrics()
        .admin_workflow_actions_total
        .with_label_values(&[workflow.name(), action])
        .inc();
}

/// The cases of a workflow.
pub struct Desk<C> {
    db: Db,
    of: PhantomData<fn() -> C>,
}

impl<C: Case> Desk<C> {
    /// The cases of a store.
    pub fn new(db: Db) -> Self {
        Self { db, of: PhantomData }
    }

    pub(super) fn db(&self) -> &Db {
        &self.db
    }

    /// Takes a place among those that a user may have open. Of a user who has none left, those are looked at that have one.
    pub(super) async fn take_slot(&self, user_id: &str, id: &str, now: Timestamp) -> Result<(), WorkError> {
        let of = lists::of_user(C::WORKFLOW, user_id);
        if slots::take(&self.db, &of, id, C::MOST_OPEN, now).await? {
            return Ok(());
        }
        let mut taken = slots::taken(&self.db, &of, C::MOST_OPEN, now).await?;
        let ids: Vec<_> = taken.keys().cloned().collect();
        for (id, case) in ids.iter().zip(self.db.read_all(C::kind(), &ids).await?) {
            if case.is_some_and(|case| !case.head.work.is_done()) {
                taken.remove(id);
            }
        }
        if !taken.is_empty() {
            slots::give_back(&self.db, &of, taken).await?;
            if slots::take(&self.db, &of, id, C::MOST_OPEN, now).await? {
                return Ok(());
            }
        }
        Err(WorkError::Full(C::MANY))
    }

    /// Opens a case. Its id is a UUID of version 7; opened again, it is the same case. `effects` are what that causes.
    pub async fn open(
        &self,
        id: &str,
        facts: C::Facts,
        effects: impl FnOnce(&Kept<C>) -> Result<Vec<Effect>, StoreError>,
    ) -> Result<Kept<C>, WorkError> {
        let case = Kept::<C> { id: id.to_owned(), facts, work: Work::default(), own: C::Own::default() };
        let (at, by) = C::opened(&case.facts);
        if let Some(user_id) = by {
            self.take_slot(user_id, id, at).await?;
        }
        let entries = lists::opened(C::WORKFLOW, &case.pending_key(), by)?;
        let effects = effects(&case)?.iter().map(Effect::kept).collect::<Result<Vec<_>, _>>()?;
        self.db.create(C::kind(), id, &case.facts, &entries, &effects).await?;
        count(C::WORKFLOW, "opened");
        Ok(case)
    }

    /// The case of an id.
    pub async fn case(&self, id: &str) -> Result<Option<Kept<C>>, StoreError> {
        Ok(self.db.read(C::kind(), id).await?.map(|found| Kept::found(id, found)))
    }

    /// Changes a case by a rule, which says whether anything changed; the case as it is then, `None` if there is none. What holds
    /// already stands, whatever version the caller saw; a change on the view of another version is refused. `effects` are what a
    /// change causes.
    pub async fn change(
        &self,
        id: &str,
        step: Step,
        wants: Wants,
        rule: impl Fn(&mut Open<'_, C>) -> Result<bool, WorkError> + Send + 'static,
        effects: impl Fn(&Kept<C>) -> Result<Vec<Effect>, StoreError> + Send + 'static,
    ) -> Result<Option<Kept<C>>, WorkError> {
        let case_id = id.to_owned();
        let changed = self.db.change(C::kind(), id, wants, move |part| {
            let before = Kept::<C>::in_part(&case_id, part);
            if !rule(part)? {
                return Ok::<_, WorkError>(Decision::Stands((before, false)));
            }
            before.work.expect(step.version)?;
            part.head.work.version += 1;
            part.head.work.changed_at = Some(step.now);
            let after = Kept::<C>::in_part(&case_id, part);
            match (before.work.is_done(), after.work.is_done()) {
                (false, true) => part.emit(&lists::unlist(C::WORKFLOW, &before.pending_key())?)?,
                (true, false) => part.enter(lists::pending(C::WORKFLOW, &after.pending_key())?),
                _ => {}
            }
            for effect in effects(&after)? {
                part.emit(&effect)?;
            }
            Ok(Decision::Write((after, true)))
        });
        let Some((case, is_changed)) = changed.await? else { return Ok(None) };
        if is_changed {
            count(C::WORKFLOW, step.action);
        }
        Ok(Some(case))
    }

    /// Cases that wait, those first that have waited longest.
    pub async fn pending(
        &self,
        wanted: impl Fn(&Kept<C>) -> bool,
        page: PageRequest,
    ) -> Result<Page<Kept<C>>, StoreError> {
        let waits = |key: &str, case: &Kept<C>| !case.work.is_done() && case.pending_key() == key;
        let holds = move |key: &str, case: &Kept<C>| waits(key, case) && wanted(case);
        self.walk(&WORK_PENDING, C::WORKFLOW.name(), holds, page).await
    }

    /// All cases, or those that a user opened, the newest first.
    pub async fn all(
        &self,
        user_id: Option<&str>,
        wanted: impl Fn(&Kept<C>) -> bool,
        page: PageRequest,
    ) -> Result<Page<Kept<C>>, StoreError> {
        let list = user_id
            .map_or_else(|| C::WORKFLOW.name().to_owned(), |user_id| lists::of_user(C::WORKFLOW, user_id));
        self.walk(&WORK_LISTS, &list, |_, case| wanted(case), page).await
    }

    /// The cases to which a list of an index leads, of those that hold.
    pub(super) async fn walk(
        &self,
        index: &'static Index<()>,
        list: &str,
        holds: impl Fn(&str, &Kept<C>) -> bool,
        page: PageRequest,
    ) -> Result<Page<Kept<C>>, StoreError> {
        let (mut after, mut skip) = page.start.behind(|key| lists::month_of(&key).map(|_| key))?;
        let (mut items, mut read) = (Vec::new(), 0);
        loop {
            let entries = self.db.walk(index, &[list], after.as_deref(), AT_ONCE).await?;
            let keys: Vec<_> = entries.items.into_iter().map(|(key, ())| key).collect();
            let ids: Vec<_> =
                keys.iter().map(|key| lists::case_of(key).map(|(_, id)| id).unwrap_or_default()).collect();
            read += keys.len();
            let found = self.db.read_all(C::kind(), &ids).await?;
            let mut found = keys.into_iter().zip(ids).zip(found).peekable();
            while items.len() < page.limit
                && let Some(((key, id), case)) = found.next()
            {
                let case = case.map(|case| Kept::<C>::found(&id, case));
                match case.filter(|case| holds(&key, case)) {
                    Some(_) if skip > 0 => skip -= 1,
                    Some(case) => items.push(case),
                    None => {}
                }
                after = Some(key);
            }
            let is_over = entries.next.is_none() && found.peek().is_none();
            if is_over || items.len() >= page.limit || read >= MOST_READ {
                return Ok(Page { items, next: after.filter(|_| !is_over) });
            }
        }
    }
}
