//! What can go wrong below every port.

/// Why a store call failed. Outcomes that a caller expects (taken, full, not found) are in the call's result instead.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine did not answer; the call had no effect, or none that was acknowledged.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The engine holds something that this version cannot read.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
    /// The page cursor is not one that this port gave.
    #[error("cursor is not one that this list gave")]
    BadCursor,
}
