//! The tables, each an ordered map from keys to rows.

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

/// A table. Its keys and rows are described where it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Users,
    Emails,
    Usernames,
    Logins,
    LoginsByUser,
    Posts,
    PublicPosts,
    OwnPosts,
    Reactions,
    Events,
    EventsByDate,
    Rsvps,
    Waitlist,
    Revocations,
}

impl Table {
    /// All tables, in the order of their numbers.
    const ALL: [Self; 14] = [
        Self::Users,
        Self::Emails,
        Self::Usernames,
        Self::Logins,
        Self::LoginsByUser,
        Self::Posts,
        Self::PublicPosts,
        Self::OwnPosts,
        Self::Reactions,
        Self::Events,
        Self::EventsByDate,
        Self::Rsvps,
        Self::Waitlist,
        Self::Revocations,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Emails => "emails",
            Self::Usernames => "usernames",
            Self::Logins => "logins",
            Self::LoginsByUser => "logins_by_user",
            Self::Posts => "posts",
            Self::PublicPosts => "public_posts",
            Self::OwnPosts => "own_posts",
            Self::Reactions => "reactions",
            Self::Events => "events",
            Self::EventsByDate => "events_by_date",
            Self::Rsvps => "rsvps",
            Self::Waitlist => "waitlist",
            Self::Revocations => "revocations",
        }
    }
}

/// Handles of all tables.
#[derive(Clone)]
pub(super) struct Tables(Vec<Keyspace>);

impl Tables {
    pub(super) fn open(database: &Database) -> fjall::Result<Self> {
        let open = |table: Table| database.keyspace(table.name(), KeyspaceCreateOptions::default);
        Table::ALL.into_iter().map(open).collect::<fjall::Result<_>>().map(Self)
    }

    pub(super) fn get(&self, table: Table) -> &Keyspace {
        &self.0[table as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_listed_in_their_own_order() {
        for (index, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, index);
        }
    }
}
