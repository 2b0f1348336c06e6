//! What part a user has in an event: by a role at the event, by a role in the series that it is a date of, or by coming. All
//! doors ask here: REST, the event's channel, calendars and imports.

use std::collections::BTreeMap;

use mundotango_gateway::Identity;
use mundotango_gateway::problem::Problem;
use mundotango_storage::StoreError;

use super::co_hosts::CoHost;
use super::rules::{CoHostRole, RsvpStatus};
use super::series::store::SeriesStore;
use super::store::{Event, EventStore};
use crate::community::Community;
use crate::community::policy::{self, Action, Involvement, Verdict, Viewer};

impl EventStore {
    /// Whether a viewer may do something with an event. What part the viewer has in it is looked up only where it may decide,
    /// and in the series last.
    pub(in crate::community) async fn may(
        &self,
        viewer: Viewer<'_>,
        action: Action,
        event: &Event,
    ) -> Result<Verdict, StoreError> {
        let verdict = |involved| policy::may(viewer, action, &event.object(involved));
        let mut involved = Involvement::None;
        if verdict(involved).is_allowed() {
            return Ok(verdict(involved));
        }
        if let Some(role) = self.co_host(&event.id, viewer.user_id()).await? {
            involved = role.into();
        } else if action == Action::ReadAttendees {
            let rsvp = self.rsvp_of(&event.id, viewer.user_id()).await?;
            let is_going = rsvp.is_some_and(|rsvp| rsvp.status == RsvpStatus::Going);
            involved = if is_going { Involvement::Going } else { Involvement::None };
        }
        if let Some(series) = event.followed_series()
            && !verdict(involved).is_allowed()
        {
            let role = self.role_in_series(series, viewer.user_id()).await?;
            involved = role.map_or(involved, |role| involved.max(role.into()));
        }
        Ok(verdict(involved))
    }

    /// What a user may do at all dates of a series. Who took it over is an editor of those that have not followed, or never will.
    async fn role_in_series(&self, id: &str, user_id: &str) -> Result<Option<CoHostRole>, StoreError> {
        let series = self.series();
        if let Some(role) = series.co_host(id, user_id).await? {
            return Ok(Some(role));
        }
        let is_owner = series.series(id).await?.is_some_and(|series| series.owner() == user_id);
        Ok(is_owner.then_some(CoHostRole::Editor))
    }

    /// The hosts beside the owner of an event, by user. Who is one of the event and of its series has the greater role.
    pub(super) async fn hosts_of(&self, event: &Event) -> Result<Vec<CoHost>, StoreError> {
        let mut hosts = BTreeMap::new();
        if let Some(series) = event.followed_series() {
            hosts.extend(
                self.series().co_hosts(series).await?.into_iter().map(|(user, role)| (user, (role, true))),
            );
        }
        for (user, role) in self.co_hosts(&event.id).await? {
            let known = hosts.get(&user).map(|(known, _)| Involvement::from(*known));
            if known < Some(role.into()) {
                hosts.insert(user, (role, false));
            }
        }
        // Who handed the series over is a host of it, and owns what does not follow.
        hosts.remove(&event.host_id);
        let hosts = hosts.into_iter();
        Ok(hosts.map(|(user_id, (role, of_series))| CoHost { user_id, role, of_series }).collect())
    }

    fn series(&self) -> SeriesStore {
        SeriesStore::new(self.db().clone())
    }
}

impl Community {
    /// The event, if the caller may do something with it.
    pub(in crate::community) async fn event_for(
        &self,
        id: &str,
        identity: &Identity,
        action: Action,
    ) -> Result<Event, Problem> {
        let event = self.events.event(id).await?.ok_or_else(|| Problem::not_found("event"))?;
        self.events.may(identity.into(), action, &event).await?.allows("event")?;
        self.note_admins_right(identity, action, ("event", id, &event.host_id)).await?;
        Ok(event)
    }
}
