//! What can be reported: things that the reporter sees, each with a copy of what it says at that moment.

use jiff::Timestamp;
use mundotango_gateway::Identity;
use mundotango_gateway::problem::{FieldCode, Problem};
use serde::{Deserialize, Serialize};

use crate::community::Community;
use crate::community::admin::reviews::case::{Before, Snapshot, ThingKind};
use crate::community::housing::status::Side;
use crate::community::policy::Action;
use crate::community::search::kinds::message_of;

/// Messages before one that is reported which are copied with it.
const MESSAGES_BEFORE: usize = 5;

/// Of what kind the thing is that is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReportableKind {
    /// A user.
    User,
    /// A post.
    Post,
    /// A comment.
    Comment,
    /// A message of a chat: its id is the conversation's, a colon, and the message's number.
    Message,
    /// An event.
    Event,
    /// A series of events.
    Series,
    /// A place to stay.
    Listing,
    /// A booking of the caller's: the other side of it.
    Booking,
}

impl From<ReportableKind> for ThingKind {
    fn from(kind: ReportableKind) -> Self {
        match kind {
            ReportableKind::User => Self::User,
            ReportableKind::Post => Self::Post,
            ReportableKind::Comment => Self::Comment,
            ReportableKind::Message => Self::Message,
            ReportableKind::Event => Self::Event,
            ReportableKind::Series => Self::Series,
            ReportableKind::Listing => Self::Listing,
            ReportableKind::Booking => Self::Booking,
        }
    }
}

/// A thing that somebody reports.
pub(super) struct Seen {
    /// The user whose it is.
    pub(super) about: String,
    /// What it says.
    pub(super) snapshot: Snapshot,
    /// As what cases know it, where that is more than its id.
    pub(super) thing: Option<String>,
}

impl Seen {
    fn new(about: String, snapshot: Snapshot) -> Self {
        Self { about, snapshot, thing: None }
    }
}

impl Community {
    /// A thing that the caller sees and that is somebody else's. What the caller does not see answers as if it were not there.
    pub(super) async fn reportable(
        &self,
        kind: ReportableKind,
        id: &str,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Seen, Problem> {
        let seen = match kind {
            ReportableKind::User => self.reported_user(id, identity).await?,
            ReportableKind::Post => {
                let post = self.readable_post(id, &identity.user_id).await?;
                let media = post.text.media.into_iter().map(|media| media.url).collect();
                let revision = Some(post.revision);
                let options = post.poll.map(|poll| poll.options).unwrap_or_default();
                let text: Vec<_> = std::iter::once(post.text.content).chain(options).collect();
                let snapshot = Snapshot { text: text.join("\n"), media, revision, ..Snapshot::default() };
                Seen::new(post.author_id, snapshot)
            }
            ReportableKind::Comment => {
                let (_, comment) = self.seen_comment(id, &identity.user_id).await?;
                let about = comment.author_id.ok_or_else(|| Problem::not_found("comment"))?;
                let revision = Some(comment.revision);
                let snapshot = Snapshot { text: comment.content, revision, ..Snapshot::default() };
                Seen::new(about, snapshot)
            }
            ReportableKind::Message => self.reported_message(id, identity).await?,
            ReportableKind::Event => {
                let event = self.event_for(id, identity, Action::Read).await?;
                let text = format!("{}\n{}", event.description, event.location.text);
                let snapshot = Snapshot { title: Some(event.title), text, ..Snapshot::default() };
                Seen::new(event.host_id, snapshot)
            }
            ReportableKind::Series => {
                let series = self.series_for(id, identity, Action::Read).await?;
                let template = series.template();
                let text = format!("{}\n{}", template.description, template.location.text);
                let title = Some(template.title.clone());
                let snapshot = Snapshot { title, text, ..Snapshot::default() };
                Seen::new(series.owner().to_owned(), snapshot)
            }
            ReportableKind::Booking => self.reported_booking(id, identity).await?,
            ReportableKind::Listing => {
                let (listing, _) = self.known_listing(id, identity).await?;
                let details = listing.details;
                let snapshot = Snapshot {
                    title: Some(details.title),
                    text: details.description,
                    media: details.photos,
                    ..Snapshot::default()
                };
                Seen::new(listing.host_id, snapshot)
            }
        };
        if seen.about == identity.user_id {
            return Err(Problem::invalid_field("id", FieldCode::NotAllowed, "must be somebody else's"));
        }
        Ok(Seen { snapshot: Snapshot { at: now, ..seen.snapshot }, ..seen })
    }

    async fn reported_user(&self, id: &str, identity: &Identity) -> Result<Seen, Problem> {
        // Nobody gets out of a report by pausing.
        let (user, ..) = self.met_user(identity, id, false).await?;
        let snapshot = Snapshot {
            title: Some(format!("{} (@{})", user.full_name, user.username)),
            text: user.bio.unwrap_or_default(),
            media: user.avatar_url.into_iter().collect(),
            ..Snapshot::default()
        };
        Ok(Seen::new(user.id, snapshot))
    }

    /// The other side of a booking of the caller's, with what that side wrote in it.
    async fn reported_booking(&self, id: &str, identity: &Identity) -> Result<Seen, Problem> {
        let (booking, side) = self.own_booking(id, identity).await?;
        let request = booking.request;
        let (about, words) = match side {
            Side::Host => (request.guest_id, request.message),
            Side::Guest => (request.host_id, booking.progress.offer.and_then(|offer| offer.message)),
        };
        let snapshot =
            Snapshot { title: Some(request.title), text: words.unwrap_or_default(), ..Snapshot::default() };
        // Each side of a booking has cases of its own.
        let thing = Some(format!("{id}:{}", if side == Side::Host { "guest" } else { "host" }));
        Ok(Seen { about, snapshot, thing })
    }

    async fn reported_message(&self, id: &str, identity: &Identity) -> Result<Seen, Problem> {
        let hidden = || Problem::not_found("message");
        let (chat, seq) = message_of(id).ok_or_else(hidden)?;
        let (_, message) = self.message_for(chat, seq, identity, Action::Read).await?;
        if message.deleted_at.is_some() {
            return Err(hidden());
        }
        let before = self.messages_before(chat, seq, identity, MESSAGES_BEFORE).await?;
        let before = before.into_iter().map(|message| Before {
            by: message.author,
            text: message.text.unwrap_or_default(),
            media: message.attachments,
            at: message.at,
        });
        let snapshot = Snapshot {
            text: message.text.unwrap_or_default(),
            media: message.attachments,
            revision: Some(message.rev),
            before: before.collect(),
            ..Snapshot::default()
        };
        Ok(Seen::new(message.author, snapshot))
    }
}
