//! What ties an event to the series that it is a date of.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

/// Which date of which series an event is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesRef {
    /// The series.
    pub id: String,
    /// When the series first had this date start, on the clocks of the venue. It names the date in the series, and stays when
    /// the event is moved.
    pub original_start: DateTime,
}

/// What of an event comes from its series, unless the host gives the event one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = EventField)]
pub enum Field {
    /// Its name.
    Title,
    /// What it is.
    Description,
    /// When it is.
    Time,
    /// Where it is.
    Place,
    /// How many may come.
    Limits,
    /// To whom it is told who comes.
    Attendees,
    /// What a place costs.
    Ticket,
    /// When those who are going are asked whether they still come.
    #[serde(rename = "askAgain")]
    AskAgain,
}

/// How far an event follows its series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// Its place, where that is another one than when the event was made: the series was divided, or has other days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesRef>,
    /// The revision of the series that the event has taken; an older one comes too late. 0 where it has taken none since it was
    /// made.
    #[serde(default)]
    pub rev: u32,
    /// The owner that its series gave it last; absent where that is the one that it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What the event has of its own, and keeps whatever the series says.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub own: BTreeSet<Field>,
    /// The revision of the series by which time or place became others last; 0 if none did.
    #[serde(default)]
    pub moved_by: u32,
}
