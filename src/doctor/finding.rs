//! What can be wrong with an installation: each kind has an id that stays, a severity, why it matters and what to do.

use serde::Serialize;
use utoipa::ToSchema;

/// How bad a finding is. The worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work, or loses data.
    Broken,
    /// It works, and will hurt one day.
    Warning,
    /// It may be meant like this.
    Hint,
}

impl Severity {
    /// Its name, as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Warning => "warning",
            Self::Hint => "hint",
        }
    }
}

/// All that is known of a finding before anybody looks: a row of docs/findings.md.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) id: &'static str,
    pub(super) severity: Severity,
    pub(super) part: &'static str,
    pub(super) why: &'static str,
    pub(super) to_do: &'static str,
}

impl Kind {
    /// A finding of this kind: `says` is what was seen, as a sentence without a full stop.
    pub(super) fn says(&self, says: impl Into<String>) -> Finding {
        let Self { id, severity, part, why, to_do } = *self;
        Finding { id, severity, part, says: says.into(), why, to_do }
    }
}

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// Which kind of finding: the same in all versions.
    #[schema(value_type = String, example = "redis.evicts")]
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The part of the installation.
    #[schema(value_type = String, example = "redis")]
    pub part: &'static str,
    /// What was seen.
    pub says: String,
    /// Why it matters.
    #[schema(value_type = String)]
    pub why: &'static str,
    /// What to do.
    #[serde(rename = "do")]
    #[schema(value_type = String)]
    pub to_do: &'static str,
}

/// Declares the kinds of findings of one part, and the list of them.
macro_rules! kinds {
    ($part:literal; $($name:ident: $severity:ident $id:literal, $why:literal, $to_do:literal;)*) => {
        $(
            static $name: $crate::doctor::finding::Kind = $crate::doctor::finding::Kind {
                id: concat!($part, ".", $id),
                severity: $crate::doctor::finding::Severity::$severity,
                part: $part,
                why: $why,
                to_do: $to_do,
            };
        )*
        /// All that can be found here, by which a test holds docs/findings.md to be complete.
        #[cfg(test)]
        pub(in crate::doctor) static KINDS: &[&$crate::doctor::finding::Kind] = &[$(&$name),*];
    };
}

pub(super) use kinds;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::super::all_kinds;

    #[test]
    fn each_finding_is_documented_and_each_row_is_one() {
        let mut rows = String::new();
        let mut ids = BTreeSet::new();
        for kind in all_kinds() {
            assert!(ids.insert(kind.id), "{} is there twice", kind.id);
            assert!(!kind.why.ends_with('.') && !kind.to_do.ends_with('.'), "{}: no full stops", kind.id);
            let severity = kind.severity.as_str();
            writeln!(rows, "| `{}` | {severity} | {} | {} |", kind.id, kind.why, kind.to_do).unwrap();
        }
        let page = include_str!("../../docs/findings.md");
        let documented: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert!(
            documented == rows.lines().collect::<Vec<_>>(),
            "the table of docs/findings.md should be:\n{rows}"
        );
    }
}
