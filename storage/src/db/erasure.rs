//! What of a partition is a person's, by what its kind declares; and what deletion and export do with it. Pure: values in, values
//! out. Nothing here knows a kind.

use std::collections::BTreeSet;

use serde_json::Value;

use super::emptying::empty;
use super::kind::{KindSpec, PartOf};
use super::personal::{Erasure, Fields, Personal, Whose, declaration};
use super::plain::{Plain, PlainEntry};
use crate::StoreError;
use crate::json::encode;

/// Somebody whose personal data is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user's id.
    pub id: String,
    /// The id by which visits are kept, if it is known.
    pub visitor: Option<String>,
    /// The id of nobody that stands where the user's stood.
    pub alias: String,
}

/// What has to be done with a partition when a person leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: it is not the person's, or it stays.
    Nothing,
    /// It is removed.
    Remove,
    /// It is written without the person. `rows` are those that change, and `removes_rows` says whether some are the
    /// person's own and go, for which what counts rows has to be counted down.
    Rewrite {
        /// The rows that change or go.
        rows: Vec<String>,
        /// Whether some of them go.
        removes_rows: bool,
    },
}

fn is_of_id(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

/// Whether a text holds one of the ids that `is_one` knows: as a whole, between characters that no id holds.
pub fn mentions(text: &str, mut is_one: impl FnMut(&str) -> bool) -> bool {
    text.split(|c| !is_of_id(c)).any(|word| !word.is_empty() && is_one(word))
}

/// The text with another id in the place of one.
fn renamed(text: &str, id: &str, alias: &str) -> String {
    let (mut renamed, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(id) {
        let (before, after) = (&rest[..at], &rest[at + id.len()..]);
        let is_word = !before.ends_with(is_of_id) && !after.starts_with(is_of_id);
        renamed.push_str(before);
        renamed.push_str(if is_word { alias } else { id });
        rest = after;
    }
    renamed.push_str(rest);
    renamed
}

/// The part of a partition that rows' keys or rows lie below, and the rest of a key.
pub(super) fn split(key: &str) -> (&str, Option<&str>) {
    key.split_once('/').map_or((key, None), |(first, rest)| (first, Some(rest)))
}

pub(super) fn steps(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

/// Goes over all leaves of a value.
fn leaves(value: &Value, steps: &mut Vec<String>, each: &mut dyn FnMut(&[String], &Value)) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                steps.push(name.clone());
                leaves(value, steps, each);
                steps.pop();
            }
        }
        Value::Array(items) => {
            for item in items {
                steps.push("*".to_owned());
                leaves(item, steps, each);
                steps.pop();
            }
        }
        _ => each(steps, value),
    }
}

/// The value at a path without wildcards, of facts or head.
fn at<'a>(plain: &'a Plain, path: &str) -> Option<&'a Value> {
    let (part, rest) = path.split_once('.')?;
    let root = match part {
        "facts" => plain.facts.as_ref()?,
        "head" => plain.head.as_ref()?,
        _ => return None,
    };
    rest.split('.').try_fold(root, |value, step| value.get(step)).filter(|value| !value.is_null())
}

/// A row, as a leaf in it is looked at.
pub(super) type RowOf<'a> = (&'a str, &'a Value);

/// A partition as one person is concerned by it.
#[derive(Debug)]
pub struct Look<'a> {
    pub(super) fields: &'static [Fields],
    person: &'a Person,
    /// It belongs to the person.
    is_own: bool,
    is_author: bool,
    /// The person is one of its sides.
    is_side: bool,
    /// It is kept of the person as a visitor, or names the person outside of rows.
    is_visitor: bool,
    is_named: bool,
    /// Declared paths that name the person.
    named_at: BTreeSet<&'static str>,
}

impl<'a> Look<'a> {
    /// Looks at id, facts and head of a partition.
    pub fn at(fields: &'static [Fields], person: &'a Person, plain: &Plain) -> Self {
        let mut look = Self::without_anything(fields, person);
        let id = Value::String(plain.id.clone());
        let parts = [("id", Some(&id)), ("facts", plain.facts.as_ref()), ("head", plain.head.as_ref())];
        for (part, value) in parts {
            let Some(value) = value else { continue };
            let mut note = |steps: &[String], value: &Value| look.note(steps, value);
            leaves(value, &mut steps(&[part]), &mut note);
        }
        look.is_author = is_author(fields, person, plain);
        for some in fields {
            let paths: Vec<&'static str> = match some.personal.map(|personal| personal.whose) {
                Some(Whose::At(path)) => vec![path],
                Some(Whose::ByKey(pairs)) => pairs.iter().map(|(_, path)| *path).collect(),
                _ => continue,
            };
            for path in paths {
                if at(plain, path).is_some_and(|one| look.is_id(one)) {
                    look.named_at.insert(path);
                }
            }
        }
        look
    }

    /// Looks at an entry of an index.
    pub fn at_entry(fields: &'static [Fields], person: &'a Person, entry: &PlainEntry) -> Self {
        let mut look = Self::without_anything(fields, person);
        look.note(&steps(&["list"]), &Value::String(entry.list.clone()));
        look
    }

    /// Whether the person is the author.
    pub fn is_by_author(&self) -> bool {
        self.is_author
    }

    /// A partition that belongs to the person though nothing in it says so.
    #[must_use]
    pub fn as_own(mut self) -> Self {
        self.is_own = true;
        self
    }

    fn without_anything(fields: &'static [Fields], person: &'a Person) -> Self {
        Self {
            fields,
            person,
            is_own: false,
            is_author: false,
            is_side: false,
            is_visitor: false,
            is_named: false,
            named_at: BTreeSet::new(),
        }
    }

    fn note(&mut self, steps: &[String], value: &Value) {
        let Some((_, Fields { personal: Some(personal), .. })) = declaration(self.fields, steps) else {
            return;
        };
        let is_place = matches!(steps, [part] if part == "id" || part == "list");
        let is_meant = if is_place { self.mentions(value) } else { self.is_id(value) || self.is_step(steps) };
        match personal.whose {
            Whose::User => self.is_own |= is_place && is_meant,
            Whose::Sides => self.is_side |= is_meant,
            Whose::Named => self.is_named |= is_meant,
            Whose::Visitor => self.is_visitor |= is_place && self.mentions_visitor(value),
            Whose::RowUser | Whose::Author | Whose::Target | Whose::At(_) | Whose::ByKey(_) => {}
        }
    }

    /// Whether a value is the person's id.
    fn is_id(&self, value: &Value) -> bool {
        value.as_str() == Some(self.person.id.as_str())
    }

    /// Whether the person's id is the key of a map on the way to a field.
    fn is_step(&self, steps: &[String]) -> bool {
        steps.contains(&self.person.id)
    }

    fn mentions(&self, value: &Value) -> bool {
        value.as_str().is_some_and(|text| self.mentions_in(text))
    }

    fn mentions_in(&self, text: &str) -> bool {
        mentions(text, |id| id == self.person.id)
    }

    fn mentions_visitor(&self, value: &Value) -> bool {
        let visitor = self.person.visitor.as_deref();
        value.as_str().zip(visitor).is_some_and(|(text, visitor)| mentions_visitor(text, visitor))
    }

    /// Whether a row names the person by its key, or by a field of these.
    fn row_names(&self, (key, row): RowOf<'_>, whose: Whose) -> bool {
        if whose == Whose::Visitor {
            return self.person.visitor.as_deref().is_some_and(|visitor| mentions_visitor(key, visitor));
        }
        let of = |steps: &[String]| {
            declaration(self.fields, steps)
                .and_then(|(_, some)| some.personal)
                .is_some_and(|personal| personal.whose == whose)
        };
        let (first, rest) = split(key);
        if rest.is_some_and(|rest| self.mentions_in(rest)) && of(&steps(&["keys", first])) {
            return true;
        }
        let mut is_named = false;
        leaves(row, &mut steps(&["rows", first]), &mut |steps, value| {
            is_named |= (self.is_id(value) || self.is_step(steps)) && of(steps);
        });
        is_named
    }

    /// Whether a field is the person's.
    pub(super) fn is_theirs(
        &self,
        personal: &Personal,
        steps: &[String],
        value: &Value,
        row: Option<RowOf<'_>>,
    ) -> bool {
        match personal.whose {
            Whose::User => self.is_own,
            Whose::Author => self.is_author,
            Whose::At(path) => self.named_at.contains(path),
            Whose::ByKey(pairs) => {
                let rest = row.and_then(|(key, _)| split(key).1);
                let pair = rest.and_then(|rest| pairs.iter().find(|(key, _)| *key == rest));
                pair.is_some_and(|(_, path)| self.named_at.contains(path))
            }
            Whose::Sides => self.is_side || row.is_some_and(|row| self.row_names(row, personal.whose)),
            Whose::RowUser => row.is_some_and(|row| self.row_names(row, personal.whose)),
            Whose::Named => match row {
                Some(row) => self.row_names(row, personal.whose),
                None if personal.erasure == Erasure::Removed => self.is_named,
                None => self.is_id(value) || self.is_step(steps) || self.mentions_place(steps, value),
            },
            Whose::Visitor => self.is_visitor || row.is_some_and(|row| self.row_names(row, personal.whose)),
            Whose::Target => false,
        }
    }

    fn mentions_place(&self, steps: &[String], value: &Value) -> bool {
        matches!(steps, [part] if part == "id" || part == "list") && self.mentions(value)
    }

    /// Goes over the fields of id, facts and head that are the person's.
    fn of_heading(&self, plain: &Plain, mut each: impl FnMut(&'static str, &Personal)) {
        let id = Value::String(plain.id.clone());
        let parts = [("id", Some(&id)), ("facts", plain.facts.as_ref()), ("head", plain.head.as_ref())];
        for (part, value) in parts {
            let Some(value) = value else { continue };
            leaves(value, &mut steps(&[part]), &mut |steps, value| {
                if let Some((path, Fields { personal: Some(personal), .. })) = declaration(self.fields, steps)
                    && self.is_theirs(personal, steps, value, None)
                {
                    each(path, personal);
                }
            });
        }
    }

    /// Whether some field of a row is the person's, and goes with its row.
    pub fn row_goes(&self, key: &str, row: &Value) -> bool {
        let mut goes = false;
        self.of_row(key, row, |personal, _| goes |= personal.erasure == Erasure::RowRemoved);
        goes
    }

    fn of_row(&self, key: &str, row: &Value, mut each: impl FnMut(&Personal, &[String])) {
        let (first, rest) = split(key);
        let mut look = |steps: &[String], value: &Value| {
            if let Some((_, Fields { personal: Some(personal), .. })) = declaration(self.fields, steps)
                && self.is_theirs(personal, steps, value, Some((key, row)))
            {
                each(personal, steps);
            }
        };
        if let Some(rest) = rest {
            look(&steps(&["keys", first]), &Value::String(rest.to_owned()));
        }
        leaves(row, &mut steps(&["rows", first]), &mut look);
    }

    /// What has to be done with the partition. Rows that were not read are not looked at.
    pub fn plan(&self, kind: &KindSpec, plain: &Plain) -> Result<Plan, StoreError> {
        let mut is_removed = false;
        self.of_heading(plain, |_, personal| is_removed |= personal.erasure == Erasure::Removed);
        if is_removed {
            return Ok(Plan::Remove);
        }
        let removes_rows = plain.rows.iter().any(|(key, row)| self.row_goes(key, row));
        let mut after = plain.clone();
        self.erase(kind, &mut after)?;
        let changed = plain.rows.iter().filter(|(key, row)| after.rows.get(*key) != Some(*row));
        let rows: Vec<_> = changed.map(|(key, _)| key.clone()).collect();
        if after == *plain { Ok(Plan::Nothing) } else { Ok(Plan::Rewrite { rows, removes_rows }) }
    }

    /// Takes the person out of a partition that stays. Doing it again changes nothing.
    pub fn erase(&self, kind: &KindSpec, plain: &mut Plain) -> Result<(), StoreError> {
        let mut failed = Vec::new();
        for (name, part, value) in
            [("facts", PartOf::Facts, &mut plain.facts), ("head", PartOf::Head, &mut plain.head)]
        {
            if let Some(value) = value {
                let root = steps(&[name]);
                failed.extend(self.erase_in(kind, part, value, &root, None));
            }
        }
        let mut rows = std::mem::take(&mut plain.rows);
        rows.retain(|key, row| !self.row_goes(key, row));
        for (key, mut row) in rows {
            let before = row.clone();
            let root = steps(&["rows", split(&key).0]);
            failed.extend(self.erase_in(kind, PartOf::Row, &mut row, &root, Some((&key, &before))));
            plain.rows.insert(self.key_without(&key), row);
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(StoreError::Damaged(format!("{} {:?}: {failed:?} cannot be emptied", kind.name, plain.id)))
    }

    /// The key of a row that stays.
    fn key_without(&self, key: &str) -> String {
        let (first, Some(rest)) = split(key) else { return key.to_owned() };
        let is_kept = self.is_kept(&steps(&["keys", first]));
        if is_kept { key.to_owned() } else { format!("{first}/{}", self.alias_in(rest)) }
    }

    /// Whether a field stays as it is, whomever it names.
    fn is_kept(&self, steps: &[String]) -> bool {
        declaration(self.fields, steps)
            .and_then(|(_, some)| some.personal)
            .is_some_and(|personal| matches!(personal.erasure, Erasure::Kept(_)))
    }

    fn alias_in(&self, text: &str) -> String {
        renamed(text, &self.person.id, &self.person.alias)
    }

    fn erase_in(
        &self,
        kind: &KindSpec,
        part: PartOf,
        value: &mut Value,
        root: &[String],
        row: Option<RowOf<'_>>,
    ) -> Vec<String> {
        let emptied = |steps: &[String], value: &Value| {
            declaration(self.fields, steps).and_then(|(_, some)| some.personal).is_some_and(|personal| {
                personal.erasure == Erasure::Emptied && self.is_theirs(&personal, steps, value, row)
            })
        };
        let readable = |value: &Value| encode(value).is_ok_and(|body| (kind.reads_as)(part, &body).is_ok());
        let failed = empty(value, root, &emptied, &readable);
        self.make_anonymous(value, &mut root.to_vec());
        failed
    }

    /// Puts the alias where the person's id stands, as a value or as a key of a map: wherever it is not to be kept, as what
    /// refers to somebody must not go on doing so in things of others.
    fn make_anonymous(&self, value: &mut Value, steps: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map.iter_mut() {
                    steps.push(name.clone());
                    self.make_anonymous(value, steps);
                    steps.pop();
                }
                let is_there = map.get(&self.person.id).is_some_and(|value| {
                    let mut goes = true;
                    let mut path = steps.clone();
                    path.push(self.person.id.clone());
                    leaves(value, &mut path, &mut |steps, _| goes &= !self.is_kept(steps));
                    goes
                });
                if is_there && let Some(value) = map.remove(&self.person.id) {
                    map.insert(self.person.alias.clone(), value);
                }
            }
            Value::Array(items) => {
                for item in items {
                    steps.push("*".to_owned());
                    self.make_anonymous(item, steps);
                    steps.pop();
                }
            }
            Value::String(text) if *text == self.person.id && !self.is_kept(steps) => {
                text.clone_from(&self.person.alias);
            }
            _ => {}
        }
    }

    /// The fields that still name the person, and that no declaration keeps.
    pub fn left(&self, plain: &Plain) -> Vec<String> {
        let mut left = Vec::new();
        let mut look = |steps: &[String], value: &Value| {
            if !self.is_kept(steps)
                && (self.is_id(value) || self.is_step(steps) || self.mentions_key(steps, value))
            {
                left.push(steps.join("."));
            }
        };
        for (part, value) in [("facts", &plain.facts), ("head", &plain.head)] {
            if let Some(value) = value {
                leaves(value, &mut steps(&[part]), &mut look);
            }
        }
        look(&steps(&["id"]), &Value::String(plain.id.clone()));
        for (key, row) in &plain.rows {
            let (first, rest) = split(key);
            if let Some(rest) = rest {
                look(&steps(&["keys", first]), &Value::String(rest.to_owned()));
            }
            leaves(row, &mut steps(&["rows", first]), &mut look);
        }
        left
    }

    fn mentions_key(&self, steps: &[String], value: &Value) -> bool {
        matches!(steps.first().map(String::as_str), Some("id" | "keys" | "list" | "key"))
            && self.mentions(value)
    }

    /// What becomes of an entry of an index: `None` where it goes, and the entry where it stays, with the alias in the list's
    /// name if that is to be.
    pub fn entry_after(&self, entry: &PlainEntry) -> Option<PlainEntry> {
        let of = |part: &str| declaration(self.fields, &steps(&[part])).and_then(|(_, some)| some.personal);
        if of("key").is_some_and(|key| key.erasure == Erasure::Removed) && self.mentions_in(&entry.key) {
            return None;
        }
        let Some(personal) = of("list").filter(|_| self.mentions_in(&entry.list)) else {
            return Some(entry.clone());
        };
        match personal.erasure {
            Erasure::Anonymous(_) => Some(PlainEntry { list: self.alias_in(&entry.list), ..entry.clone() }),
            Erasure::Kept(_) => Some(entry.clone()),
            _ => None,
        }
    }
}

fn mentions_visitor(text: &str, visitor: &str) -> bool {
    let bare = visitor.rsplit(':').next().unwrap_or(visitor);
    mentions(text, |id| id == bare)
}

fn is_author(fields: &[Fields], person: &Person, plain: &Plain) -> bool {
    let of = |is_meant: fn(Erasure) -> bool| {
        let some = fields.iter().filter(move |some| {
            some.personal
                .is_some_and(|personal| personal.whose == Whose::Author && is_meant(personal.erasure))
        });
        some.flat_map(|some| some.paths.iter()).filter_map(move |path| at(plain, path))
    };
    let is_them = |value: &Value| value.as_str() == Some(person.id.as_str());
    match of(|erasure| matches!(erasure, Erasure::Anonymous(_))).next() {
        Some(author) => is_them(author),
        None => of(|erasure| !matches!(erasure, Erasure::Anonymous(_))).any(is_them),
    }
}

#[cfg(test)]
#[path = "erasure_tests.rs"]
mod tests;
