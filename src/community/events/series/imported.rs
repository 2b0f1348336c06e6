//! Series out of the files of calendar programs: made, changed and ended as by requests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use mundotango_gateway::Identity;
use mundotango_storage::StoreError;
use mundotango_storage::db::time_of_id;

use super::change::{announce_change, announce_end};
use super::changing::Changed;
use super::rules::{Rule, Times};
use super::state::{DateState, Facts, Head, Series, Template, life_from};
use super::store::SeriesError;
use crate::community::Community;
use crate::community::events::rules::{Cancelled, Settings};
use crate::community::events::store::EventType;
use crate::community::location::Location;
use crate::community::policy::{self, Action, Involvement, Object};

/// Steps of the work that an import waits for, where it changes single dates: ten events each.
const STEPS_OF_AN_IMPORT: usize = 24;

/// What a file says of a series.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::community) struct FromFile {
    pub(in crate::community) title: String,
    pub(in crate::community) description: String,
    /// Where it is, without what a file does not tell.
    pub(in crate::community) location: Location,
    pub(in crate::community) event_type: EventType,
    /// The zone of its clocks.
    pub(in crate::community) zone: String,
    pub(in crate::community) times: Times,
    pub(in crate::community) rule: Rule,
    /// The date from which the rule counts.
    pub(in crate::community) first: Date,
}

impl FromFile {
    /// The template that is wanted of the one that is. Where its own rule is the one that was imported, it stays.
    fn over(&self, before: Template, has_other_rule: bool) -> Template {
        let mut location = self.location.clone();
        location.city = before.location.city;
        location.coordinates = location.coordinates.or(before.location.coordinates);
        let rule = if has_other_rule { self.rule.clone() } else { before.rule };
        Template {
            title: self.title.clone(),
            description: self.description.clone(),
            location,
            times: self.times,
            rule,
            ..before
        }
    }
}

/// A date of a series, by its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::community) struct DateEvent {
    pub(in crate::community) event_id: String,
    /// Whether the event is there, and takes place as far as the series knows.
    pub(in crate::community) state: DateState,
}

impl Community {
    /// The series with this id.
    pub(in crate::community) async fn imported_series(&self, id: &str) -> Result<Option<Series>, StoreError> {
        self.series.store.series(id).await
    }

    /// Whether a user may change a series.
    pub(in crate::community) async fn may_change_series(
        &self,
        series: &Series,
        identity: &Identity,
    ) -> Result<bool, StoreError> {
        let role = self.series.store.co_host(&series.id, &identity.user_id).await?;
        let involved = role.map(Involvement::from).unwrap_or_default();
        let object = Object::Series { owner: series.owner(), involved };
        Ok(policy::may(identity.into(), Action::Change, &object).is_allowed())
    }

    /// Counts a series among those that a user gives; refused where there are too many.
    pub(in crate::community) async fn claim_series(
        &self,
        user_id: &str,
        id: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.series.store.claim(user_id, id, now).await
    }

    /// Counts a series no longer that was not made.
    pub(in crate::community) async fn give_series_back(
        &self,
        user_id: &str,
        id: &str,
    ) -> Result<(), StoreError> {
        self.series.store.give_back(user_id, id).await
    }

    /// Makes a series that is counted among those of its host.
    pub(in crate::community) async fn make_series(
        &self,
        id: String,
        host_id: &str,
        wanted: &FromFile,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let template = Template {
            rev: 1,
            title: wanted.title.clone(),
            description: wanted.description.clone(),
            location: wanted.location.clone(),
            settings: Settings::default(),
            times: wanted.times,
            rule: wanted.rule.clone(),
            first: wanted.first,
            owner: None,
        };
        let facts = Facts {
            host_id: host_id.to_owned(),
            zone: wanted.zone.clone(),
            event_type: wanted.event_type,
            created_at: time_of_id(&id).unwrap_or(now),
            lives_until: wanted.first,
            template,
            continues: None,
        };
        let zone = facts.zone()?;
        let lives_until = life_from(now.to_zoned_datetime(zone).date(), wanted.first);
        let series = Series { id, facts: Facts { lives_until, ..facts }, head: Head::default() };
        self.give_series(series, now).await.map(drop)
    }

    /// Has a series be as a file says; whether it is another one by that. A rule that the file had before stays as it is here.
    pub(in crate::community) async fn change_series(
        &self,
        before: &Series,
        wanted: FromFile,
        has_other_rule: bool,
        now: Timestamp,
    ) -> Result<bool, SeriesError> {
        let people = self.people(vec![before.owner().to_owned()]).await;
        let effects = move |changed: &Changed| announce_change(changed, &people);
        let counts_from = wanted.first;
        let edit = move |template| wanted.over(template, has_other_rule);
        let store = &self.series.store;
        let changed = if has_other_rule {
            store.recount(&before.id, counts_from, now, edit, effects).await?
        } else {
            store.change(&before.id, None, mundotango_protocol::new_id(), now, edit, effects).await?
        };
        Ok(changed.is_some_and(|changed| changed.series.template().rev != before.template().rev))
    }

    /// Cancels all dates of a series that are to come.
    pub(in crate::community) async fn end_series(
        &self,
        series: &Series,
        now: Timestamp,
    ) -> Result<(), SeriesError> {
        let people = self.people(vec![series.owner().to_owned()]).await;
        let effects = move |after: &Series| announce_end(after, &people);
        let cancelled = Cancelled { at: now, reason: None };
        self.series.store.end(&series.id, None, cancelled, effects).await.map(drop)
    }

    /// The dates of a series by their original days, after its events have followed as far as is waited for.
    pub(in crate::community) async fn dates_of_series(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<BTreeMap<Date, DateEvent>, StoreError> {
        self.series.run(id, now, STEPS_OF_AN_IMPORT).await?;
        let dates = self.series.store.work(id).await?.map(|work| work.dates).unwrap_or_default();
        let dates = dates
            .into_iter()
            .map(|(original, row)| (original.date(), DateEvent { event_id: row.event_id, state: row.state }));
        Ok(dates.collect())
    }
}
