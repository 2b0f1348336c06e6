//! What is a person's, and what is left without the person.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::{Export, Fields, Kind, unworkable};
use super::*;

const ANA: &str = "0198aaaa-0000-7000-8000-000000000001";
const BEN: &str = "0198aaaa-0000-7000-8000-000000000002";
const NOBODY: &str = "00000000-0000-7000-8000-00000000000f";

/// An event, much as the community has them.
static EVENTS: Kind<Facts, Head, Row> = Kind::new("events", "a test's", EVENT_FIELDS);
const EVENT_FIELDS: &[Fields] = &[
    Fields::of(
        Whose::Author,
        Export::Given,
        Erasure::Anonymous("others come"),
        &["head.owner", "facts.host"],
    ),
    Fields::of(Whose::Author, Export::Given, Erasure::Emptied, &["facts.text", "head.text"]),
    Fields::of(Whose::Named, Export::Given, Erasure::Emptied, &["head.offered_to"]),
    Fields::of(Whose::RowUser, Export::Given, Erasure::Anonymous("counts"), &["keys.a", "rows.a.said"]),
    Fields::of(Whose::Named, Export::NotGiven("x"), Erasure::RowRemoved, &["keys.w", "rows.w.waits"]),
    Fields::of_nobody(&["id", "head.count"]),
];
/// A deal of two, with what each says of the other.
static DEALS: Kind<Sides, (), Said> = Kind::new("deals", "a test's", DEAL_FIELDS);
const DEAL_FIELDS: &[Fields] = &[
    Fields::of(
        Whose::Sides,
        Export::Given,
        Erasure::Anonymous("the other's"),
        &["facts.guest", "facts.host"],
    ),
    Fields::of(Whose::At("facts.guest"), Export::Given, Erasure::Emptied, &["facts.message"]),
    Fields::of(
        Whose::ByKey(&[("guest", "facts.guest"), ("host", "facts.host")]),
        Export::Given,
        Erasure::Emptied,
        &["rows.r.text"],
    ),
    Fields::of_nobody(&["id", "keys.r"]),
];
/// What belongs to one user.
static LISTS: Kind<(), Value, Value> = Kind::new("lists", "a test's", LIST_FIELDS);
const LIST_FIELDS: &[Fields] = &[
    Fields::of(Whose::User, Export::Given, Erasure::Removed, &["id", "rows.n.**"]),
    Fields::of(Whose::Named, Export::Given, Erasure::Emptied, &["rows.m.by"]),
];

#[derive(Serialize, Deserialize)]
struct Facts {
    host: String,
    text: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Head {
    owner: Option<String>,
    text: String,
    offered_to: Option<String>,
    count: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Row {
    Said(String),
    Waits(String),
}

#[derive(Serialize, Deserialize)]
struct Sides {
    guest: String,
    host: String,
    message: String,
}

#[derive(Serialize, Deserialize)]
struct Said {
    text: String,
}

fn person(id: &str) -> Person {
    Person { id: id.to_owned(), visitor: None, alias: NOBODY.to_owned() }
}

fn plain(id: &str, facts: Value, head: Value, rows: &[(&str, Value)]) -> Plain {
    let rows = rows.iter().map(|(key, row)| ((*key).to_owned(), row.clone())).collect();
    Plain { id: id.to_owned(), facts: Some(facts), head: Some(head), rows }
}

fn without(kind: &'static KindSpec, id: &str, plain: &Plain) -> Plain {
    let person = person(id);
    let mut after = plain.clone();
    Look::at(kind.personal, &person, plain).erase(kind, &mut after).unwrap();
    let mut again = after.clone();
    Look::at(kind.personal, &person, &after).erase(kind, &mut again).unwrap();
    assert_eq!(again, after, "doing it again changes nothing");
    assert!(!serde_json::to_string(&(&after.facts, &after.head, &after.rows)).unwrap().contains(id));
    after
}

fn event() -> Plain {
    plain(
        "e",
        json!({"host": ANA, "text": "by Ana"}),
        json!({"owner": null, "text": "later", "offered_to": BEN, "count": 2}),
        &[
            (&format!("a/{ANA}"), json!({"said": "yes"})),
            (&format!("a/{BEN}"), json!({"said": "no"})),
            ("w/1", json!({"waits": BEN})),
        ],
    )
}

#[test]
fn an_author_leaves_a_thing_that_others_have_without_name_and_words() {
    let after = without(EVENTS.spec(), ANA, &event());
    assert_eq!(
        after.facts,
        Some(json!({"host": NOBODY})).map(|mut facts| {
            facts["text"] = json!("");
            facts
        })
    );
    let head = after.head.unwrap();
    assert_eq!((&head["offered_to"], &head["count"]), (&json!(BEN), &json!(2)));
    let keys: Vec<_> = after.rows.keys().cloned().collect();
    assert_eq!(keys, [format!("a/{NOBODY}"), format!("a/{BEN}"), "w/1".to_owned()]);
}

#[test]
fn who_is_only_named_takes_nothing_of_the_author_along() {
    let after = without(EVENTS.spec(), BEN, &event());
    assert_eq!(after.facts, event().facts);
    assert!(after.head.unwrap().get("offered_to").is_none());
    assert!(!after.rows.contains_key("w/1"), "the row is Ben's");
    let plan = Look::at(EVENT_FIELDS, &person(BEN), &event()).plan(EVENTS.spec(), &event()).unwrap();
    let rows = vec![format!("a/{BEN}"), "w/1".to_owned()];
    assert_eq!(plan, Plan::Rewrite { rows, removes_rows: true });
    let stranger = person("0198aaaa-0000-7000-8000-000000000003");
    assert_eq!(
        Look::at(EVENT_FIELDS, &stranger, &event()).plan(EVENTS.spec(), &event()).unwrap(),
        Plan::Nothing
    );
}

#[test]
fn the_words_of_a_thing_that_was_given_away_are_its_new_owners() {
    let mut given = event();
    given.head.as_mut().unwrap()["owner"] = json!(BEN);
    let after = without(EVENTS.spec(), ANA, &given);
    assert_eq!(after.facts, Some(json!({"host": NOBODY, "text": "by Ana"})));
    let after = without(EVENTS.spec(), BEN, &after);
    assert_eq!(after.facts.unwrap()["text"], "");
}

#[test]
fn each_side_takes_its_own_words_along() {
    let deal = plain(
        "d",
        json!({"guest": ANA, "host": BEN, "message": "hello"}),
        json!(null),
        &[("r/guest", json!({"text": "nice"})), ("r/host", json!({"text": "clean"}))],
    );
    let after = without(DEALS.spec(), ANA, &deal);
    assert_eq!(after.facts, Some(json!({"guest": NOBODY, "host": BEN, "message": ""})));
    assert_eq!(
        (&after.rows["r/guest"], &after.rows["r/host"]),
        (&json!({"text": ""}), &json!({"text": "clean"}))
    );
    let given = Look::at(DEAL_FIELDS, &person(BEN), &deal).given(&deal).unwrap();
    assert_eq!(given["rows"], json!({"r/host": {"text": "clean"}}), "each is given the own words");
    assert!(given["facts"].get("message").is_none());
}

#[test]
fn a_list_is_removed_with_its_user_and_not_with_whom_it_names() {
    let list =
        plain(ANA, json!(null), json!({}), &[("n/1", json!({"thing": BEN})), ("m/1", json!({"by": BEN}))]);
    let plan = |id: &str| Look::at(LIST_FIELDS, &person(id), &list).plan(LISTS.spec(), &list).unwrap();
    assert_eq!(plan(ANA), Plan::Remove);
    let rows = vec!["m/1".to_owned(), "n/1".to_owned()];
    assert_eq!(plan(BEN), Plan::Rewrite { rows, removes_rows: false });
    let mut after = list.clone();
    Look::at(LIST_FIELDS, &person(BEN), &list).erase(LISTS.spec(), &mut after).unwrap();
    assert_eq!(after.rows["n/1"], json!({"thing": NOBODY}), "a thing of Ana's leads to nobody");
}

#[test]
fn ids_are_found_as_words_alone() {
    let is_ana = |text: &str| mentions(text, |id| id == ANA);
    for text in [ANA.to_owned(), format!("guest:{ANA}"), format!("a/{ANA}/1"), format!("{ANA}#3")] {
        assert!(is_ana(&text), "{text}");
        assert_eq!(renamed(&text, ANA, NOBODY), text.replace(ANA, NOBODY));
    }
    let longer = format!("{ANA}0");
    assert!(!is_ana(&longer) && !is_ana("") && renamed(&longer, ANA, NOBODY) == longer);
}

#[test]
fn a_list_of_an_index_goes_or_loses_the_name() {
    const GOES: &[Fields] =
        &[Fields::of(Whose::User, Export::Given, Erasure::Removed, &["list", "key", "entry.**"])];
    const STAYS: &[Fields] = &[
        Fields::of(Whose::User, Export::Given, Erasure::Anonymous("money"), &["list"]),
        Fields::of(Whose::Sides, Export::Given, Erasure::Kept("money"), &["key", "entry.**"]),
    ];
    let entry =
        PlainEntry { list: format!("payee:{ANA}:EUR"), key: "1".to_owned(), entry: json!({"minor": 5}) };
    let ana = person(ANA);
    assert_eq!(Look::at_entry(GOES, &ana, &entry).entry_after(&entry), None);
    let after = Look::at_entry(STAYS, &ana, &entry).entry_after(&entry).unwrap();
    assert_eq!(after.list, format!("payee:{NOBODY}:EUR"));
    let ben = person(BEN);
    assert_eq!(Look::at_entry(GOES, &ben, &entry).entry_after(&entry), Some(entry));
    // Ana stands in a list of Ben's.
    let entry = PlainEntry { list: BEN.to_owned(), key: format!("1/{ANA}"), entry: Value::Null };
    assert_eq!(Look::at_entry(GOES, &ana, &entry).entry_after(&entry), None);
    assert_eq!(Look::at_entry(STAYS, &ana, &entry).entry_after(&entry), Some(entry));
}

#[test]
fn what_could_never_be_carried_out_is_told() {
    assert!(unworkable("deals", DEAL_FIELDS, false).is_empty());
    assert_eq!(unworkable("events", EVENT_FIELDS, false).len(), 1, "rows are counted by somebody");
    assert!(unworkable("events", EVENT_FIELDS, true).is_empty());
    let wrong = [
        Fields::of(Whose::RowUser, Export::Given, Erasure::Emptied, &["head.x"]),
        Fields::of(Whose::User, Export::Given, Erasure::Emptied, &["head.y"]),
        Fields::of(Whose::Author, Export::Given, Erasure::Emptied, &["rows.a.text"]),
        Fields::of(Whose::At("rows.b"), Export::Given, Erasure::Emptied, &["head.z"]),
    ];
    assert_eq!(unworkable("wrong", &wrong, true).len(), 4, "{:?}", unworkable("wrong", &wrong, true));
}
