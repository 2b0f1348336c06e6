//! Statements as constants: what each is, which table it is about, and how it may be sent.

use std::borrow::Cow;
use std::sync::OnceLock;

use mundotango_ops::{Histogram, metrics};
use scylla::client::execution_profile::ExecutionProfileHandle;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

/// Rows that a paged read takes at a time.
pub(super) const PAGE_SIZE: i32 = 1000;

/// What a statement does, and so how it may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Reads what is acknowledged. May be asked of a second server when the first is slow.
    Read,
    /// Reads after every compare-and-set that came before, finishing one that was left half done.
    SerialRead,
    /// Writes the same however often it is done, as its time is the caller's.
    Write,
    /// Compares and sets; is sent once, as a second time it would compare with what it set.
    Cas,
}

impl Kind {
    /// How often a request is sent. The driver itself sends reads again.
    pub(super) fn tries(self) -> u32 {
        match self {
            Self::Read | Self::Cas => 1,
            Self::Write => 2,
            // They fail where others compare and set, and tell what came of a compare-and-set.
            Self::SerialRead => 6,
        }
    }

    /// The metric's label.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::SerialRead => "read_serial",
            Self::Write => "write",
            Self::Cas => "compare_and_set",
        }
    }
}

/// A statement.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) kind: Kind,
    pub(super) table: &'static str,
    pub(super) text: Cow<'static, str>,
    /// How long it takes; found when it is sent for the first time.
    seconds: OnceLock<Histogram>,
}

impl Query {
    pub(super) const fn read(table: &'static str, text: &'static str) -> Self {
        Self::new(Kind::Read, table, Cow::Borrowed(text))
    }

    pub(super) const fn write(table: &'static str, text: &'static str) -> Self {
        Self::new(Kind::Write, table, Cow::Borrowed(text))
    }

    /// A statement that was put together, as for the table of a kind.
    pub(super) const fn of(kind: Kind, table: &'static str, text: String) -> Self {
        Self::new(kind, table, Cow::Owned(text))
    }

    const fn new(kind: Kind, table: &'static str, text: Cow<'static, str>) -> Self {
        Self { kind, table, text, seconds: OnceLock::new() }
    }

    /// The metric of how long it takes. Statements of the same kind and table share it.
    pub(super) fn seconds(&self) -> &Histogram {
        let labels = [self.kind.name(), self.table];
        self.seconds.get_or_init(|| metrics().db_query_duration_seconds.with_label_values(&labels))
    }

    /// Sets how the statement is sent.
    pub(super) fn configure(&self, prepared: &mut PreparedStatement, profiles: &Profiles) {
        prepared.set_page_size(PAGE_SIZE);
        prepared.set_is_idempotent(self.kind == Kind::Read);
        if self.kind == Kind::SerialRead {
            prepared.set_consistency(Consistency::LocalSerial);
        }
        let profile = if self.kind == Kind::Read { &profiles.reads } else { &profiles.others };
        prepared.set_execution_profile_handle(Some(profile.clone()));
    }
}

/// How requests are sent.
#[derive(Debug)]
pub(super) struct Profiles {
    /// Retried, and asked of a second server when the first is slow.
    pub(super) reads: ExecutionProfileHandle,
    /// Sent once.
    pub(super) others: ExecutionProfileHandle,
}

/// A statement with its values, to be sent with others.
pub(super) struct Change<'a> {
    pub(super) query: &'a Query,
    pub(super) values: Box<dyn SerializeRow + Send + Sync + 'a>,
}

impl<'a> Change<'a> {
    pub(super) fn new(query: &'a Query, values: impl SerializeRow + Send + Sync + 'a) -> Self {
        Self { query, values: Box::new(values) }
    }
}
