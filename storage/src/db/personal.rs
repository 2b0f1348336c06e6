//! Which of the stored fields are personal, and what becomes of them when a user asks for them or leaves.
//!
//! Each kind and each index declares its fields by their paths, those that are treated alike together. A path begins with
//! the part of the partition: `id`, `facts`, `head`, `rows.a` (the rows whose keys begin with `a`) and `keys.a` (the rest of
//! those keys); of an index with `list`, `key` or `entry`. Below that, each step is the name of a field. `*` is any one step:
//! a key of a map (which is covered with its value) or an item of a list. `**` at the end covers a value with all that is in
//! it. Where several paths cover a field, one without `**` counts, and else the longest.

use std::fmt;

use serde_json::Value;

/// Whose a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The user's to whom the partition or list belongs.
    User,
    /// The user's whom the row's key names.
    RowUser,
    /// Who wrote, made or owns the thing. Of the declared paths of authors whose ids are made anonymous, the first that is there
    /// in facts or head says who that is; where none is, whoever a declared path of an author names.
    Author,
    /// The user's whom another field of facts or head names, by its path.
    At(&'static str),
    /// The user's whom a field of facts or head names that goes with the row's key: pairs of the rest of a key and of a path.
    ByKey(&'static [(&'static str, &'static str)]),
    /// Both sides of a deal: guest and host, payer and payee.
    Sides,
    /// The user's whose id is the value, or whom the value is about.
    Named,
    /// A visitor's, whose id nobody can turn into a user without the installation's key.
    Visitor,
    /// Whose the thing is to which an entry leads.
    Target,
}

/// Whether a user who asks for all that is personal gets a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// It is in the export.
    Given,
    /// It is not, for this reason.
    NotGiven(&'static str),
}

/// What becomes of a field when its user's account is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// Its partition or list is removed; of an entry whose key names the user in the list of somebody else, the entry.
    Removed,
    /// Its row is removed, and what counts rows is counted down.
    RowRemoved,
    /// The field is emptied; the rest of the partition stays.
    Emptied,
    /// An id that leads to nobody stands in the user's place, for this reason. So it does in any other field that holds the id
    /// and is neither kept nor goes otherwise.
    Anonymous(&'static str),
    /// It stays, for this reason and so long.
    Kept(&'static str),
    /// What becomes of the thing to which an entry leads becomes of the entry.
    AsTarget,
}

/// How a personal field is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Personal {
    /// Whose it is.
    pub whose: Whose,
    /// Whether its user gets it.
    pub export: Export,
    /// What becomes of it when its user leaves.
    pub erasure: Erasure,
}

/// Stored fields that are treated alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Their paths.
    pub paths: &'static [&'static str],
    /// How they are treated; `None` if they are not personal.
    pub personal: Option<Personal>,
}

impl Fields {
    /// An index whose entries follow what they lead to.
    pub const AS_TARGET: &'static [Self] = &[Self::of(
        Whose::Target,
        Export::NotGiven("what it leads to is"),
        Erasure::AsTarget,
        &["list", "key", "entry.**"],
    )];

    /// Fields that are personal.
    pub const fn of(whose: Whose, export: Export, erasure: Erasure, paths: &'static [&'static str]) -> Self {
        Self { paths, personal: Some(Personal { whose, export, erasure }) }
    }

    /// Fields that are not personal.
    pub const fn of_nobody(paths: &'static [&'static str]) -> Self {
        Self { paths, personal: None }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::User => "the user",
            Self::RowUser => "the row's user",
            Self::Author => "the author",
            Self::At(path) => return write!(f, "whom `{path}` names"),
            Self::ByKey(pairs) => {
                for (index, (key, path)) in pairs.iter().enumerate() {
                    write!(f, "{}of `{key}` whom `{path}` names", if index > 0 { ", " } else { "" })?;
                }
                return Ok(());
            }
            Self::Sides => "both sides",
            Self::Named => "who is named",
            Self::Visitor => "a visitor",
            Self::Target => "as what it leads to",
        };
        f.write_str(words)
    }
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("given"),
            Self::NotGiven(why) => write!(f, "not given: {why}"),
        }
    }
}

impl fmt::Display for Erasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed => f.write_str("removed"),
            Self::RowRemoved => f.write_str("the row is removed"),
            Self::Emptied => f.write_str("emptied"),
            Self::Anonymous(why) => write!(f, "made anonymous: {why}"),
            Self::Kept(why) => write!(f, "kept: {why}"),
            Self::AsTarget => f.write_str("as what it leads to"),
        }
    }
}

/// The paths of a declaration.
fn paths(fields: &[Fields]) -> impl Iterator<Item = &'static str> {
    fields.iter().flat_map(|some| some.paths.iter().copied())
}

/// How a path covers a field.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Cover {
    /// With all that is in the value of so many steps.
    Whole(usize),
    /// The field alone.
    Exact,
}

fn cover(path: &str, field: &[String]) -> Option<Cover> {
    let (path, is_whole) = path.strip_suffix(".**").map_or((path, false), |above| (above, true));
    let steps: Vec<_> = path.split('.').collect();
    let fits = if is_whole { steps.len() <= field.len() } else { steps.len() == field.len() };
    let same = |(step, name): (&&str, &String)| *step == "*" || *step == name;
    let covers = fits && steps.iter().zip(field).all(same);
    covers.then_some(if is_whole { Cover::Whole(steps.len()) } else { Cover::Exact })
}

/// How a field is declared, if it is.
pub(super) fn declaration<'a>(fields: &'a [Fields], field: &[String]) -> Option<(&'static str, &'a Fields)> {
    let path = declared(fields, field)?;
    fields.iter().find(|some| some.paths.contains(&path)).map(|some| (path, some))
}

/// The path that covers a field, if one does.
fn declared(fields: &[Fields], field: &[String]) -> Option<&'static str> {
    let covers = paths(fields).filter_map(|path| Some((cover(path, field)?, path)));
    covers.max_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, path)| path)
}

/// What is wrong with a declaration: paths that are there twice, and those that begin with none of these parts.
pub(super) fn problems(fields: &[Fields], parts: &[&str]) -> Vec<String> {
    let mut all: Vec<_> = paths(fields).collect();
    let is_strange = |path: &&&str| !parts.contains(&path.split('.').next().unwrap_or_default());
    let strange = all.iter().filter(is_strange).map(|path| format!("{path:?} begins with none of {parts:?}"));
    let mut problems: Vec<_> = strange.collect();
    all.sort_unstable();
    let twice = all.windows(2).filter(|pair| pair[0] == pair[1]);
    problems.extend(twice.map(|pair| format!("{:?} is declared twice", pair[0])));
    problems
}

/// A field that is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredField {
    /// Its steps.
    pub steps: Vec<String>,
    /// Whether there is nothing in it, so that what would be below it is not there either.
    is_null: bool,
}

impl StoredField {
    /// The path by which a declaration covers this field; `None` if it is not declared.
    pub fn declared(&self, fields: &[Fields]) -> Option<&'static str> {
        declared(fields, &self.steps).or_else(|| {
            // Nothing stands where otherwise a structure does.
            let is_above = |path: &&'static str| {
                let above: Vec<_> = path.split('.').take(self.steps.len()).collect();
                cover(&above.join("."), &self.steps).is_some()
            };
            paths(fields).find(is_above).filter(|_| self.is_null)
        })
    }
}

/// A partition or an entry of an index as it is stored, whatever its types: its parts by the steps that lead to them.
#[derive(Clone, Debug, Default)]
pub struct StoredParts(Vec<(Vec<String>, Value)>);

impl StoredParts {
    /// Adds a part. Facts and heads that are nothing are not stored.
    pub(super) fn add(&mut self, part: &str, value: Value) {
        if !value.is_null() {
            self.0.push((vec![part.to_owned()], value));
        }
    }

    /// Adds a row.
    pub(super) fn add_row(&mut self, key: &str, value: Value) {
        let (first, rest) = key.split_once('/').map_or((key, None), |(first, rest)| (first, Some(rest)));
        let of = |part: &str| vec![part.to_owned(), first.to_owned()];
        self.0.extend(rest.map(|rest| (of("keys"), rest.into())));
        self.0.push((of("rows"), value));
    }

    /// All fields.
    pub fn fields(&self) -> Vec<StoredField> {
        let mut fields = Vec::new();
        for (steps, value) in &self.0 {
            walk(&mut steps.clone(), value, &mut fields);
        }
        fields
    }
}

/// Adds the fields of a value; a map or list that is empty has none.
fn walk(steps: &mut Vec<String>, value: &Value, fields: &mut Vec<StoredField>) {
    let mut below = |step: &str, value: &Value| {
        steps.push(step.to_owned());
        walk(steps, value, fields);
        steps.pop();
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| below(name, value)),
        Value::Array(items) => items.iter().for_each(|item| below("*", item)),
        _ => fields.push(StoredField { steps: steps.clone(), is_null: value.is_null() }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    const DECLARED: &[Fields] = &[
        Fields::of_nobody(&["id", "head.count", "head.place.**", "head.last.at"]),
        Fields::of(
            Whose::RowUser,
            Export::Given,
            Erasure::RowRemoved,
            &["keys.a", "rows.a.said.*", "head.by.*.at", "head.place.owner"],
        ),
    ];

    fn stored() -> StoredParts {
        let mut stored = StoredParts::default();
        stored.add("id", "1".into());
        stored.add("facts", Value::Null);
        stored.add(
            "head",
            json!({
                "count": 1, "empty": [], "place": {"city": "Berlin", "at": [1, 2], "owner": "ana"}, "last": null,
                "by": {"x.y": {"at": 1}},
            }),
        );
        stored.add_row("a/ana/1", json!({"said": ["Hola"]}));
        stored
    }

    #[test]
    fn each_field_is_found_by_the_path_that_fits_best() {
        let fields = stored().fields();
        let found: Vec<_> = fields.iter().map(|field| field.declared(DECLARED)).collect();
        assert!(found.iter().all(Option::is_some), "{fields:?}: {found:?}");
        for path in super::paths(DECLARED) {
            assert!(found.contains(&Some(path)), "{path}: {found:?}");
        }
    }

    #[test]
    fn what_is_not_declared_is_found() {
        let mut stored = stored();
        stored.add(
            "head",
            json!({"count": {"of": 1}, "last": {"by": null}, "by": {"x": {"of": 1}}, "new": null}),
        );
        stored.add_row("a", json!("x"));
        stored.add_row("b/1", json!(null));
        let fields = stored.fields();
        let missing = fields.iter().filter(|field| field.declared(DECLARED).is_none());
        let missing: BTreeSet<_> = missing.map(|field| field.steps.join(".")).collect();
        let wanted =
            ["head.by.x.of", "head.count.of", "head.last.by", "head.new", "keys.b", "rows.a", "rows.b"];
        assert_eq!(missing, wanted.map(str::to_owned).into());
    }

    #[test]
    fn a_declaration_has_no_path_twice_and_begins_with_a_part() {
        assert!(problems(DECLARED, &["id", "head", "keys", "rows"]).is_empty());
        let wrong = [Fields::of_nobody(&["id", "heads.x"]), Fields::of_nobody(&["id"])];
        assert_eq!(problems(&wrong, &["id"]).len(), 2);
    }
}
