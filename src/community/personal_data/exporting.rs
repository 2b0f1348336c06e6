//! Writing exports while a round goes on. A line is a JSON document; what was written of a page counts once the page is saved, and
//! is written again at the same place where a node died before.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mundotango_storage::StoreError;
use mundotango_storage::db::{
    Db, Export as Given, IndexSpec, KindSpec, Look, Person, Plain, PlainEntry, Schema,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::export_store::{
    Export, ExportStore, MOST_PARTS, OpenPart, PART_BYTES, PartInfo, READY_FOR, ROW_BYTES, State,
};
use super::rules::{Place, Round};

/// Most bytes of the rows of one line, about.
const LINE_BYTES: usize = 512 * 1024;
/// Rows that are read at once to go on with a part.
const READ_AT_ONCE: usize = 50;

/// A user's export that is being written.
struct Writer {
    user_id: String,
    export: Export,
    open: OpenPart,
    hash: Sha256,
    waiting: String,
    /// Whether something was written since it was saved.
    is_new: bool,
    /// The page of which nothing more is written, as it was before a node died.
    skipped: Option<Place>,
}

/// The exports of a round.
pub struct Exporter {
    store: ExportStore,
    writers: BTreeMap<String, Writer>,
}

impl Exporter {
    /// The exports of a round, as far as they are written.
    pub async fn of_round(db: &Db, round: &Round) -> Result<Self, StoreError> {
        let store = ExportStore::new(db.clone());
        let mut writers = BTreeMap::new();
        for user_id in &round.exporters {
            let export = match store.export(user_id).await {
                Err(StoreError::Damaged(error)) => {
                    tracing::error!(error, user_id, "what is kept of an export is damaged");
                    continue;
                }
                export => export?,
            };
            if !matches!(export.state, State::Queued | State::Running) {
                continue;
            }
            let open = export.open.clone().unwrap_or_default();
            let mut writer = Writer {
                user_id: user_id.clone(),
                skipped: open.after.clone(),
                export,
                open,
                hash: Sha256::new(),
                waiting: String::new(),
                is_new: false,
            };
            if writer.open.after.is_none() && writer.export.parts.is_empty() {
                writer.begin(round);
            } else {
                let read = writer.read_again(&store).await;
                writer.unless_damaged(read)?;
            }
            if writer.export.state == State::Failed {
                store.save(user_id, Export { open: None, ..writer.export }).await?;
                continue;
            }
            writers.insert(user_id.clone(), writer);
        }
        Ok(Self { store, writers })
    }

    fn writer(&mut self, person: &Person, page: &Place) -> Option<&mut Writer> {
        let writer = self.writers.get_mut(&person.id)?;
        // What is in it already was written before the node died that wrote it.
        (writer.skipped.as_ref() != Some(page)).then_some(writer)
    }

    /// Adds what a person is given of a partition. `page` is where the page of the round ends.
    pub async fn take(
        &mut self,
        kind: &KindSpec,
        person: &Person,
        look: &Look<'_>,
        plain: &Plain,
        page: &Place,
    ) -> Result<(), StoreError> {
        let store = self.store.clone();
        let Some(writer) = self.writer(person, page) else { return Ok(()) };
        let Some(mut given) = look.given(plain) else { return Ok(()) };
        let rows = match given.remove("rows") {
            Some(Value::Object(rows)) => rows,
            _ => Map::new(),
        };
        given.entry("id").or_insert_with(|| plain.id.clone().into());
        let id = given["id"].clone();
        for (index, rows) in portions(rows).into_iter().enumerate() {
            let mut line = json!({"kind": kind.name, "name": name_of(kind.name)});
            match index {
                0 => line["data"] = Value::Object(given.clone()),
                _ => line["data"] = json!({"id": id}),
            }
            if !rows.is_empty() {
                line["data"]["rows"] = rows.into();
            }
            let written = writer.line(&store, &line).await;
            writer.unless_damaged(written)?;
        }
        Ok(())
    }

    /// Adds what a person is given of an entry of an index.
    pub async fn take_entry(
        &mut self,
        index: &IndexSpec,
        person: &Person,
        entry: &PlainEntry,
        page: &Place,
    ) -> Result<(), StoreError> {
        let store = self.store.clone();
        let Some(writer) = self.writer(person, page) else { return Ok(()) };
        let Some(given) = Look::at_entry(index.personal, person, entry).given_of_entry(entry) else {
            return Ok(());
        };
        let line = json!({"kind": index.name, "name": name_of(index.name), "data": given});
        let written = writer.line(&store, &line).await;
        writer.unless_damaged(written)
    }

    /// Saves all exports behind a page.
    pub async fn save(&mut self, page: &Place) -> Result<(), StoreError> {
        for writer in self.writers.values_mut() {
            if writer.skipped.take_if(|skipped| skipped == page).is_some() {
                continue;
            }
            if !std::mem::take(&mut writer.is_new) {
                continue;
            }
            let written = writer.flush(&self.store).await;
            writer.unless_damaged(written)?;
            writer.open.after = Some(page.clone());
            if writer.export.state != State::Failed {
                writer.export.state = State::Running;
            }
            writer.export.open = Some(writer.open.clone());
            let saved = self.store.save(&writer.user_id, writer.export.clone()).await;
            writer.unless_damaged(saved)?;
        }
        self.writers.retain(|_, writer| writer.export.state != State::Failed);
        Ok(())
    }

    /// Ends all exports: they are there from now on.
    pub async fn finish(mut self, schema: &Schema, now: Timestamp) -> Result<(), StoreError> {
        let left_out = left_out(schema);
        for writer in self.writers.values_mut() {
            let written = writer.end(&self.store, &left_out).await;
            writer.unless_damaged(written)?;
            if writer.export.state != State::Failed {
                writer.export.state = State::Ready;
                writer.export.until = Some(now + READY_FOR);
            }
            writer.export.open = None;
            let saved = self.store.save(&writer.user_id, writer.export.clone()).await;
            writer.unless_damaged(saved)?;
        }
        Ok(())
    }
}

impl Writer {
    fn begin(&mut self, round: &Round) {
        let head = json!({
            "format": "mundotango-personal-data/1", "user": self.user_id, "export": self.export.id,
            "madeAt": round.begun_at.to_string(),
            "about": "One JSON document a line. `kind` is what it is of, `data` what is stored: `rows` by their keys.",
        });
        self.is_new = true;
        self.waiting.push_str(&head.to_string());
        self.waiting.push('\n');
    }

    /// Has the export fail where what is written of it is damaged, so that it holds nobody else up.
    fn unless_damaged(&mut self, written: Result<(), StoreError>) -> Result<(), StoreError> {
        let Err(StoreError::Damaged(error)) = written else { return written };
        tracing::error!(error, user_id = self.user_id, "an export is damaged");
        self.export.state = State::Failed;
        self.export.why = Some("what was written of it is damaged: ask for another one".to_owned());
        self.is_new = true;
        Ok(())
    }

    /// Goes over what is written of the part under way, as its digest is of all of it.
    async fn read_again(&mut self, store: &ExportStore) -> Result<(), StoreError> {
        let (part, mut at) = (self.export.parts.len(), 0);
        while at < self.open.bytes {
            let rows = store.read(&self.user_id, &self.export.id, part, at, READ_AT_ONCE).await?;
            let before = at;
            for (begins, text) in rows.into_iter().filter(|(begins, _)| *begins < self.open.bytes) {
                if begins == at {
                    self.hash.update(text.as_bytes());
                    at += text.len() as u64;
                }
            }
            if at == before {
                return Err(StoreError::Damaged("a part of an export has a hole".to_owned()));
            }
        }
        Ok(())
    }

    async fn line(&mut self, store: &ExportStore, line: &Value) -> Result<(), StoreError> {
        let line = line.to_string();
        let bytes = self.open.bytes + self.waiting.len() as u64;
        if bytes > 0 && bytes + line.len() as u64 > PART_BYTES {
            self.close(store).await?;
        }
        self.is_new = true;
        self.waiting.push_str(&line);
        self.waiting.push('\n');
        if self.waiting.len() >= ROW_BYTES { self.flush(store).await } else { Ok(()) }
    }

    /// Writes the last line.
    async fn end(&mut self, store: &ExportStore, line: &Value) -> Result<(), StoreError> {
        self.line(store, line).await?;
        self.close(store).await
    }

    /// Writes what waits.
    async fn flush(&mut self, store: &ExportStore) -> Result<(), StoreError> {
        let part = self.export.parts.len();
        if self.export.state == State::Failed {
            self.waiting.clear();
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let mut rest = waiting.as_str();
        while !rest.is_empty() {
            let text = &rest[..rest.floor_char_boundary(ROW_BYTES)];
            rest = &rest[text.len()..];
            store.write(&self.user_id, &self.export.id, part, self.open.bytes, text.to_owned()).await?;
            self.hash.update(text.as_bytes());
            self.open.bytes += text.len() as u64;
        }
        Ok(())
    }

    /// Ends the part under way.
    async fn close(&mut self, store: &ExportStore) -> Result<(), StoreError> {
        self.flush(store).await?;
        let bytes = std::mem::take(&mut self.open.bytes);
        let digest = std::mem::take(&mut self.hash).finalize();
        if bytes == 0 || self.export.state == State::Failed {
            return Ok(());
        }
        let sha256 = digest.iter().fold(String::new(), |mut text, byte| {
            // Writing into a string does not fail.
            let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
            text
        });
        self.export.parts.push(PartInfo { bytes, sha256 });
        if self.export.parts.len() >= MOST_PARTS {
            self.export.state = State::Failed;
            let most = PART_BYTES / 1024 / 1024 * MOST_PARTS as u64;
            self.export.why =
                Some(format!("it would be larger than {most} MiB: ask those who run the server"));
        }
        Ok(())
    }
}

/// Rows in portions of which each makes a line; one without rows at least.
fn portions(rows: Map<String, Value>) -> Vec<Map<String, Value>> {
    let (mut portions, mut bytes) = (vec![Map::new()], 0);
    for (key, row) in rows {
        let own = key.len() + row.to_string().len();
        if bytes > 0 && bytes + own > LINE_BYTES {
            portions.push(Map::new());
            bytes = 0;
        }
        bytes += own;
        if let Some(last) = portions.last_mut() {
            last.insert(key, row);
        }
    }
    portions
}

/// What a kind is called for a reader.
fn name_of(kind: &str) -> String {
    let named = match kind {
        "users" => "Your account and logins",
        "posts" => "Your posts",
        "post_reactions" => "Your reactions",
        "poll_votes" => "Your votes",
        "comments" => "Your comments",
        "comment_reactions" => "Your reactions to comments",
        "circles" => "Whom you follow, your friends, and whom you keep out",
        "chats" => "Conversations that you are in",
        "chat_blocks" => "Your messages",
        "chat_inboxes" => "Your list of conversations",
        "scores" => "Your points",
        "tickets" => "Your support tickets",
        "proposals" => "What you proposed",
        "events" => "Events that you gave or answered",
        "doors" => "Events that you came to",
        "bookings" => "Stays, as guest and as host",
        "listings" => "Places that you offer",
        "payments" => "Payments",
        "conversations" => "Conversations with agents",
        "analytics_buckets" | "analytics_members" | "analytics_cohorts" => "What was counted of your visits",
        _ => "",
    };
    if !named.is_empty() {
        return named.to_owned();
    }
    let mut words = kind.replace('_', " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

/// What is stored of users and is not in exports, with the reasons.
fn left_out(schema: &Schema) -> Value {
    let of = |(name, _, fields): (&'static str, _, &'static [mundotango_storage::db::Fields])| {
        fields.iter().filter_map(move |some| match some.personal?.export {
            Given::NotGiven(why) => Some(json!({"kind": name, "fields": some.paths, "why": why})),
            Given::Given => None,
        })
    };
    json!({"leftOut": schema.declared().flat_map(of).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_things_are_given_in_several_lines() {
        let row = Value::String("x".repeat(LINE_BYTES / 2));
        let rows: Map<_, _> = (0..5).map(|number| (number.to_string(), row.clone())).collect();
        let all = portions(rows.clone());
        assert_eq!(all.len(), 5);
        assert_eq!(all.into_iter().flatten().collect::<Map<_, _>>(), rows);
        assert_eq!(portions(Map::new()).len(), 1);
    }

    #[test]
    fn every_kind_has_a_name() {
        assert_eq!(
            (name_of("posts").as_str(), name_of("push_things").as_str()),
            ("Your posts", "Push things")
        );
    }
}
