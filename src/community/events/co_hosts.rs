//! The hosts beside an owner, as a partition keeps them: a row each, and how many there are. The same for an event and for a
//! series.

use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Kind, Part, RowRange, key, last_part, prefix};
use serde::de::DeserializeOwned;

use super::rules::{CoHostRole, MOST_CO_HOSTS};

/// Below this lie the hosts beside the owner, by user.
const CO_HOSTS: &str = "h";

/// A host beside the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CoHost {
    /// The user's id.
    pub(super) user_id: String,
    /// The user's role.
    pub(super) role: CoHostRole,
    /// Whether the role is one in the whole series.
    pub(super) of_series: bool,
}

/// A row of a kind that has rows of hosts.
pub(super) trait CoHostRow: Sized {
    /// The row of a host.
    fn of(role: CoHostRole) -> Self;
    /// What the user may do, if it is the row of a host.
    fn role(&self) -> Option<CoHostRole>;
}

/// A head that counts these rows.
pub(super) trait CountsCoHosts {
    /// How many there are.
    fn co_hosts(&mut self) -> &mut usize;
}

/// The key of a user's row.
pub(super) fn co_host_key(user_id: &str) -> String {
    key(&[CO_HOSTS, user_id])
}

/// What a user may do who is a host beside the owner.
pub(super) async fn role_of<F, H, R: CoHostRow + DeserializeOwned>(
    db: &Db,
    kind: &'static Kind<F, H, R>,
    id: &str,
    user_id: &str,
) -> Result<Option<CoHostRole>, StoreError> {
    let row = db.row(kind, id, &co_host_key(user_id)).await?;
    Ok(row.and_then(|row| row.role()))
}

/// The hosts beside the owner, by user.
pub(super) async fn roles<F, H, R: CoHostRow + DeserializeOwned>(
    db: &Db,
    kind: &'static Kind<F, H, R>,
    id: &str,
) -> Result<Vec<(String, CoHostRole)>, StoreError> {
    let rows = db.rows(kind, id, &RowRange::first(prefix(&[CO_HOSTS]), MOST_CO_HOSTS)).await?;
    let hosts = rows.items.into_iter().filter_map(|(key, row)| Some((last_part(&key), row.role()?)));
    Ok(hosts.collect())
}

/// Gives a user a role, or with `None` takes it; whether that changes anything. `None` where there would be too many.
pub(super) fn set_role<F, H: CountsCoHosts, R: CoHostRow>(
    part: &mut Part<'_, F, H, R>,
    user_id: &str,
    role: Option<CoHostRole>,
) -> Option<bool> {
    let before = part.row(&co_host_key(user_id)).and_then(R::role);
    if before == role {
        return Some(false);
    }
    replace_role(part, user_id, before, role).map(|()| true)
}

/// By what right a user comes to own it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// The owner offers it.
    Offered,
    /// This owner leaves.
    Left(String),
}

impl Right {
    /// Whether a user may have it from its owner.
    pub(super) fn holds(&self, owner: &str, offered_to: Option<&str>, user_id: &str) -> bool {
        match self {
            Self::Offered => offered_to == Some(user_id),
            Self::Left(left) => left == owner,
        }
    }
}

/// The same as [`change_hands`]; an owner who leaves is no editor.
pub(super) fn pass_on<F, H: CountsCoHosts, R: CoHostRow>(
    part: &mut Part<'_, F, H, R>,
    before: &str,
    owner: &str,
    right: &Right,
) -> Option<()> {
    match right {
        Right::Offered => change_hands(part, before, owner),
        Right::Left(_) => set_role(part, owner, None).map(drop),
    }
}

/// Notes that somebody else owns it: the new owner is no host beside the owner any longer, and the owner of before is an
/// editor. `None` where there would be too many.
fn change_hands<F, H: CountsCoHosts, R: CoHostRow>(
    part: &mut Part<'_, F, H, R>,
    before: &str,
    owner: &str,
) -> Option<()> {
    set_role(part, owner, None)?;
    // An owner has no row, so none is looked for.
    replace_role(part, before, None, Some(CoHostRole::Editor))
}

fn replace_role<F, H: CountsCoHosts, R: CoHostRow>(
    part: &mut Part<'_, F, H, R>,
    user_id: &str,
    before: Option<CoHostRole>,
    after: Option<CoHostRole>,
) -> Option<()> {
    let count = part.head.co_hosts();
    *count = counted(*count, before, after)?;
    match after {
        Some(role) => part.set(co_host_key(user_id), R::of(role)),
        None => part.remove(co_host_key(user_id)),
    }
    Some(())
}

/// How many there are when one has another role; `None` where that would be too many.
fn counted(count: usize, before: Option<CoHostRole>, after: Option<CoHostRole>) -> Option<usize> {
    match (before, after) {
        (None, Some(_)) => (count < MOST_CO_HOSTS).then_some(count + 1),
        (Some(_), None) => Some(count.saturating_sub(1)),
        (None, None) | (Some(_), Some(_)) => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_full_takes_nobody_in_and_lets_roles_change() {
        let (door, editor) = (Some(CoHostRole::Door), Some(CoHostRole::Editor));
        assert_eq!(counted(0, None, door), Some(1));
        assert_eq!(counted(MOST_CO_HOSTS, None, door), None);
        assert_eq!(counted(MOST_CO_HOSTS, editor, door), Some(MOST_CO_HOSTS));
        assert_eq!(counted(MOST_CO_HOSTS, editor, None), Some(MOST_CO_HOSTS - 1));
    }
}
