//! The tables, each an ordered map from keys to rows.

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

macro_rules! tables {
    ($($table:ident = $name:literal,)+) => {
        /// A table. Its keys and rows are described where it is used.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Table {
            $($table,)+
        }

        impl Table {
            /// All tables, in the order of their numbers.
            const ALL: &[Self] = &[$(Self::$table,)+];

            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$table => $name,)+
                }
            }
        }
    };
}

tables! {
    Users = "users",
    Emails = "emails",
    Usernames = "usernames",
    Logins = "logins",
    LoginsByUser = "logins_by_user",
    Posts = "posts",
    PublicPosts = "public_posts",
    OwnPosts = "own_posts",
    Reactions = "reactions",
    Events = "events",
    EventsByDate = "events_by_date",
    Rsvps = "rsvps",
    Waitlist = "waitlist",
    Revocations = "revocations",
    Conversations = "conversations",
    Turns = "turns",
    History = "history",
    HistoryEnds = "history_ends",
}

/// Handles of all tables.
#[derive(Clone)]
pub(super) struct Tables(Vec<Keyspace>);

impl Tables {
    pub(super) fn open(database: &Database) -> fjall::Result<Self> {
        let open = |table: &Table| database.keyspace(table.name(), KeyspaceCreateOptions::default);
        Table::ALL.iter().map(open).collect::<fjall::Result<_>>().map(Self)
    }

    pub(super) fn get(&self, table: Table) -> &Keyspace {
        &self.0[table as usize]
    }
}
