//! `cargo xtask postman`: a collection and an environment for Postman, made from the API's document: a folder for each of its
//! parts, in an order in which all requests work on a fresh server.

mod order;
mod request;
mod scripts;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use order::Operation;
use serde_json::{Value, json};

use crate::root;

/// The API's document.
pub(crate) const DOCUMENT: &str = "docs/openapi.json";
/// What is made.
pub(crate) const COLLECTION: &str = "ops/postman/mundotango.postman_collection.json";
pub(crate) const ENVIRONMENT: &str = "ops/postman/mundotango.postman_environment.json";

#[derive(Args)]
pub(crate) struct Options {
    /// Change nothing: fail if what is there differs from what would be made.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Makes the files, or compares them.
pub(crate) fn run_with(options: &Options) -> anyhow::Result<()> {
    let text =
        fs::read_to_string(root().join(DOCUMENT)).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let document: Value = serde_json::from_str(&text).with_context(|| DOCUMENT.to_owned())?;
    let mut requests = 0;
    for (path, content) in [(COLLECTION, collection(&document, &mut requests)?), (ENVIRONMENT, environment())]
    {
        let place: PathBuf = root().join(path);
        let content = serde_json::to_string_pretty(&content)? + "\n";
        if options.check {
            let present = fs::read_to_string(&place).unwrap_or_default();
            ensure!(present == content, "{path} is not what the document makes: run `cargo xtask postman`");
        } else {
            place.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(&place, content).with_context(|| format!("cannot write {path}"))?;
        }
    }
    println!("{requests} requests");
    Ok(())
}

fn collection(document: &Value, requests: &mut usize) -> anyhow::Result<Value> {
    let operations = Operation::all(document)?;
    let mut folders = Vec::new();
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = tag["name"].as_str().unwrap_or_default();
        let items: Vec<_> =
            order::of_folder(&operations, name).map(|one| request::item(document, one)).collect();
        if !items.is_empty() {
            folders.push((folder_name(name), tag["description"].clone(), items));
        }
    }
    folders.push(("Problem documents".to_owned(), json!("What is refused, and how."), request::refused()));
    let last: Vec<_> = order::last(&operations).map(|one| request::item(document, one)).collect();
    folders.push(("Leaving".to_owned(), json!("The end of a login, after everything that needs it."), last));
    *requests = folders.iter().map(|(_, _, items)| items.len()).sum();
    let items: Vec<_> = folders
        .into_iter()
        .map(|(name, about, items)| json!({"name": name, "description": about, "item": items}))
        .collect();
    Ok(json!({
        "info": {
            "name": document["info"]["title"],
            "description": document["info"]["description"],
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "auth": request::bearer("accessToken"),
        "event": [scripts::event("prerequest", scripts::BEFORE_ALL), scripts::event("test", scripts::AFTER_ALL)],
        "variable": [{"key": "schemas", "value": scripts::definitions(document).to_string()}],
        "item": items,
    }))
}

/// The name of a part of the API as people read it.
fn folder_name(tag: &str) -> String {
    match tag {
        "auth" => "Authentication".to_owned(),
        "life-ceo" => "Life CEO".to_owned(),
        "server" => "Server API".to_owned(),
        other => {
            let (first, rest) = other.split_at(other.len().min(1));
            format!("{}{}", first.to_ascii_uppercase(), rest.replace('-', " "))
        }
    }
}

/// What requests take from the environment. What is empty is found on the way, or given.
fn environment() -> Value {
    let values = [
        ("baseUrl", "http://127.0.0.1:5000", false),
        ("password", "abrazo-1234", true),
        ("adminToken", "", true),
        ("apiKey", "", true),
        ("accessToken", "", true),
        ("refreshToken", "", true),
        // Of things that may not be there; a list that has one puts its id here.
        ("notificationId", "1", false),
        ("jobId", "none", false),
    ];
    let values = values.map(|(key, value, is_secret)| {
        let kind = if is_secret { "secret" } else { "default" };
        json!({"key": key, "value": value, "type": kind, "enabled": true})
    });
    json!({"name": "MundoTango", "values": values, "_postman_variable_scope": "environment"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collection_is_what_the_document_makes() {
        run_with(&Options { check: true }).unwrap();
    }

    #[test]
    fn every_operation_has_its_request() {
        let text = fs::read_to_string(root().join(DOCUMENT)).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let operations = Operation::all(&document).unwrap().len();
        let mut requests = 0;
        let collection = collection(&document, &mut requests).unwrap();
        // Who left once comes back once more.
        assert_eq!(requests, operations + request::refused().len() + 1);
        let folders: Vec<_> = collection["item"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap())
            .collect();
        for folder in ["Authentication", "Events", "Posts", "Life CEO", "Admin", "Monitoring"] {
            assert!(folders.contains(&folder), "{folders:?}");
        }
        assert_eq!(folders.last(), Some(&"Leaving"));
    }
}
