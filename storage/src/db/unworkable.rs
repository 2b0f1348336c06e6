//! Declarations that could never be carried out.

use super::personal::{Erasure, Fields, Whose};

/// What of a declaration could never be carried out. `has_hook` says that the kind itself takes rows out, with what counts them.
pub fn unworkable(name: &str, fields: &[Fields], has_hook: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let all = || fields.iter().filter_map(|some| some.personal.map(|personal| (personal, some.paths)));
    let mut tell = |what: String| problems.push(format!("{name}: {what}"));
    for (personal, paths) in all() {
        let in_rows = |path: &&str| path.starts_with("rows.") || path.starts_with("keys.");
        match personal.whose {
            Whose::RowUser => {
                for path in paths.iter().filter(|path| !in_rows(path)) {
                    tell(format!("{path:?} is in no row, and cannot be the row's user's"));
                }
            }
            Whose::At(at) | Whose::ByKey(&[(_, at), ..]) if !is_plain(at) => {
                tell(format!("{at:?} leads to no field of facts or head"));
            }
            Whose::User => {
                let says_whose = |path: &&str| *path == "id" || *path == "list";
                let is_said = all()
                    .any(|(other, paths)| matches!(other.whose, Whose::User) && paths.iter().any(says_whose));
                if !is_said {
                    tell("neither id nor list say to which user it belongs".to_owned());
                }
            }
            _ => {}
        }
        match personal.erasure {
            Erasure::RowRemoved if !has_hook => tell(format!(
                "{paths:?} go with their rows, and nobody says what counts them: give the kind a hook"
            )),
            Erasure::RowRemoved => {
                for path in paths.iter().filter(|path| !in_rows(path)) {
                    tell(format!("{path:?} is in no row that could be removed"));
                }
            }
            Erasure::Emptied if paths.contains(&"id") || paths.contains(&"list") => {
                tell("an id cannot be emptied".to_owned());
            }
            _ => {}
        }
    }
    let names_author = |path: &&str| path.starts_with("facts.") || path.starts_with("head.");
    let of_authors: Vec<_> = all().filter(|(personal, _)| personal.whose == Whose::Author).collect();
    let is_named = of_authors.iter().any(|(_, paths)| paths.iter().any(names_author));
    if !of_authors.is_empty() && !is_named {
        tell("no field of facts or head says who the author is".to_owned());
    }
    problems
}

fn is_plain(path: &str) -> bool {
    (path.starts_with("facts.") || path.starts_with("head.")) && !path.contains('*')
}
