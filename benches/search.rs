//! Searching among 100,000 things: how long the index takes to be made, how large it is, and how long a search takes.
//!
//! `cargo bench -p mundotango --bench search [things]`
#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mundotango::search::document::{Audience, Document};
use mundotango::search::filter::Filter;
use mundotango::search::index::{Progress, WordIndex};
use mundotango::search::query::Search;

/// Things, if nobody says how many.
const THINGS: u64 = 100_000;
/// Things that are put at a time.
const AT_ONCE: usize = 500;
/// Different words.
const VOCABULARY: u64 = 20_000;
/// Words of a title and of a text.
const WORDS: [u64; 2] = [4, 40];
/// Searches of each kind.
const SEARCHES: u64 = 2_000;
/// Hits of a search, as the route takes them.
const HITS: usize = 300;
const MEMORY: usize = 30_000_000;

/// Numbers that follow from a seed: xorshift64*.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// A word; some come far more often than others, as in a language.
    fn word(&mut self) -> String {
        let range = 1 + self.next() % VOCABULARY;
        let mut number = self.next() % range;
        let mut word = String::new();
        for _ in 0..4 {
            word.push(char::from(b"bcdfglmnprst"[usize::try_from(number % 12).unwrap()]));
            word.push_str(["a", "e", "i", "o", "ó"][usize::try_from(number / 12 % 5).unwrap()]);
            number = number / 12 + 7;
        }
        word
    }

    fn words(&mut self, count: u64) -> String {
        (0..count).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }
}

fn document(draw: &mut Draw, number: u64) -> Document {
    let at = Timestamp::from_second(1_700_000_000 + i64::try_from(number).unwrap()).unwrap();
    let [title, text] = WORDS.map(|count| draw.words(count));
    Document {
        title,
        text,
        places: vec![format!("city{}", draw.next() % 200)],
        audience: match draw.next() % 10 {
            0 => Audience::Only(format!("user{}", draw.next() % 1_000)),
            _ => Audience::Everybody,
        },
        at,
        over_at: None,
        has_time: true,
        part_of: None,
    }
}

fn size(folder: &Path) -> u64 {
    std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

fn tell(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("| {name} | {:.2?} | {:.2?} | {:.2?} |", at(50), at(99), at(100));
}

fn main() {
    let things = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(THINGS);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("search");
    let (index, _) = WordIndex::open(Some(&path), MEMORY).unwrap();
    let mut draw = Draw(42);
    let progress = Progress::new(mundotango_protocol::new_id(), true);
    let started = Instant::now();
    let documents = (0..things).map(|number| (number.to_string(), Some(document(&mut draw, number))));
    let documents: Vec<_> = documents.collect();
    let made = started.elapsed();
    let started = Instant::now();
    for some in documents.chunks(AT_ONCE) {
        index.put("post", some).unwrap();
    }
    index.commit(&progress).unwrap();
    let took = started.elapsed();
    println!(
        "{things} things: made in {made:.1?}, indexed in {took:.1?}, {} MB on disk",
        size(&path) / 1_000_000
    );
    let started = Instant::now();
    index.put("post", &documents[..1]).unwrap();
    index.commit(&progress).unwrap();
    println!("one change: {:.1?} until it is found", started.elapsed());

    println!("\n| searches | p50 | p99 | most |\n|---|---|---|---|");
    let filter = Filter { viewer: "user1".to_owned(), ..Filter::default() };
    let of_city = Filter { place: Some("city7".to_owned()), ..filter.clone() };
    for (name, words, cut, filter, misspelt) in [
        ("one word", 1, 0, &filter, false),
        ("three words", 3, 0, &filter, false),
        ("one word in a city", 1, 0, &of_city, false),
        ("a beginning", 1, 5, &filter, false),
        ("one word, misspelt", 1, 0, &filter, true),
        ("three words, misspelt", 3, 0, &filter, true),
        ("ten words, misspelt", 10, 0, &filter, true),
    ] {
        let search = |draw: &mut Draw| {
            let text = draw.words(words);
            let text = text.get(..text.len() - cut).unwrap_or(&text);
            let search = Search::of(text);
            let started = Instant::now();
            index.find(&search, filter, misspelt, Timestamp::now(), HITS).unwrap();
            started.elapsed()
        };
        tell(name, (0..SEARCHES).map(|_| search(&mut draw)).collect());
    }
}
