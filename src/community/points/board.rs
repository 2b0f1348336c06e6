//! The boards: who has most points, of all time, of a month, and of a month in a city. A board is a partition with a row for
//! each member on it. It keeps twice as many as it shows, so that those behind move up when somebody's points are taken back.

use std::cmp::Reverse;
use std::time::Duration;

use mundotango_storage::StoreError;
use mundotango_storage::db::{
    Db, Decision, Erasure, Export, Fields, Kind, RowRange, Wants, Whose, key, last_part, prefix,
};
use serde::{Deserialize, Serialize};

/// Most members that a board shows.
pub const MOST_SHOWN: usize = 100;
/// Most members that a board keeps.
pub const MOST_KEPT: usize = 2 * MOST_SHOWN;

/// The boards.
pub static BOARDS: Kind<(), (), Standing> =
    Kind::new("boards", "a board: 200 members of 80 B, 16 KB", PERSONAL)
        .implicit()
        .cached(Duration::from_mins(1));
/// Whose the fields are.
const PERSONAL: &[Fields] = &[
    Fields::of(
        Whose::RowUser,
        Export::NotGiven("the member's own points are"),
        Erasure::RowRemoved,
        &["keys.u", "rows.u.points", "rows.u.version"],
    ),
    Fields::of_nobody(&["id", "head"]),
];

/// Below this lie the members of a board.
const USERS: &str = "u";

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The member's points, as far as they count here.
    pub points: u32,
    /// Which of the member's changes they are of: an older one never replaces a younger one.
    pub version: u64,
}

/// The id of a board: of a month, or of all time, and of a city, or of all of them.
pub fn id(month: Option<&str>, city: Option<&str>) -> String {
    let period = month.unwrap_or("all");
    city.map_or_else(|| period.to_owned(), |city| key(&[period, &city.to_lowercase()]))
}

/// The best first; of equals, who got there first.
fn order(standings: &mut [(String, Standing)]) {
    standings.sort_by(|(one, a), (other, b)| {
        (Reverse(a.points), a.version, one).cmp(&(Reverse(b.points), b.version, other))
    });
}

/// Whom a board loses for one who comes onto it or changes there: `Some` is to be written.
#[derive(Debug, PartialEq, Eq)]
enum Move {
    /// Nothing changes.
    None,
    /// The member is written, and who stands last has to go where there are too many.
    Put(Option<String>),
    /// The member is on it no longer.
    Leave,
}

/// What a member's new standing does to a board.
fn moved(standings: &[(String, Standing)], user_id: &str, new: Standing, is_shown: bool) -> Move {
    let known = standings.iter().find(|(user, _)| user == user_id);
    if known.is_some_and(|(_, known)| known.version >= new.version) {
        return Move::None;
    }
    if !is_shown || new.points == 0 {
        return if known.is_some() { Move::Leave } else { Move::None };
    }
    if known.is_some() || standings.len() < MOST_KEPT {
        return Move::Put(None);
    }
    match standings.last() {
        Some((_, last)) if last.points >= new.points => Move::None,
        last => Move::Put(last.map(|(user, _)| user.clone())),
    }
}

/// The boards of a store.
#[derive(Clone)]
pub struct BoardStore(Db);

impl BoardStore {
    /// The boards of a store.
    pub fn new(db: Db) -> Self {
        Self(db)
    }

    /// All that a board keeps, the best first.
    pub async fn standings(&self, board: &str) -> Result<Vec<(String, Standing)>, StoreError> {
        let rows = self.0.rows(&BOARDS, board, &RowRange::first(prefix(&[USERS]), MOST_KEPT)).await?;
        let mut standings: Vec<_> =
            rows.items.into_iter().map(|(key, standing)| (last_part(&key), standing)).collect();
        order(&mut standings);
        Ok(standings)
    }

    /// Brings a board to a member's standing.
    pub async fn place(
        &self,
        board: &str,
        user_id: &str,
        standing: Standing,
        is_shown: bool,
    ) -> Result<(), StoreError> {
        // Most changes are of members who are far from the board: they only read it.
        if moved(&self.standings(board).await?, user_id, standing, is_shown) == Move::None {
            return Ok(());
        }
        let user_id = user_id.to_owned();
        let wants = Wants::head().first(&prefix(&[USERS]), MOST_KEPT + 1);
        let placed = self.0.change(&BOARDS, board, wants, move |part| {
            let rows = part.first(&prefix(&[USERS]), MOST_KEPT + 1);
            let mut standings: Vec<_> =
                rows.into_iter().map(|(key, standing)| (last_part(&key), *standing)).collect();
            order(&mut standings);
            let row = key(&[USERS, &user_id]);
            match moved(&standings, &user_id, standing, is_shown) {
                Move::None => return Ok::<_, StoreError>(Decision::Stands(())),
                Move::Leave => part.remove(row),
                Move::Put(last) => {
                    if let Some(last) = last {
                        part.remove(key(&[USERS, &last]));
                    }
                    part.set(row, standing);
                }
            }
            Ok(Decision::Write(()))
        });
        placed.await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(points: impl IntoIterator<Item = u32>) -> Vec<(String, Standing)> {
        let mut board: Vec<_> = points
            .into_iter()
            .enumerate()
            .map(|(number, points)| (format!("user {number}"), Standing { points, version: 5 }))
            .collect();
        order(&mut board);
        board
    }

    #[test]
    fn an_older_standing_replaces_no_younger_one() {
        let board = board([7]);
        let standing = |version| Standing { points: 3, version };
        assert_eq!(moved(&board, "user 0", standing(5), true), Move::None);
        assert_eq!(moved(&board, "user 0", standing(6), true), Move::Put(None));
    }

    #[test]
    fn who_comes_onto_a_full_board_takes_the_last_ones_place() {
        let full = board((0..200).map(|number| number + 10));
        let standing = |points| Standing { points, version: 1 };
        assert_eq!(moved(&full, "new", standing(10), true), Move::None);
        assert_eq!(moved(&full, "new", standing(11), true), Move::Put(Some("user 0".to_owned())));
        assert_eq!(moved(&board([1]), "new", standing(1), true), Move::Put(None));
    }

    #[test]
    fn who_hides_or_has_nothing_left_is_on_no_board() {
        let board = board([7]);
        let standing = |points| Standing { points, version: 9 };
        assert_eq!(moved(&board, "user 0", standing(8), false), Move::Leave);
        assert_eq!(moved(&board, "user 0", standing(0), true), Move::Leave);
        assert_eq!(moved(&board, "new", standing(8), false), Move::None);
    }
}
