use std::ops::RangeInclusive;

use jiff::SignedDuration;
use mundotango_protocol::new_id;

use super::*;
use crate::search::filter::SeenThread;

const MEMORY: usize = 15_000_000;

fn document(title: &str, text: &str) -> Document {
    Document {
        title: title.to_owned(),
        text: text.to_owned(),
        places: Vec::new(),
        audience: Audience::Everybody,
        at: Timestamp::UNIX_EPOCH,
        over_at: None,
        has_time: false,
        part_of: None,
    }
}

fn in_memory(documents: &[(&str, Document)]) -> WordIndex {
    let (index, _) = WordIndex::open(None, MEMORY).unwrap();
    put(&index, documents);
    index
}

fn put(index: &WordIndex, documents: &[(&str, Document)]) {
    let documents: Vec<_> =
        documents.iter().map(|(id, document)| ((*id).to_owned(), Some(document.clone()))).collect();
    index.put("event", &documents).unwrap();
    index.commit(&Progress::new(new_id(), true)).unwrap();
}

fn find_for(index: &WordIndex, text: &str, filter: &Filter, misspelt: bool) -> Vec<String> {
    let hits = index.find(&Search::of(text), filter, misspelt, Timestamp::now(), 100).unwrap();
    hits.into_iter().map(|hit| hit.id).collect()
}

fn find(index: &WordIndex, text: &str) -> Vec<String> {
    find_for(index, text, &Filter::default(), false)
}

#[test]
fn words_are_found_however_they_are_spelled() {
    let index = in_memory(&[
        ("1", document("Milónga La Viruta", "every night")),
        ("2", document("Aula em São Paulo", "")),
        ("3", document("Пётр", "")),
        ("4", document("探戈舞会", "")),
        ("5", document("İstanbul", "")),
        ("6", document("Tango in der Straße", "")),
        ("7", document("vidéö", "œuvre")),
    ]);
    for (text, id) in [
        ("milonga", "1"),
        ("Milonga", "1"),
        ("milónga", "1"),
        ("MILONGA viruta", "1"),
        ("night", "1"),
        ("Sao", "2"),
        ("são", "2"),
        ("Петр", "3"),
        ("探戈", "4"),
        ("戈", "4"),
        ("探戈舞", "4"),
        ("istanbul", "5"),
        ("ISTANBUL", "5"),
        ("strasse", "6"),
        ("straße", "6"),
        ("video", "7"),
        ("oeuvre", "7"),
    ] {
        assert_eq!(find(&index, text), [id], "{text}");
    }
    for text in ["milonga sao", "舞探", "\"viruta la\"", ""] {
        assert!(find(&index, text).is_empty(), "{text}");
    }
}

#[test]
fn misspelt_words_are_found_where_that_is_wanted() {
    let index = in_memory(&[("1", document("Milonga", "Canning")), ("2", document("van", ""))]);
    for text in ["milnoga", "milogna", "miloga", "canninng"] {
        assert!(find(&index, text).is_empty(), "{text}");
        assert_eq!(find_for(&index, text, &Filter::default(), true), ["1"], "{text}");
    }
    assert!(find_for(&index, "vna", &Filter::default(), true).is_empty(), "short words are as they are");
}

#[test]
fn titles_are_found_by_beginnings_and_phrases_by_their_order() {
    let index = in_memory(&[
        ("1", document("Practica del Sur", "with live music")),
        ("2", document("Sur", "music live")),
    ]);
    assert_eq!(find(&index, "prac"), ["1"]);
    assert_eq!(find(&index, "\"live music\""), ["1"]);
    assert_eq!(find(&index, "live music").len(), 2);
    assert!(find(&index, "mus").is_empty(), "texts are found by whole words");
}

#[test]
fn what_fits_better_comes_first_and_what_is_over_last() {
    let now = Timestamp::now();
    let mut over = document("Milonga", "");
    over.over_at = Some(now - SignedDuration::from_hours(1));
    let mut newer = document("Milonga", "");
    newer.at = now;
    let index = in_memory(&[
        ("text", document("Nothing of that word", "a milonga")),
        ("over", over),
        ("old", document("Milonga", "")),
        ("newer", newer),
        ("accent", document("Milónga", "")),
    ]);
    assert_eq!(find(&index, "milónga")[0], "accent");
    let found = find(&index, "milonga");
    let place = |id: &str| found.iter().position(|found| found == id).unwrap();
    assert!(place("newer") < place("old"), "{found:?}");
    assert!(place("old") < place("over") && place("old") < place("text"), "{found:?}");
}

#[test]
fn what_is_for_others_is_not_found() {
    let with = |audience| Document { audience, ..document("Secret", "") };
    let index = in_memory(&[
        ("1", with(Audience::Only("ana".to_owned()))),
        ("2", with(Audience::FriendsOf("ana".to_owned()))),
        ("3", with(Audience::Everybody)),
    ]);
    let find = |viewer: &str, friends: &[&str]| {
        let friends = friends.iter().map(|friend| (*friend).to_owned()).collect();
        let filter = Filter { viewer: viewer.to_owned(), friends, ..Filter::default() };
        let mut found = find_for(&index, "secret", &filter, true);
        found.sort();
        found
    };
    assert_eq!(find("ana", &[]), ["1", "2", "3"]);
    assert_eq!(find("ben", &[]), ["3"]);
    assert_eq!(find("ben", &["ana"]), ["2", "3"]);
    assert_eq!(find("all", &["all"]), ["3"]);
}

#[test]
fn what_is_said_in_threads_is_found_there_alone_by_its_numbers_the_last_first() {
    let said = |thread: &str, number: i64, text: &str| {
        let audience = Audience::InThread { thread: thread.to_owned(), number: number.unsigned_abs() };
        let at = Timestamp::from_second(number).unwrap();
        Document { audience, at, has_time: true, ..document("", text) }
    };
    let index = in_memory(&[("event", document("Milonga", "a milonga"))]);
    let mut all: Vec<_> = (1..=400)
        .map(|number| (format!("a:{number}"), Some(said("a", number, "Milónga, milonga y milonga"))))
        .collect();
    all.push(("b:1".to_owned(), Some(said("b", 1_000, "una milonga"))));
    index.put("message", &all).unwrap();
    index.commit(&Progress::new(new_id(), true)).unwrap();
    let find = |text: &str, threads: &[(&str, &[RangeInclusive<u64>])], misspelt: bool| {
        let seen = threads.iter().map(|(id, seen)| SeenThread { id: (*id).to_owned(), seen: seen.to_vec() });
        let filter = Filter { threads: Some(seen.collect()), ..Filter::default() };
        let hits = index.find(&Search::of(text), &filter, misspelt, Timestamp::now(), 3).unwrap();
        hits.into_iter().map(|hit| hit.id).collect::<Vec<_>>()
    };
    // How often a word is said does not count, and what is not seen takes no place.
    let (a, b) = (("a", &[1..=u64::MAX][..]), ("b", &[1..=u64::MAX][..]));
    assert_eq!(find("milonga", &[a, b], false), ["b:1", "a:400", "a:399"]);
    assert_eq!(find("milonga", &[("a", &[1..=2, 5..=7])], false), ["a:7", "a:6", "a:5"]);
    assert_eq!(find("milonga", &[("a", &[1..=2])], false), ["a:2", "a:1"]);
    assert_eq!(find("milnoga una", &[b], true), ["b:1"]);
    assert_eq!(find("\"una milonga\"", &[b], false), ["b:1"]);
    assert!(find("milonga", &[], false).is_empty());
    assert!(find("milonga", &[("c", &[1..=9])], false).is_empty());
    assert!(find("milnoga", &[b], false).is_empty());
    let everybody = find_for(&index, "milonga", &Filter::default(), true);
    assert_eq!(everybody, ["event"], "who did not ask for threads finds none");
    let one = Filter { viewer: "a".to_owned(), friends: vec!["b".to_owned()], ..Filter::default() };
    assert_eq!(find_for(&index, "milonga", &one, true), ["event"]);
}

#[test]
fn what_goes_with_a_thing_goes_when_that_is_gone() {
    let index = in_memory(&[("1", document("Milonga", "")), ("2", document("Milonga", ""))]);
    let below = |id: &str| {
        let part_of = Some(("event", id.to_owned()));
        (format!("{id}.1"), Some(Document { part_of, ..document("", "milonga") }))
    };
    index.put("comment", &[below("1"), below("2")]).unwrap();
    index.put("event", &[("1".to_owned(), None), ("2".to_owned(), Some(document("Practica", "")))]).unwrap();
    index.commit(&Progress::new(new_id(), true)).unwrap();
    assert_eq!(find(&index, "milonga"), ["2.1"]);
}

#[test]
fn what_is_said_in_threads_changes_no_order_of_what_all_find() {
    let index = in_memory(&[
        ("1", document("", "tango tango tango")),
        ("2", document("", "vals tango")),
        ("3", document("", "vals vals milonga tango")),
    ]);
    let order = || ["tango vals", "vals", "tango"].map(|text| find(&index, text));
    let before = order();
    let said = |number: u64| {
        let audience = Audience::InThread { thread: "a".to_owned(), number };
        (format!("a:{number}"), Some(Document { audience, ..document("", "vals vals vals") }))
    };
    index.put("message", &(1..=200).map(said).collect::<Vec<_>>()).unwrap();
    index.commit(&Progress::new(new_id(), true)).unwrap();
    assert_eq!(order(), before);
}

#[test]
fn a_search_is_narrowed_to_kinds_places_and_times() {
    let at = |at: &str| Document {
        at: at.parse().unwrap(),
        has_time: true,
        places: vec!["São Paulo".to_owned()],
        ..document("Milonga", "")
    };
    let index = in_memory(&[("1", at("2030-01-01T20:00:00Z")), ("2", at("2030-02-01T20:00:00Z"))]);
    index.put("person", &[("3".to_owned(), Some(document("Milonga", "")))]).unwrap();
    index.commit(&Progress::new(new_id(), true)).unwrap();
    let find = |filter: Filter| {
        let mut found = find_for(&index, "milonga", &filter, false);
        found.sort();
        found
    };
    let times = |from: Option<&str>, to: Option<&str>| Filter {
        from: from.map(|time| time.parse().unwrap()),
        to: to.map(|time| time.parse().unwrap()),
        ..Filter::default()
    };
    assert_eq!(find(Filter::default()), ["1", "2", "3"]);
    assert_eq!(find(Filter { kinds: vec!["person"], ..Filter::default() }), ["3"]);
    assert_eq!(find(Filter { kinds: vec!["person", "event"], ..Filter::default() }).len(), 3);
    assert_eq!(find(Filter { place: Some("sao paulo".to_owned()), ..Filter::default() }), ["1", "2"]);
    assert_eq!(find(times(Some("2030-01-01T20:00:00Z"), Some("2030-02-01T20:00:00Z"))), ["1"]);
    assert_eq!(find(times(Some("2030-01-02T00:00:00Z"), None)), ["2"]);
    assert_eq!(find_for(&index, "paulo", &Filter::default(), false).len(), 2, "places are words as well");
}

#[test]
fn what_was_removed_or_changed_is_not_found_by_what_it_was_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("search");
    let (index, progress) = WordIndex::open(Some(&path), MEMORY).unwrap();
    assert_eq!(progress, None);
    put(
        &index,
        &[("1", document("Milonga", "")), ("2", document("Practica", "")), ("4", document("Gala", ""))],
    );
    index.put("event", &[("1".to_owned(), None), ("2".to_owned(), Some(document("Concert", "")))]).unwrap();
    let progress = Progress::new(new_id(), true);
    index.commit(&progress).unwrap();
    let told = |index: &WordIndex| ["milonga", "practica", "concert"].map(|text| find(index, text).len());
    assert_eq!((told(&index), index.count()), ([0, 0, 1], 2));
    // The policy may have merged it by itself before.
    index.purge().unwrap();
    assert_eq!((told(&index), index.purge().unwrap()), ([0, 0, 1], 0));
    // What was not committed is not there after a failure.
    index.put("event", &[("3".to_owned(), Some(document("Milonga", "")))]).unwrap();
    assert_eq!(index.renew().unwrap(), Some(progress.clone()));
    drop(index);
    let (index, found) = WordIndex::open(Some(&path), MEMORY).unwrap();
    assert_eq!((found, told(&index)), (Some(progress), [0, 0, 1]));
    drop(index);
    fs::write(path.join("meta.json"), "{").unwrap();
    let (index, found) = WordIndex::open(Some(&path), MEMORY).unwrap();
    assert_eq!((found, index.count()), (None, 0), "what cannot be read is made anew");
}

#[test]
fn what_is_over_takes_no_place_of_what_is_to_come() {
    let now = Timestamp::now();
    let at = |hours: i64| now + SignedDuration::from_hours(hours);
    let event = |hours: i64| Document {
        at: at(hours),
        over_at: Some(at(hours + 4)),
        has_time: true,
        ..document("Milonga del Sur", "")
    };
    let names: Vec<_> = (1..=400).map(|number: i64| number.to_string()).collect();
    let over: Vec<_> = names.iter().zip(1..).map(|(name, days)| (name.as_str(), event(-24 * days))).collect();
    let index = in_memory(&over);
    put(&index, &[("next", event(24)), ("later", event(240))]);
    let hits = index.find(&Search::of("milonga"), &Filter::default(), false, now, 3).unwrap();
    let ids: Vec<_> = hits.iter().map(|hit| hit.id.as_str()).collect();
    assert_eq!(ids, ["next", "later", "1"]);
}

#[test]
fn a_folder_that_holds_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("letters.txt");
    fs::write(&file, "Dear Ana").unwrap();
    assert!(WordIndex::open(Some(folder.path()), MEMORY).is_err());
    assert_eq!(fs::read_to_string(file).unwrap(), "Dear Ana");
}
