//! The order of requests, and what comes of each on a fresh server.

use anyhow::Context as _;
use serde_json::Value;

/// Operations after which a token is no longer good, or a thing is gone that other folders need.
const LAST: [&str; 3] = ["deletePost", "logOut", "logOutEverywhere"];
/// The last requests: after leaving once one has to come back, to leave everywhere.
const LEAVING: [&str; 4] = ["deletePost", "logOut", "logIn", "logOutEverywhere"];
/// Operations that others of their folder need.
const EARLY: [&str; 1] = ["sayToAgent"];
/// Operations that keep others of their folder from working.
const LATE: [&str; 6] = [
    "approveProposal",
    "cancelEvent",
    "declineConversation",
    "deleteComment",
    "deleteMessage",
    "rejectProposal",
];
/// What operations answer that cannot be done with an example, as the links and ids in them were never made; or may be done
/// or not, as what they are about is made in a moment.
const OTHERWISE: &[(&str, &[u16])] = &[
    ("verifyEmail", &[410]),
    ("confirmEmail", &[410]),
    ("resetPassword", &[410]),
    ("undoEmailChange", &[410]),
    ("undoDeletion", &[410]),
    // The confirmation of the example is not the user's name, and an admin has to lose the role first.
    ("deleteMe", &[400, 409]),
    ("deleteUser", &[400, 404, 409]),
    ("logInWithSecondFactor", &[401]),
    ("confirmSecondFactor", &[400]),
    ("removeSecondFactor", &[404]),
    ("renewRecoveryCodes", &[404]),
    // Nobody takes off the own second factor so, and there is no other user.
    ("takeOffSecondFactor", &[404, 409]),
    ("keepSecondFactor", &[410]),
    ("endLoginsByLink", &[410]),
    ("endSession", &[204, 404]),
    ("readExportPart", &[404]),
    // The post of the examples asks nothing.
    ("voteInPoll", &[404, 409]),
    ("removeVote", &[204, 404, 409]),
    // Nobody reports what is the own, and nothing was decided about the one who asks.
    ("createReport", &[201, 403, 404]),
    ("appealDecision", &[404]),
    ("appealByLink", &[410]),
    ("judgeAppeal", &[404, 409]),
    ("removeFlag", &[204, 404]),
    ("markNotificationRead", &[200, 404]),
    ("removeNotification", &[204, 404]),
    ("showUnsubscribePage", &[404]),
    ("unsubscribe", &[404]),
    ("receiveSesNews", &[404]),
    ("receiveSendgridNews", &[404]),
    ("receiveDeliveryReport", &[400]),
    ("liftMailAddress", &[404]),
    ("readCalendar", &[404]),
    ("getJob", &[404]),
    ("dropJob", &[404]),
    ("retryJob", &[404]),
    ("getActor", &[404]),
    // Of users there is only the one who asks, who is no host beside itself, and does not stay at the own place.
    ("setHost", &[204, 404]),
    ("setEventSeriesHost", &[204, 404]),
    ("offerEvent", &[204, 404]),
    ("offerEventSeries", &[204, 404]),
    ("offerPlace", &[404, 409]),
    ("acceptPlace", &[404]),
    ("declinePlace", &[404]),
    ("followUser", &[403]),
    ("unfollowUser", &[403]),
    ("askFriend", &[403]),
    ("removeFriend", &[403]),
    ("blockUser", &[403]),
    ("unblockUser", &[403]),
    ("muteUser", &[403]),
    ("unmuteUser", &[403]),
    ("addMembers", &[400]),
    ("setMemberRole", &[404]),
    ("removeMember", &[404]),
    // Who has left the conversation before is told so.
    ("deleteMessage", &[204, 403]),
    // What was approved before is not rejected.
    ("rejectProposal", &[409]),
    ("requestBooking", &[403, 409]),
    ("getBooking", &[404]),
    ("getBookingCalendar", &[404]),
    ("confirmBooking", &[404]),
    ("declineBooking", &[404]),
    ("counterBooking", &[404]),
    ("acceptOffer", &[404]),
    ("cancelBooking", &[404]),
    ("markNoShow", &[404]),
    ("reviewBooking", &[404]),
    ("replyToReview", &[404]),
    // The nights of the examples may be past, or too far ahead.
    ("setNights", &[200, 400]),
    ("getAvailability", &[200, 400]),
    // A series that was cancelled before cannot go on.
    ("renewEventSeries", &[200, 409]),
    // A node without keys takes no payments.
    ("beginPayment", &[404, 503]),
    ("getPayment", &[404]),
    ("refundPayment", &[404]),
    ("receiveStripeEvent", &[503]),
    ("connectPayee", &[503]),
    ("getPayee", &[503]),
    ("openPayeeDashboard", &[503]),
    ("settlePayment", &[404]),
    // Traces are sent nowhere there.
    ("createTrace", &[201, 409]),
    ("removeTrace", &[204, 404]),
];

/// An operation of the document.
pub(super) struct Operation<'a> {
    pub(super) path: &'a str,
    pub(super) method: &'a str,
    pub(super) id: &'a str,
    pub(super) tag: &'a str,
    pub(super) about: &'a Value,
}

impl<'a> Operation<'a> {
    /// All operations.
    pub(super) fn all(document: &'a Value) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::new();
        for (path, item) in document["paths"].as_object().context("no paths")? {
            for (method, about) in item.as_object().into_iter().flatten() {
                let text =
                    |value: &'a Value| value.as_str().with_context(|| format!("{method} {path}: {value}"));
                let (id, tag) = (text(&about["operationId"])?, text(&about["tags"][0])?);
                all.push(Self { path, method, id, tag, about });
            }
        }
        Ok(all)
    }

    /// The statuses that it may answer with here.
    pub(super) fn expected(&self) -> Vec<u16> {
        if let Some((_, statuses)) = OTHERWISE.iter().find(|(id, _)| *id == self.id) {
            return statuses.to_vec();
        }
        self.statuses().filter(|status| *status < 300).collect()
    }

    fn statuses(&self) -> impl Iterator<Item = u16> {
        let responses = self.about["responses"].as_object().into_iter().flatten();
        responses.filter_map(|(status, _)| status.parse().ok())
    }

    /// What is made comes first, then what is read and changed, and at last what is taken away.
    fn rank(&self) -> u8 {
        let is_of_one = self.path.ends_with('}');
        match self.method {
            _ if LATE.contains(&self.id) => 9,
            _ if EARLY.contains(&self.id) => 0,
            "post" if self.statuses().any(|status| status == 201) => 0,
            "get" if !is_of_one => 2,
            "get" => 3,
            "put" => 1,
            "patch" => 4,
            "delete" => 8,
            _ => 5,
        }
    }
}

/// The operations of a folder, in their order.
pub(super) fn of_folder<'a>(
    all: &'a [Operation<'a>],
    tag: &'a str,
) -> impl Iterator<Item = &'a Operation<'a>> {
    let mut own: Vec<_> = all.iter().filter(|one| one.tag == tag && !LAST.contains(&one.id)).collect();
    own.sort_by_key(|one| (one.rank(), one.path));
    own.into_iter()
}

/// The operations that come after all others.
pub(super) fn last<'a>(all: &'a [Operation<'a>]) -> impl Iterator<Item = &'a Operation<'a>> {
    LEAVING.into_iter().filter_map(move |id| all.iter().find(|one| one.id == id))
}
