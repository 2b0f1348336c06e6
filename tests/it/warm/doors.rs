//! The table of doors: each way to read something of somebody else, and how to see it in the answer.
//!
//! A new door is one row: the operation of the API's document, how the test calls it, and what of the other's stands in the
//! answer. In braces are names of things that `Subject` has. What has no row stands in `EXCEPTIONS`, with the reason.

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// A friend of the other's.
    Ben,
    /// Somebody whom the other has asked to be friends.
    Eve,
}

/// One way to read something of somebody else.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// As the API's document has it.
    pub operation: &'static str,
    /// How it is called.
    pub path: &'static str,
    /// What stands in the answer if the other is seen there; if that is nothing, any answer but a refusal shows it.
    pub shows: &'static str,
    pub viewer: Viewer,
    /// Why it shows the same after a block, where it does (docs/graph.md).
    pub stays_when_blocked: Option<&'static str>,
    /// Why the name stands there until the account is erased, where it does (docs/leaving.md).
    pub named_until_erased: Option<&'static str>,
}

impl Door {
    const fn by_eve(self) -> Self {
        Self { viewer: Viewer::Eve, ..self }
    }

    const fn stays_when_blocked(self, why: &'static str) -> Self {
        Self { stays_when_blocked: Some(why), ..self }
    }

    const fn named_until_erased(self, why: &'static str) -> Self {
        Self { named_until_erased: Some(why), ..self }
    }

    /// Whether it shows a post of the other's.
    pub fn is_of_post(&self) -> bool {
        self.path.contains("{post}") || self.shows == "{post}"
    }
}

const fn door(operation: &'static str, path: &'static str, shows: &'static str) -> Door {
    Door { operation, path, shows, viewer: Viewer::Ben, stays_when_blocked: None, named_until_erased: None }
}

const PUBLIC: &str = "events are public";
const GOES_ON: &str = "what was agreed on before a block goes on";
const HOSTS: &str = "who is a host already stays, and is shown";
const AT_DOOR: &str = "who lets guests in has to know all of them";
const TOLD: &str = "what was told before stays in the list";
const CALLED: &str = "what is called by the user's name is taken away with the account";

/// All doors.
pub const DOORS: &[Door] = &[
    // People.
    door("GET /api/users/{id}", "/api/users/{id}", ""),
    door("GET /api/users/{id}/followers", "/api/users/{cam}/followers?limit=100", "{name}"),
    door("GET /api/users/{id}/following", "/api/users/{cam}/following?limit=100", "{name}"),
    door("GET /api/users/{id}/followers", "/api/users/{id}/followers", ""),
    door("GET /api/users/{id}/following", "/api/users/{id}/following", ""),
    door("GET /api/friends", "/api/friends", "{name}"),
    door("GET /api/friends/online", "/api/friends/online", "{name}"),
    door("GET /api/friends/requests", "/api/friends/requests?direction=incoming", "{name}").by_eve(),
    door("GET /api/leaderboard", "/api/leaderboard", "{name}"),
    // Posts.
    door("GET /api/posts", "/api/posts?limit=100", "{post}"),
    door("GET /api/posts", "/api/posts?limit=100&tag={word}", "{post}"),
    door("GET /api/posts/feed/following", "/api/posts/feed/following?limit=100", "{post}"),
    door("GET /api/posts/{id}", "/api/posts/{post}", ""),
    door("GET /api/posts/{id}", "/api/posts/{friends}", ""),
    door("GET /api/posts/{id}/comments", "/api/posts/{post}/comments", ""),
    door("GET /api/posts/{id}/comments", "/api/posts/{said}/comments?limit=100", "{comment}"),
    door("GET /api/posts/{id}/revisions", "/api/posts/{post}/revisions", ""),
    door("GET /api/users/{id}/posts", "/api/users/{id}/posts?limit=100", "{post}"),
    door("GET /api/bookmarks", "/api/bookmarks?limit=100", "{post}"),
    // Conversations. Who keeps somebody out has no name there; what was said stays.
    door("GET /api/chat/conversations", "/api/chat/conversations?folder=inbox&limit=100", "{name}"),
    door("GET /api/chat/conversations/{id}", "/api/chat/conversations/{chat}", "{name}"),
    door("GET /api/chat/conversations/{id}", "/api/chat/conversations/{camp}", "{name}"),
    door("GET /api/chat/conversations/{id}/messages", "/api/chat/conversations/{chat}/messages", "{name}"),
    door("GET /api/chat/conversations/{id}/messages", "/api/chat/conversations/{camp}/messages", "{name}"),
    door("GET /api/chat/conversations/{id}/members", "/api/chat/conversations/{camp}/members", "{name}"),
    door("GET /api/chat/conversations/{id}/search", "/api/chat/conversations/{chat}/search?q=hola", "{name}"),
    // Events.
    door("GET /api/events", "/api/events?city=Buenos%20Aires&limit=100", "{name}").stays_when_blocked(PUBLIC),
    door("GET /api/events/mine", "/api/events/mine?as=guest&limit=100", "{name}").stays_when_blocked(PUBLIC),
    door("GET /api/events/{id}", "/api/events/{event}", "{name}").stays_when_blocked(PUBLIC),
    door("GET /api/events/{id}/attendees", "/api/events/{salon}/attendees?limit=100", "{name}"),
    door("GET /api/events/{id}/friends", "/api/events/{salon}/friends", "{name}"),
    door("GET /api/events/{id}/door", "/api/events/{salon}/door?limit=100", "{name}")
        .stays_when_blocked(AT_DOOR),
    door("GET /api/events/{id}/hosts", "/api/events/{hosted}/hosts", "{name}").stays_when_blocked(HOSTS),
    door("GET /api/events/series/{id}", "/api/events/series/{series}", "{name}").stays_when_blocked(PUBLIC),
    door("GET /api/events/series/{id}/dates", "/api/events/series/{series}/dates", "{name}")
        .stays_when_blocked(PUBLIC),
    door("GET /api/events/series/{id}/hosts", "/api/events/series/{series}/hosts", "{name}")
        .stays_when_blocked(HOSTS),
    // Places to stay.
    door("GET /api/housing", "/api/housing?city=Buenos%20Aires&limit=100", "{listing}"),
    door("GET /api/housing/{id}", "/api/housing/{listing}", ""),
    door("GET /api/housing/{id}/availability", "/api/housing/{listing}/availability?from={from}&to={to}", ""),
    door("GET /api/housing/{id}/reviews", "/api/housing/{listing}/reviews", ""),
    door("GET /api/bookings", "/api/bookings?as=guest&limit=100", "{name}").stays_when_blocked(GOES_ON),
    door("GET /api/bookings/{id}", "/api/bookings/{booking}", "{name}").stays_when_blocked(GOES_ON),
    // Searching.
    door("GET /api/search", "/api/search?q={word}&limit=100", "{post}"),
    door("GET /api/search", "/api/search?q={word}&kind=housing", "{listing}"),
    door("GET /api/search", "/api/search?q={name}", "{id}"),
    door("GET /api/search/suggestions", "/api/search/suggestions?q={name}", "{id}"),
    door("GET /api/user/global-search", "/api/user/global-search?q={word}", "{post}"),
    // What was told.
    door("GET /api/notifications", "/api/notifications?limit=100", "{name}")
        .stays_when_blocked(TOLD)
        .named_until_erased(CALLED),
];

/// Operations of the same areas that have no row, and why.
pub const EXCEPTIONS: &[(&str, &str)] = &[
    ("GET /api/blocks", "those whom the caller has blocked, to let them in again"),
    ("GET /api/mutes", "those whom the caller has muted, to hear them again"),
    ("GET /api/events/{id}/rsvp/handover", "needs an offered place: handovers.rs"),
    ("GET /api/users/{id}/reviews", "needs a stay that is over: housing/reviews.rs"),
    ("GET /api/users/me", "is the caller's own"),
    ("GET /api/users/me/export", "is the caller's own"),
    ("GET /api/users/me/export/{part}", "is the caller's own"),
    ("GET /api/users/me/points", "is the caller's own"),
    ("GET /api/users/me/points/deeds", "is the caller's own"),
    ("GET /api/notifications/preferences", "is the caller's own"),
    ("GET /api/notifications/unread-count", "is a number"),
    ("GET /api/push/devices", "is the caller's own"),
    ("GET /api/push/key", "is the community's"),
    ("GET /api/announcements", "is the staff's, and names nobody"),
    ("GET /api/flags", "is the staff's, and names nobody"),
];

/// The areas of the API's document of which each reading operation has a row or a reason.
pub const AREAS: [&str; 10] = [
    "people",
    "users",
    "posts",
    "bookmarks",
    "points",
    "chat",
    "events",
    "housing",
    "search",
    "notifications",
];
