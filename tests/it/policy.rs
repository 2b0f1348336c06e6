//! Who may do what: every operation of the API's document and every channel, asked as every kind of caller. One that has no
//! row here fails the test.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::housing;
use crate::input::good_bodies;
use crate::server::{Server, User};
use crate::stripe::{FakeStripe, SECRET_KEY};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    /// Nobody is logged in.
    Anonymous,
    /// A user who has nothing to do with it.
    Stranger,
    /// Has a place at the event, pays for the ticket, asked for the booking.
    Going,
    /// Is a moderator.
    Moderator,
    /// Lets guests in to the event.
    Door,
    /// Changes the event as its owner does.
    Editor,
    /// Gave the event, wrote the post, offers the place to stay, is whom the money is for.
    Owner,
    /// Is an admin.
    Admin,
}

use Caller::{Admin, Anonymous, Door, Editor, Going, Moderator, Owner, Stranger};

/// Those who may do the least come first, as what the others do may change what these see.
const CALLERS: [Caller; 8] = [Anonymous, Stranger, Going, Moderator, Door, Editor, Owner, Admin];

/// Of what an event is an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Open,
    /// Tells those who are going who comes.
    ToGoing,
    /// Tells hosts alone who comes.
    ToHosts,
    Draft,
}

const EVENTS: [Event; 4] = [Event::Open, Event::ToGoing, Event::ToHosts, Event::Draft];

/// What an operation asks for.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Anybody, also without a token.
    Public,
    /// Anybody with a token of one's own for it, which no caller here has.
    Secret,
    /// A key of the server API.
    ApiKey,
    /// Whoever is logged in, for things of one's own.
    User,
    /// A moderator or an admin.
    Moderates,
    /// An admin.
    Administers,
    /// Who proposed it, a moderator or an admin.
    SeesProposal,
    /// The ticket's member, a moderator or an admin.
    SeesTicket,
    /// The ticket's member.
    EndsTicket,
    /// Whoever sees the event.
    SeesEvent,
    /// Whoever is told who comes to the event.
    SeesAttendees,
    /// Whoever lets guests in.
    ChecksIn,
    /// Whoever changes the event.
    ChangesEvent,
    /// Its owner.
    HandsOver,
    /// Whoever it is offered to.
    IsOffered,
    /// Whoever may read the post.
    ReadsPost,
    /// The user, and the user's friends, of whom there are none here.
    SeesCircle,
    /// Its author.
    ChangesPost,
    /// Its author and moderators.
    RemovesPost,
    /// Whoever may read the post below which it stands.
    ReadsComment,
    /// Who wrote it.
    ChangesComment,
    /// Who wrote it, whose post it is, and moderators who may read it.
    RemovesComment,
    /// Who pays, and whom the money is for.
    SeesPayment,
    /// Whom the money is for.
    SendsBack,
    /// Whoever changes the place to stay.
    ChangesListing,
    /// Whoever sees the booking.
    SeesBooking,
    /// Its two sides.
    InBooking,
    /// Its host.
    Hosts,
    /// Its guest.
    Stays,
    /// Whoever sees the series.
    SeesSeries,
    /// Whoever changes the series.
    ChangesSeries,
    /// The series' owner.
    GivesSeries,
    /// Whoever the series is offered to, or owns it already.
    TakesSeries,
    /// Whoever is in the conversation.
    InChat,
    /// Whoever says who is in it.
    ChangesChat,
    /// Its owner.
    OwnsChat,
    /// Who wrote the message.
    WroteMessage,
    /// Who wrote it, and the group's admins.
    TakesMessageAway,
}

use Rule::{
    Administers, ApiKey, ChangesChat, ChangesComment, ChangesEvent, ChangesListing, ChangesPost,
    ChangesSeries, ChecksIn, EndsTicket, GivesSeries, HandsOver, Hosts, InBooking, InChat, IsOffered,
    Moderates, OwnsChat, Public, ReadsComment, ReadsPost, RemovesComment, RemovesPost, Secret, SeesAttendees,
    SeesBooking, SeesCircle, SeesEvent, SeesPayment, SeesProposal, SeesSeries, SeesTicket, SendsBack, Stays,
    TakesMessageAway, TakesSeries, WroteMessage,
};

/// The protocol's code of who has subscribed before.
const ALREADY_SUBSCRIBED: u32 = 105;

/// What is to come of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is done, or refused for another reason than who asks.
    Allowed,
    /// 401.
    Unknown,
    /// 403.
    Forbidden,
    /// 404.
    Hidden,
}

use Outcome::{Allowed, Forbidden, Hidden, Unknown};

#[expect(clippy::too_many_lines, reason = "it is a list")]
fn rule(operation: &str) -> Option<Rule> {
    Some(match operation {
        "confirmEmail"
        | "endLoginsByLink"
        | "forgotPassword"
        | "keepSecondFactor"
        | "logIn"
        | "logInWithSecondFactor"
        | "refreshTokens"
        | "register"
        | "resetPassword"
        | "undoDeletion"
        | "appealByLink"
        | "undoEmailChange"
        | "verifyEmail"
        | "getHealth"
        | "isLive"
        | "isReady"
        | "showUnsubscribePage"
        | "unsubscribe"
        | "recordEvents"
        | "getPushKey" => Public,
        // The address of a calendar is its secret.
        "receiveSendgridNews"
        | "receiveSesNews"
        | "receiveDeliveryReport"
        | "receiveStripeEvent"
        | "readCalendar" => Secret,
        "listListings"
        | "createListing"
        | "getListing"
        | "getAvailability"
        | "requestBooking"
        | "listBookings"
        | "listListingReviews"
        | "listUserReviews"
        | "createCalendar"
        | "listCalendars"
        | "rotateCalendar"
        | "removeCalendar"
        | "importEvents"
        | "listPayments"
        | "connectPayee"
        | "getPayee"
        | "openPayeeDashboard"
        | "logOut"
        | "logOutEverywhere"
        | "listSessions"
        | "endSession"
        | "endOtherSessions"
        | "getSecondFactor"
        | "beginSecondFactor"
        | "confirmSecondFactor"
        | "removeSecondFactor"
        | "renewRecoveryCodes"
        | "resendVerification"
        | "listBookmarks"
        | "listEvents"
        | "createEvent"
        | "listMyEvents"
        | "createEventSeries"
        | "sayToAgent"
        | "listTurns"
        | "listNotifications"
        | "mute"
        | "getPreferences"
        | "changePreferences"
        | "markNotificationsRead"
        | "markNotificationsShown"
        | "countUnreadNotifications"
        | "removeNotification"
        | "markNotificationRead"
        | "listPosts"
        | "listUserPosts"
        | "listFollowedPosts"
        | "createPost"
        | "removeBookmark"
        | "listDevices"
        | "registerDevice"
        | "removeDevice"
        | "getMe"
        | "changeMe"
        | "changeEmail"
        | "pauseMe"
        | "resumeMe"
        | "createConversation"
        | "listConversations"
        | "getUser"
        | "getLeaderboard"
        | "getMyPoints"
        | "showMyPoints"
        | "search"
        | "suggestSearches"
        | "searchAllKinds"
        | "listMyDeeds"
        | "deleteMe"
        | "getExport"
        | "readExportPart"
        | "requestExport" => Rule::User,
        "getFeatures"
        | "getFunnel"
        | "getRetention"
        | "getSeries"
        | "getTop"
        | "listQueues"
        | "listJobs"
        | "changeQueue"
        | "listSchedules"
        | "dropJob"
        | "getJob"
        | "retryJob"
        | "liftMailAddress"
        | "getMailAddress"
        | "getActor"
        | "exportStore"
        | "listFindings"
        | "listNodes"
        | "getSlow"
        | "listTraces"
        | "createTrace"
        | "removeTrace"
        | "getTree"
        | "listTrees"
        | "createUser"
        | "listAllPayments"
        | "settlePayment"
        | "getRevenue"
        | "listDepartures"
        | "deleteUser"
        | "takeOffSecondFactor" => Administers,
        "getEvent" | "answerEvent" | "listHosts" | "getEventCalendar" | "beginPayment" | "offerPlace"
        | "withdrawPlaceOffer" | "listOfferedPlaces" | "acceptPlace" | "declinePlace" => SeesEvent,
        "listAttendees" | "listFriendsGoing" => SeesAttendees,
        "listDoor" | "checkIn" => ChecksIn,
        "changeEvent" | "cancelEvent" | "publishEvent" => ChangesEvent,
        "setHost" | "removeHost" | "offerEvent" | "withdrawEventOffer" => HandsOver,
        "acceptEvent" => IsOffered,
        "getEventSeries"
        | "listEventSeriesDates"
        | "listEventSeriesHosts"
        | "attendEventSeries"
        | "stopAttendingEventSeries" => SeesSeries,
        "changeEventSeries" | "cancelEventSeries" | "renewEventSeries" => ChangesSeries,
        "setEventSeriesHost" | "removeEventSeriesHost" | "offerEventSeries" | "withdrawEventSeriesOffer" => {
            GivesSeries
        }
        "acceptEventSeries" => TakesSeries,
        "getPost" | "voteInPoll" | "removeVote" | "addBookmark" | "reactToPost" | "removeReaction"
        | "listPostRevisions" | "listComments" | "createComment" => ReadsPost,
        "changePost" => ChangesPost,
        "deletePost" => RemovesPost,
        "reactToComment" | "removeCommentReaction" => ReadsComment,
        "changeComment" => ChangesComment,
        "deleteComment" => RemovesComment,
        "getPayment" => SeesPayment,
        "refundPayment" => SendsBack,
        "changeListing" | "setNights" => ChangesListing,
        "getBooking" => SeesBooking,
        "getBookingCalendar" | "cancelBooking" | "reviewBooking" | "replyToReview" => InBooking,
        "confirmBooking" | "declineBooking" | "counterBooking" | "markNoShow" => Hosts,
        "acceptOffer" => Stays,
        "getConversation"
        | "listMessages"
        | "searchConversation"
        | "sendMessage"
        | "reactToMessage"
        | "removeMessageReaction"
        | "markConversationRead"
        | "markConversationUnread"
        | "typeInConversation"
        | "listMembers"
        | "muteConversation"
        | "archiveConversation"
        | "acceptConversation"
        | "declineConversation" => InChat,
        "changeConversation" | "addMembers" | "removeMember" => ChangesChat,
        "setMemberRole" => OwnsChat,
        "changeMessage" => WroteMessage,
        "deleteMessage" => TakesMessageAway,
        name if name.starts_with("server") => ApiKey,
        _ => return rule_of_people(operation),
    })
}

/// The same of what people have to do with each other.
fn rule_of_people(operation: &str) -> Option<Rule> {
    Some(match operation {
        "followUser" | "unfollowUser" | "askFriend" | "removeFriend" | "blockUser" | "unblockUser"
        | "muteUser" | "unmuteUser" | "listFriends" | "listFriendRequests" | "listFriendsOnline"
        | "listBlocks" | "listMutes" => Rule::User,
        "listFollowers" | "listFollowing" => SeesCircle,
        name => return rule_of_the_staff(name),
    })
}

/// The same of what moderators and admins work on.
fn rule_of_the_staff(operation: &str) -> Option<Rule> {
    Some(match operation {
        "listAnnouncements" | "listModerationLog" => Public,
        "createReport" | "listMyReports" | "listDecisions" | "appealDecision" | "createProposal"
        | "listMyProposals" | "createTicket" | "listTickets" | "getFlags" => Rule::User,
        "listPendingProposals"
        | "approveProposal"
        | "rejectProposal"
        | "assignProposal"
        | "createSafetyReview"
        | "listPendingSafetyReviews"
        | "getSafetyReview"
        | "assignSafetyReview"
        | "resolveSafetyReview"
        | "escalateSafetyReview"
        | "judgeAppeal"
        | "assignTicket"
        | "resolveTicket" => Moderates,
        "getProposal" => SeesProposal,
        "getTicket" | "listTicketMessages" | "replyToTicket" => SeesTicket,
        "closeTicket" | "reopenTicket" => EndsTicket,
        "findUsers" | "setRole" | "lockUser" | "unlockUser" | "createAnnouncement" | "removeAnnouncement"
        | "listFlags" | "setFlag" | "removeFlag" | "listAudit" | "listAuditRoots" | "verifyAudit" => {
            Administers
        }
        _ => return None,
    })
}

/// What comes of it where the caller is logged in, of an event.
fn of_event(rule: Rule, event: Event, caller: Caller) -> Outcome {
    let is_host = caller >= Door;
    if event == Event::Draft && !is_host {
        return Hidden;
    }
    let may = match rule {
        SeesEvent => true,
        SeesAttendees => match event {
            Event::Open | Event::Draft => true,
            Event::ToGoing => is_host || caller == Going,
            Event::ToHosts => is_host,
        },
        ChecksIn => is_host,
        ChangesEvent => caller >= Editor,
        HandsOver => caller >= Owner,
        _ => return if caller == Owner { Allowed } else { Hidden },
    };
    if may { Allowed } else { Forbidden }
}

/// What comes of it where the caller is logged in, of a place to stay and of a booking there.
fn of_stay(rule: Rule, caller: Caller) -> Outcome {
    let (allowed, told): (&[Caller], &[Caller]) = match rule {
        ChangesListing => (&[Owner, Admin], &CALLERS),
        SeesBooking => (&[Going, Owner, Admin], &[]),
        InBooking => (&[Going, Owner], &[Admin]),
        Hosts => (&[Owner], &[Going, Admin]),
        _ => (&[Going], &[Owner, Admin]),
    };
    if allowed.contains(&caller) {
        Allowed
    } else if told.contains(&caller) {
        Forbidden
    } else {
        Hidden
    }
}

/// What comes of it where the caller is logged in, of a conversation: no role of the community opens it.
fn of_chat(rule: Rule, caller: Caller) -> Outcome {
    let allowed: &[Caller] = match rule {
        InChat => &[Going, Editor, Owner],
        ChangesChat | TakesMessageAway => &[Editor, Owner],
        _ => &[Owner],
    };
    match caller {
        caller if allowed.contains(&caller) => Allowed,
        Going | Editor => Forbidden,
        _ => Hidden,
    }
}

fn outcome(status: StatusCode) -> Outcome {
    match status {
        StatusCode::UNAUTHORIZED => Unknown,
        StatusCode::FORBIDDEN => Forbidden,
        StatusCode::NOT_FOUND => Hidden,
        _ => Allowed,
    }
}

struct World {
    server: Server,
    _stripe: FakeStripe,
    callers: BTreeMap<Caller, User>,
    other: User,
}

impl World {
    async fn new() -> Self {
        let stripe = FakeStripe::start().await;
        let settings = [("PAYMENTS__SECRET_KEY", SECRET_KEY), ("PAYMENTS__API_URL", stripe.base())];
        let server = Server::start_with(&settings).await;
        let owner = server.register("owner").await;
        let other = server.register("other").await;
        let mut callers = BTreeMap::from([(Owner, owner)]);
        for (caller, role) in [
            (Stranger, "user"),
            (Going, "user"),
            (Moderator, "moderator"),
            (Door, "user"),
            (Editor, "user"),
            (Admin, "admin"),
        ] {
            let account = server.register(&format!("{caller:?}").to_lowercase()).await;
            callers.insert(caller, server.user(&account.id, role));
        }
        Self { server, _stripe: stripe, callers, other }
    }

    fn user(&self, caller: Caller) -> &User {
        &self.callers[&caller]
    }

    async fn done(&self, method: Method, path: &str, caller: Caller, body: Value) -> Value {
        let token = self.user(caller).token.as_str();
        let (status, answer) = self.server.call(method, path, Some(token), Some(body)).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// An event with hosts, and a guest where it takes answers.
    async fn event(&self, event: Event) -> String {
        let attendees = match event {
            Event::Open | Event::Draft => "everyone",
            Event::ToGoing => "going",
            Event::ToHosts => "hosts",
        };
        let body = json!({
            "title": "Milonga", "eventDate": "2030-01-01T20:00:00Z", "location": "La Viruta", "eventType": "milonga",
            "attendees": attendees, "draft": event == Event::Draft,
        });
        let made = self.done(Method::POST, "/api/events", Owner, body).await;
        let id = made["id"].as_str().unwrap().to_owned();
        self.with_hosts(&format!("/api/events/{id}")).await;
        if event != Event::Draft {
            self.done(Method::POST, &format!("/api/events/{id}/rsvp"), Going, json!({})).await;
        }
        id
    }

    async fn with_hosts(&self, path: &str) {
        for (caller, role) in [(Door, "door"), (Editor, "editor")] {
            let path = format!("{path}/hosts/{}", self.user(caller).id);
            self.done(Method::PUT, &path, Owner, json!({"role": role})).await;
        }
    }

    /// A place to stay, and a booking there.
    async fn stay(&self) -> [String; 2] {
        let room = self.done(Method::POST, "/api/housing", Owner, housing::room_body()).await;
        let listing = room["id"].as_str().unwrap().to_owned();
        let path = format!("/api/housing/{listing}/bookings");
        let booking = self.done(Method::POST, &path, Going, housing::stay_body(10, 2)).await;
        [listing, booking["id"].as_str().unwrap().to_owned()]
    }

    /// A series with hosts.
    async fn series(&self) -> String {
        let body = json!({
            "title": "Milonga", "eventDate": "2030-01-01T20:00:00Z", "location": "La Viruta", "eventType": "milonga",
            "repeats": {"frequency": "weekly", "count": 2},
        });
        let made = self.done(Method::POST, "/api/events/series", Owner, body).await;
        let id = made["id"].as_str().unwrap().to_owned();
        self.with_hosts(&format!("/api/events/series/{id}")).await;
        id
    }

    /// A group with a message of its owner's.
    async fn chat(&self) -> String {
        let members = [&self.user(Going).id, &self.user(Editor).id, &self.other.id];
        let body = json!({"title": "Camp", "memberIds": members});
        let made = self.done(Method::POST, "/api/chat/conversations", Owner, body).await;
        let path = format!("/api/chat/conversations/{}", made["id"].as_str().unwrap());
        // Who does not answer can be offered only so many groups.
        for member in [self.user(Going), self.user(Editor), &self.other] {
            let (status, _) = self.server.post(&format!("{path}/accept"), member, json!({})).await;
            assert!(status.is_success(), "{status}");
        }
        let admin = format!("{path}/members/{}", self.user(Editor).id);
        self.done(Method::PATCH, &admin, Owner, json!({"role": "admin"})).await;
        self.done(Method::POST, &format!("{path}/messages"), Owner, json!({"text": "Hola"})).await;
        made["id"].as_str().unwrap().to_owned()
    }

    async fn post(&self, visibility: &str) -> String {
        let body = json!({"content": "x", "visibility": visibility});
        self.done(Method::POST, "/api/posts", Owner, body).await["id"].as_str().unwrap().to_owned()
    }

    /// A payment for a ticket, on which nobody has paid yet.
    async fn payment(&self) -> String {
        let event = json!({
            "title": "Milonga", "eventDate": "2030-01-01T20:00:00Z", "location": "La Viruta", "eventType": "milonga",
            "ticketPrice": {"minor": 1250, "currency": "EUR"},
        });
        let event = self.done(Method::POST, "/api/events", Owner, event).await;
        let id = event["id"].as_str().unwrap();
        self.done(Method::POST, &format!("/api/events/{id}/rsvp"), Going, json!({})).await;
        let order = json!({"purpose": "ticket", "thingId": id});
        let checkout = self.done(Method::POST, "/api/payments/checkout", Going, order).await;
        checkout["paymentId"].as_str().unwrap().to_owned()
    }

    /// What the owner proposes.
    async fn proposal(&self) -> String {
        let body = json!({"title": "A map", "description": "Of milongas.", "area": "events"});
        self.done(Method::POST, "/api/founder-approval", Owner, body).await["id"].as_str().unwrap().to_owned()
    }

    /// A ticket of the owner's.
    async fn ticket(&self) -> String {
        let body = json!({"subject": "Help", "text": "I have no place."});
        self.done(Method::POST, "/api/support/tickets", Owner, body).await["id"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, method: &Method, path: &str, caller: Caller, body: Option<&Value>) -> StatusCode {
        let token = self.callers.get(&caller).map(|user| user.token.as_str());
        self.server.call(method.clone(), path, token, body.cloned()).await.0
    }
}

/// What a caller asks for, and what is to come of it.
struct Question {
    what: String,
    path: String,
    body: Option<Value>,
    caller: Caller,
    wanted: Outcome,
    /// Whether there need not be such a thing for whoever may ask.
    may_be_nothing: bool,
}

/// All callers ask the same.
fn all_ask(
    what: &str,
    path: &str,
    body: Option<&Value>,
    wanted: impl Fn(Caller) -> Option<Outcome>,
) -> Vec<Question> {
    let asks = |caller| {
        let wanted = if caller == Anonymous { Some(Unknown) } else { wanted(caller) };
        let (what, path, body) = (format!("{what}, {caller:?}"), path.to_owned(), body.cloned());
        wanted.map(|wanted| Question { what, path, body, caller, wanted, may_be_nothing: false })
    };
    CALLERS.into_iter().filter_map(asks).collect()
}

impl World {
    /// What is asked of an operation, of things that are made for it.
    async fn questions(&self, id: &str, rule: Rule, path: &str, body: Option<&Value>) -> Vec<Question> {
        match rule {
            SeesEvent | SeesAttendees | ChecksIn | ChangesEvent | HandsOver | IsOffered => {
                self.of_events(id, rule, path, body).await
            }
            SeesSeries | ChangesSeries | GivesSeries | TakesSeries => {
                let path = path.replace("{id}", &self.series().await).replace("{userId}", &self.other.id);
                all_ask("", &path, body, |caller| {
                    let may = match rule {
                        SeesSeries => true,
                        ChangesSeries => caller >= Editor,
                        GivesSeries => caller >= Owner,
                        _ => return Some(if caller == Owner { Allowed } else { Hidden }),
                    };
                    Some(if may { Allowed } else { Forbidden })
                })
            }
            InChat | ChangesChat | OwnsChat | WroteMessage | TakesMessageAway => {
                let path = path.replace("{id}", &self.chat().await).replace("{userId}", &self.other.id);
                all_ask("", &path.replace("{seq}", "1"), body, |caller| Some(of_chat(rule, caller)))
            }
            ChangesPost | RemovesPost | ReadsComment | ChangesComment | RemovesComment => {
                self.of_posts(rule, path, body).await
            }
            ReadsPost => {
                let mut questions = Vec::new();
                for visibility in ["public", "friends", "private"] {
                    let path = path.replace("{id}", &self.post(visibility).await);
                    questions.extend(all_ask(visibility, &path, body, |caller| {
                        let may = caller == Owner || visibility == "public";
                        Some(if may { Allowed } else { Hidden })
                    }));
                }
                questions
            }
            SeesCircle => {
                let path = path.replace("{id}", &self.user(Owner).id);
                all_ask("", &path, body, |caller| Some(if caller == Owner { Allowed } else { Forbidden }))
            }
            SeesPayment | SendsBack => {
                let path = path.replace("{id}", &self.payment().await);
                all_ask("", &path, body, |caller| {
                    Some(match (rule, caller) {
                        (_, Owner | Admin) | (SeesPayment, Going) => Allowed,
                        (_, Going) => Forbidden,
                        _ => Hidden,
                    })
                })
            }
            ChangesListing | SeesBooking | InBooking | Hosts | Stays => {
                let [listing, booking] = self.stay().await;
                let stays_at = if matches!(rule, ChangesListing) { listing } else { booking };
                let mut questions =
                    all_ask("", &path.replace("{id}", &stays_at), body, |caller| Some(of_stay(rule, caller)));
                // Nobody has reviewed a stay that has not been.
                for question in &mut questions {
                    question.may_be_nothing = id == "replyToReview";
                }
                questions
            }
            SeesProposal | SeesTicket | EndsTicket => {
                let case =
                    if matches!(rule, SeesProposal) { self.proposal().await } else { self.ticket().await };
                all_ask("", &path.replace("{id}", &case), body, |caller| {
                    Some(match (rule, caller) {
                        (_, Owner) | (SeesProposal | SeesTicket, Moderator | Admin) => Allowed,
                        (_, Moderator | Admin) => Forbidden,
                        _ => Hidden,
                    })
                })
            }
            Public | Secret | ApiKey | Rule::User | Moderates | Administers => {
                of_ones_own(id, rule, path, body)
            }
        }
    }

    async fn of_posts(&self, rule: Rule, path: &str, body: Option<&Value>) -> Vec<Question> {
        let mut questions = Vec::new();
        for visibility in ["public", "friends", "private"] {
            let is_seen = |caller| caller == Owner || visibility == "public";
            // Of those who may read it, one who did not write the post wrote the comment.
            let author = if visibility == "public" { Going } else { Owner };
            let made = async || {
                let post = self.post(visibility).await;
                if matches!(rule, ChangesPost | RemovesPost) {
                    return post;
                }
                let comments = format!("/api/posts/{post}/comments");
                let made = self.done(Method::POST, &comments, author, json!({"content": "x"})).await;
                made["id"].as_str().unwrap().to_owned()
            };
            let mut id = made().await;
            for caller in CALLERS {
                let may = match rule {
                    ChangesPost => caller == Owner,
                    RemovesPost => matches!(caller, Owner | Moderator | Admin),
                    ReadsComment => is_seen(caller),
                    ChangesComment => caller == author,
                    _ => is_seen(caller) && (caller == author || matches!(caller, Owner | Moderator | Admin)),
                };
                let wanted = match (may, is_seen(caller)) {
                    (true, _) => Allowed,
                    (false, true) => Forbidden,
                    (false, false) => Hidden,
                };
                let asked = all_ask(visibility, &path.replace("{id}", &id), body, |_| Some(wanted));
                questions.extend(asked.into_iter().filter(|question| question.caller == caller));
                // What one removes, or shows to all, the next is to find as it was.
                if may && matches!(rule, ChangesPost | RemovesPost | RemovesComment) {
                    id = made().await;
                }
            }
        }
        questions
    }

    async fn of_events(&self, id: &str, rule: Rule, path: &str, body: Option<&Value>) -> Vec<Question> {
        let mut questions = Vec::new();
        for event in EVENTS {
            let event_id = self.event(event).await;
            let path = path.replace("{id}", &event_id).replace("{userId}", &self.other.id);
            let body = body.map(|body| body.to_string().replace("{id}", &event_id));
            let body: Option<Value> = body.map(|body| serde_json::from_str(&body).unwrap());
            // A host answers a draft as well as anybody: not.
            let answers = ["answerEvent", "beginPayment", "offerPlace"];
            let is_answer = answers.contains(&id) && event == Event::Draft;
            questions.extend(all_ask(&format!("{event:?}"), &path, body.as_ref(), |caller| {
                Some(if is_answer { Hidden } else { of_event(rule, event, caller) })
            }));
        }
        // Nobody offers a place.
        for question in &mut questions {
            question.may_be_nothing = ["acceptPlace", "declinePlace"].contains(&id);
        }
        questions
    }
}

/// What is asked of operations that are about nothing of somebody else's.
fn of_ones_own(id: &str, rule: Rule, path: &str, body: Option<&Value>) -> Vec<Question> {
    if matches!(rule, Public | Secret) {
        return Vec::new();
    }
    let path = path.replace('{', "no-").replace('}', "");
    let mut questions = all_ask("", &path, body, |caller| {
        let wanted = match (rule, caller) {
            (ApiKey, _) => Unknown,
            (Rule::User, _) | (Moderates, Moderator) | (_, Admin) => Allowed,
            _ => Forbidden,
        };
        // Who logs out is asked no more, and whom everybody is asked about must not pause.
        let stays = !id.starts_with("logOut") && id != "pauseMe";
        (stays || wanted != Allowed).then_some(wanted)
    });
    for question in &mut questions {
        question.may_be_nothing = true;
    }
    questions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_and_caller_has_a_row_that_holds() {
    let world = World::new().await;
    let (_, document) = world.server.call(Method::GET, "/api/docs/json", None, None).await;
    let mut bodies = good_bodies("{id}", "{id}");
    for offer in [
        "put /api/events/{id}/offer",
        "put /api/events/series/{id}/offer",
        "post /api/events/{id}/rsvp/handover",
    ] {
        bodies.get_mut(offer).unwrap().1["userId"] = json!(world.other.id);
    }
    for with_password in ["post /api/users/me/email", "post /api/auth/totp"] {
        bodies.get_mut(with_password).unwrap().1["password"] = json!("abrazo-1234");
    }
    let (mut cells, mut missing, mut wrong) = (0, Vec::new(), Vec::new());
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (name, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap_or_default();
            if operation["tags"] == json!(["test hooks"]) {
                continue;
            }
            let Some(rule) = rule(id) else {
                missing.push(id.to_owned());
                continue;
            };
            let method: Method = name.to_uppercase().parse().unwrap();
            let body = bodies.get(&format!("{name} {path}")).map(|(_, body)| body);
            let mut parameters = operation["parameters"].as_array().into_iter().flatten();
            let asks_more = parameters.any(|one| one["in"] == "query" && one["required"] == true);
            for question in world.questions(id, rule, path, body).await {
                cells += 1;
                let words = if id == "searchConversation" { "?q=milonga" } else { "" };
                let path = format!("{}{words}", question.path);
                let status = world.ask(&method, &path, question.caller, question.body.as_ref()).await;
                let (wanted, seen) = (question.wanted, outcome(status));
                // A question that is not whole is told so before it is looked at who asks.
                let fits = seen == wanted
                    || (wanted == Allowed && question.may_be_nothing && seen == Hidden)
                    || (wanted == Forbidden && asks_more && status == StatusCode::BAD_REQUEST);
                if !fits {
                    wrong.push(format!("{id}, {}: {wanted:?} wanted, {status}", question.what));
                }
            }
        }
    }
    assert!(missing.is_empty(), "no row for {missing:?}");
    println!("{cells} cells, {} failures", wrong.len());
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_channel_and_caller_has_a_row_that_holds() {
    let world = World::new().await;
    let (_, document) = world.server.call(Method::GET, "/api/docs/json", None, None).await;
    let mut forms: BTreeSet<_> = document["x-channels"].as_object().unwrap().keys().cloned().collect();
    let said = world.done(Method::POST, "/api/life-ceo/chat", Owner, json!({"message": "Hi"})).await;
    let conversation = said["conversationId"].as_str().unwrap();
    let logged_in = CALLERS.into_iter().filter(|caller| *caller != Anonymous).collect::<Vec<_>>();
    let mut wrong = Vec::new();
    let mut check = async |form: &str, channel: String, heard_by: &dyn Fn(Caller) -> bool| {
        forms.remove(form);
        for caller in &logged_in {
            let subscribed =
                world.server.try_subscribe_once(world.user(*caller), json!({"channel": channel})).await;
            // A connection is subscribed to its own channel by itself.
            let hears =
                subscribed.as_ref().map_or_else(|error| error["code"] == ALREADY_SUBSCRIBED, |_| true);
            if hears != heard_by(*caller) {
                wrong.push(format!("{form}, {channel}, {caller:?}: {subscribed:?}"));
            }
        }
    };
    check("posts:feed", "posts:feed".to_owned(), &|_| true).await;
    check("events:all", "events:all".to_owned(), &|_| true).await;
    check("announcements:all", "announcements:all".to_owned(), &|_| true).await;
    // The accounts of these callers have no role: their tokens alone have one.
    check("staff:queue", "staff:queue".to_owned(), &|_| false).await;
    for (visibility, is_public) in [("public", true), ("friends", false), ("private", false)] {
        let channel = format!("post:{}", world.post(visibility).await);
        check("post:{id}", channel, &|caller| is_public || caller == Owner).await;
    }
    for event in EVENTS {
        let channel = format!("event:{}", world.event(event).await);
        let is_draft = event == Event::Draft;
        // A role in a token is for REST: a socket is a user's.
        check("event:{id}", channel, &|caller| !is_draft || matches!(caller, Door | Editor | Owner)).await;
    }
    check("event:{id}", "event:nonesuch".to_owned(), &|_| false).await;
    let chat = format!("chat:{}", world.chat().await);
    check("chat:{conversationId}", chat, &|caller| matches!(caller, Going | Editor | Owner)).await;
    check("agent:{conversationId}", format!("agent:{conversation}"), &|caller| caller == Owner).await;
    // A connection is subscribed to its own by itself.
    let own = world.user(Owner).id.clone();
    check("#{userId}", format!("#{own}"), &|caller| caller == Owner).await;
    assert!(forms.is_empty(), "no row for {forms:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
