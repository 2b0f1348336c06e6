//! The AsyncAPI 3 document: which messages channels publish, for readers and makers of clients that know that format. It is made
//! of the API's document, so the two cannot say different things.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schemas;

/// The document's introduction.
const ABOUT: &str = "What subscribers of channels receive: the `data` of a publication is one of the channel's messages. \
    Sessions speak the Centrifuge client protocol, as the official SDKs of Centrifugo do; requests are in the OpenAPI \
    document beside this one.";

/// Where the licence can be read.
const LICENSE: &str = "https://spdx.org/licenses/Apache-2.0.html";

/// The AsyncAPI document of the channels of the API's document.
pub(crate) fn document(api: &Value) -> Value {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for (address, about) in api["x-channels"].as_object().into_iter().flatten() {
        let key = key_of(address);
        let published = messages_of(&about["message"]);
        let own: Map<_, _> =
            published.iter().map(|name| (name.clone(), refers("components/messages", name))).collect();
        let mut channel = json!({"address": address, "description": about["description"], "messages": own});
        let parameters: Map<_, _> = parameters_of(address)
            .map(|name| (name.to_owned(), json!({"description": "The id that the channel is of."})))
            .collect();
        if !parameters.is_empty() {
            channel["parameters"] = parameters.into();
        }
        let sent = published.iter().map(|name| refers(&format!("channels/{key}/messages"), name));
        let operation = json!({
            "action": "send", "summary": format!("What is published to `{address}`"), "description": about["description"],
            "channel": refers("channels", &key), "messages": sent.collect::<Vec<_>>(),
            "security": [refers("components/securitySchemes", "token")],
        });
        operations.insert(format!("publish{}{}", key[..1].to_uppercase(), &key[1..]), operation);
        channels.insert(key, channel);
        for name in published {
            let payload = refers("components/schemas", &name);
            let message = json!({"name": name, "contentType": "application/json", "payload": payload});
            messages.insert(name, message);
        }
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": api["info"]["title"], "version": api["info"]["version"], "description": ABOUT,
            "license": {"name": api["info"]["license"]["name"], "url": LICENSE},
        },
        "defaultContentType": "application/json",
        "servers": {"node": {
            "host": "{host}", "pathname": "/connection/websocket", "protocol": "ws",
            "description": "A node, or what is before the nodes: `wss` where that has a certificate.",
            "variables": {"host": {"description": "Where the server is.", "default": "localhost:5000"}},
        }},
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": used(api),
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                "description": "The token of the API, sent in the session's `connect` command.",
            }},
        },
    })
}

/// The schemas that messages are made of.
fn used(api: &Value) -> Map<String, Value> {
    let Some(all) = api["components"]["schemas"].as_object() else { return Map::new() };
    let mut names = BTreeSet::new();
    schemas::collect(&api["x-channels"], all, &mut names);
    let used = all.iter().filter(|(name, _)| names.contains(*name));
    let mut used: Map<_, _> = used.map(|(name, one)| (name.clone(), one.clone())).collect();
    used.values_mut().for_each(set_references_apart);
    used
}

/// Puts references that stand beside a description into a list of their own: OpenAPI reads both, and AsyncAPI the reference
/// alone.
fn set_references_apart(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.len() > 1
                && let Some(reference) = fields.remove("$ref")
            {
                fields.insert("allOf".to_owned(), json!([{"$ref": reference}]));
            }
            fields.values_mut().for_each(set_references_apart);
        }
        Value::Array(items) => items.iter_mut().for_each(set_references_apart),
        _ => {}
    }
}

fn refers(to: &str, name: &str) -> Value {
    json!({"$ref": format!("#/{to}/{name}")})
}

/// The names of a channel's messages: it has one, or a choice.
fn messages_of(message: &Value) -> Vec<String> {
    let choices = message["oneOf"].as_array().map_or(std::slice::from_ref(message), Vec::as_slice);
    let names = choices.iter().filter_map(|one| one["$ref"].as_str()?.rsplit('/').next());
    names.map(str::to_owned).collect()
}

/// `conversationId` of `agent:{conversationId}`.
fn parameters_of(address: &str) -> impl Iterator<Item = &str> {
    address.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}

/// The name of a channel in the document: `eventId` for `event:{id}`.
fn key_of(address: &str) -> String {
    let mut key = String::new();
    for word in address.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
    {
        let (first, rest) = word.split_at(1);
        let first = if key.is_empty() { first.to_owned() } else { first.to_uppercase() };
        key.push_str(&first);
        key.push_str(rest);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_their_messages_and_those_their_schemas() {
        let api = json!({
            "info": {"title": "T", "version": "1", "license": {"name": "L"}},
            "x-channels": {
                "event:{id}": {"description": "One.", "message": {"$ref": "#/components/schemas/Event"}},
                "#{userId}": {"description": "Own.", "message": {"oneOf": [
                    {"$ref": "#/components/schemas/Event"}, {"$ref": "#/components/schemas/Note"},
                ]}},
            },
            "components": {"schemas": {
                "Event": {"type": "object", "properties": {
                    "host": {"$ref": "#/components/schemas/Person", "description": "Who gives it."},
                }},
                "Note": {"type": "object"}, "Person": {"type": "object"}, "Request": {"type": "object"},
            }},
        });
        let document = document(&api);
        let event = &document["channels"]["eventId"];
        assert_eq!(event["address"], "event:{id}");
        assert_eq!(event["messages"], json!({"Event": {"$ref": "#/components/messages/Event"}}));
        assert!(event["parameters"]["id"].is_object());
        assert_eq!(document["channels"]["userId"]["messages"].as_object().unwrap().len(), 2);
        let operation = &document["operations"]["publishUserId"];
        assert_eq!(operation["channel"], json!({"$ref": "#/channels/userId"}));
        assert_eq!(operation["messages"][1], json!({"$ref": "#/channels/userId/messages/Note"}));
        let schemas: Vec<_> = document["components"]["schemas"].as_object().unwrap().keys().collect();
        assert_eq!(schemas, ["Event", "Note", "Person"], "no others");
        let host = &document["components"]["schemas"]["Event"]["properties"]["host"];
        let apart =
            json!({"allOf": [{"$ref": "#/components/schemas/Person"}], "description": "Who gives it."});
        assert_eq!(*host, apart);
        assert_eq!(key_of("posts:feed"), "postsFeed");
    }
}
