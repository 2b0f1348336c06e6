//! What is personal in events and in series, which are kept alike.
//!
//! An event is its host's, and those who answered have it too, in their calendars and behind their tickets: it stays when its
//! host leaves, without the host and without the host's words.

use mundotango_storage::db::{Erasure, Export, Fields, Whose};

/// Of what the host made and others have too.
const OTHERS_HAVE_IT: Erasure = Erasure::Kept(
    "as long as the event: those who answered have it in their calendars and behind their tickets",
);
const NO_OWNER: Erasure = Erasure::Anonymous("the event stays for those who answered");

/// Whose the fields of an event are.
pub(super) const EVENT_FIELDS: &[Fields] = &[
    Fields::of(
        Whose::Author,
        Export::Given,
        NO_OWNER,
        &["facts.host_id", "head.owner", "head.following.host"],
    ),
    Fields::of(
        Whose::Author,
        Export::Given,
        OTHERS_HAVE_IT,
        &[
            "facts.title",
            "facts.event_date",
            "facts.when.**",
            "facts.event_type",
            "facts.capacity",
            "facts.settings.**",
            "facts.is_draft",
            "facts.created_at",
            "facts.series.**",
            "facts.location.city",
            "head.plan.title",
            "head.plan.when.**",
            "head.plan.location.city",
            "head.settings.**",
            "head.is_published",
            "head.cancelled.at",
            "head.changed_at",
        ],
    ),
    Fields::of(
        Whose::Author,
        Export::Given,
        Erasure::Emptied,
        &[
            "facts.description",
            "facts.location.**",
            "head.plan.description",
            "head.plan.location.**",
            "head.moved_from.**",
            "head.cancelled.reason",
        ],
    ),
    Fields::of(Whose::Named, Export::Given, Erasure::Emptied, &["head.offered_to"]),
    Fields::of(
        Whose::RowUser,
        Export::Given,
        Erasure::Anonymous(
            "of an event that is over, so that counts stay right; an answer to one to come is taken back first",
        ),
        &["keys.a", "rows.a.answer.**"],
    ),
    Fields::of(
        Whose::Named,
        Export::NotGiven("the answer is"),
        Erasure::RowRemoved,
        &[
            "keys.w",
            "keys.wl",
            "keys.wf",
            "keys.wo",
            "keys.x",
            "rows.w.waiting",
            "rows.wl.waiting",
            "rows.wf.waiting",
            "rows.wo.waiting",
            "rows.x.held",
        ],
    ),
    Fields::of(Whose::RowUser, Export::Given, Erasure::RowRemoved, &["keys.h", "rows.h.cohost"]),
    Fields::of_nobody(&[
        "id",
        "head.counts.**",
        "head.dancing.**",
        "head.held.**",
        "head.next_in_line",
        "head.first_in_line",
        "head.first_of_role.*",
        "head.waiting_of_role.*",
        "head.answers",
        "head.co_hosts",
        "head.moves",
        "head.sequence",
        "head.untold",
        "head.told_at",
        "head.counts_told.**",
        "head.following.series.**",
        "head.following.rev",
        "head.following.own.*",
    ]),
];

/// Whose the fields of a series are.
pub(super) const SERIES_FIELDS: &[Fields] = &[
    Fields::of(
        Whose::Author,
        Export::Given,
        NO_OWNER,
        &[
            "facts.host_id",
            "facts.template.owner",
            "head.template.owner",
            "head.cut.template.owner",
            "rows.t.template.owner",
        ],
    ),
    Fields::of(
        Whose::Author,
        Export::Given,
        OTHERS_HAVE_IT,
        &[
            "facts.zone",
            "facts.event_type",
            "facts.created_at",
            "facts.lives_until",
            "facts.continues",
            "facts.template.title",
            "facts.template.settings.**",
            "facts.template.times.**",
            "facts.template.rule.**",
            "facts.template.first",
            "head.template.title",
            "head.template.settings.**",
            "head.template.times.**",
            "head.template.rule.**",
            "head.template.first",
            "head.lives_until",
            "head.cancelled.at",
            "keys.o",
            "rows.o.date.**",
        ],
    ),
    Fields::of(
        Whose::Author,
        Export::Given,
        Erasure::Emptied,
        &[
            "facts.template.description",
            "facts.template.location.**",
            "head.template.description",
            "head.template.location.**",
            "head.cancelled.reason",
        ],
    ),
    Fields::of(
        Whose::Author,
        Export::NotGiven("the series that it leads to or came from is"),
        Erasure::Emptied,
        &["head.cut.template.**", "keys.t", "rows.t.template.**", "keys.x", "rows.x.doomed.**"],
    ),
    Fields::of(Whose::Named, Export::Given, Erasure::Emptied, &["head.offered_to"]),
    Fields::of(
        Whose::RowUser,
        Export::Given,
        Erasure::RowRemoved,
        &["keys.p", "rows.p.habit.**", "keys.h", "rows.h.cohost"],
    ),
    Fields::of_nobody(&[
        "id",
        "facts.template.rev",
        "head.template.rev",
        "head.version",
        "head.planned_to",
        "head.has_all",
        "head.is_settled",
        "head.cut.to",
        "head.cut.at",
        "head.cut.from",
        "head.cut.lives_until",
        "head.cut.is_open",
        "head.cut.is_done",
        "head.always",
        "head.habits",
        "head.moves",
        "head.wakes_at",
        "head.told_end",
        "head.co_hosts",
    ]),
];
