//! What can go wrong below every port.

/// Why a store call failed. Outcomes that a caller expects (taken, full, not found) are in the call's result instead.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine is not there or refused; the call had no effect.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The engine did not say whether it did what was asked: it may or may not have happened, and asking again is safe
    /// only for what is the same when done twice.
    #[error("store did not say whether it wrote: {0}")]
    Unknown(String),
    /// The disk is full; nothing was written.
    #[error("the disk is full")]
    NoSpace,
    /// The engine holds something that this version cannot read.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
    /// A channel has no history yet, and who asked did not say where it begins.
    #[error("history has not begun")]
    NotBegun,
    /// Something has grown to the size that the store allows it.
    #[error("{0} is full")]
    Full(&'static str),
    /// The page cursor is not one that this port gave.
    #[error("cursor is not one that this list gave")]
    BadCursor,
}

impl StoreError {
    /// The error of a call that had no effect, whatever came of the write that failed: of that one nothing is seen.
    pub(crate) fn without_effect(self) -> Self {
        match self {
            Self::Unknown(why) => Self::Unavailable(why),
            error => error,
        }
    }
}
