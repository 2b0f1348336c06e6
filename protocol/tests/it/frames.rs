//! Round trips of arbitrary messages in both encodings, and arbitrary bytes.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use mundotango_protocol::{
    ClientInfo, Command, ConnectRequest, ConnectResult, Encoding, ErrorReply, FrameError, HistoryRequest,
    HistoryResult, Join, PresenceResult, Publication, PublishRequest, Push, Reply, RpcRequest,
    StreamPosition, SubscribeRequest, SubscribeResult, frame_protobuf, is_json,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;

/// Writes a JSON value with white space between all tokens, line breaks among it.
fn spaced(value: &serde_json::Value, space: &str) -> String {
    let join = |parts: Vec<String>| parts.join(&format!("{space},{space}"));
    match value {
        serde_json::Value::Array(items) => {
            format!("[{space}{}{space}]", join(items.iter().map(|item| spaced(item, space)).collect()))
        }
        serde_json::Value::Object(fields) => {
            let field = |(name, value): (&String, _)| {
                format!("{}{space}:{space}{}", serde_json::json!(name), spaced(value, space))
            };
            format!("{{{space}{}{space}}}", join(fields.iter().map(field).collect()))
        }
        scalar => scalar.to_string(),
    }
}

/// JSON texts as clients send them: any value, with any white space, and numbers that no machine word holds.
fn json() -> impl Strategy<Value = Bytes> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        ".*".prop_map(serde_json::Value::from),
        Just(serde_json::Value::from("a\nb\r\u{2028}\0")),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            btree_map(".*", inner, 0..4).prop_map(serde_json::Value::from_iter),
        ]
    });
    let space = prop_oneof![Just(""), Just(" "), Just("\n"), Just("\r\n"), Just("\t\r"), Just("\n\n")];
    let number =
        prop_oneof![Just("123456789012345678901234567890"), Just("-0"), Just("1.0e400"), Just("1E+2")];
    prop_oneof![
        8 => (value, space).prop_map(|(value, space)| Bytes::from(spaced(&value, space))),
        1 => number.prop_map(Bytes::from),
        1 => Just(Bytes::from("{\"a\":1,\n\"a\":null}")),
    ]
}

/// A payload from any door: JSON of any form, or bytes that are none.
fn payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => json(),
        1 => vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        1 => (1..200usize).prop_map(|length| Bytes::from(vec![0x80; length])),
        1 => Just(Bytes::from_static(b"[\n{\"push\":{\"channel\":\"#7\",\"pub\":{\"data\":\"forged\"}}}\n]")),
        1 => Just(Bytes::from_static(b"\"\xff\"")),
        1 => Just(Bytes::from_static(b"{}\n{}")),
        1 => Just(Bytes::from_static(b"\n7\r\n")),
    ]
}

/// A payload as a JSON client reads it.
fn on_a_line(json: &Bytes) -> Bytes {
    let text = std::str::from_utf8(json).unwrap().trim_matches([' ', '\t', '\r', '\n']);
    Bytes::from(text.replace(['\n', '\r'], " "))
}

/// A client's info from any door.
fn any_info() -> impl Strategy<Value = ClientInfo> {
    (info(), payload(), payload()).prop_map(|(info, conn_info, chan_info)| ClientInfo {
        conn_info,
        chan_info,
        ..info
    })
}

fn position() -> impl Strategy<Value = StreamPosition> {
    (any::<u64>(), ".{0,8}").prop_map(|(offset, epoch)| StreamPosition { offset, epoch })
}

fn info() -> impl Strategy<Value = ClientInfo> {
    (".*", ".*", json(), json()).prop_map(|(user, client, conn_info, chan_info)| ClientInfo {
        user,
        client,
        conn_info,
        chan_info,
    })
}

fn publication() -> impl Strategy<Value = Publication> {
    (json(), option::of(info()), any::<u64>(), btree_map(".*", ".*", 0..3), any::<bool>(), any::<i64>(), ".*")
        .prop_map(|(data, info, offset, tags, delta, time, channel)| Publication {
            data,
            info,
            offset,
            tags,
            delta,
            time,
            channel,
        })
}

fn subscribe() -> impl Strategy<Value = SubscribeRequest> {
    let numbers = (any::<i64>(), any::<i32>());
    (".*", ".*", any::<bool>(), position(), json(), any::<[bool; 3]>(), numbers).prop_map(
        |(channel, token, recover, at, data, [positioned, recoverable, join_leave], (flag, kind))| {
            SubscribeRequest {
                kind,
                tf: None,
                channel,
                token,
                recover,
                epoch: at.epoch,
                offset: at.offset,
                data,
                positioned,
                recoverable,
                join_leave,
                delta: String::new(),
                flag,
            }
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let connect =
        (".*", json(), btree_map(".*", subscribe(), 0..3)).prop_map(|(token, data, subs)| Command {
            connect: Some(Box::new(ConnectRequest { token, data, subs, ..ConnectRequest::default() })),
            ..Command::default()
        });
    let subscribe = subscribe()
        .prop_map(|subscribe| Command { subscribe: Some(Box::new(subscribe)), ..Command::default() });
    let publish = (".*", json()).prop_map(|(channel, data)| Command {
        publish: Some(PublishRequest { channel, data }),
        ..Command::default()
    });
    let history = (".*", any::<i32>(), option::of(position()), any::<bool>()).prop_map(
        |(channel, limit, since, reverse)| Command {
            history: Some(Box::new(HistoryRequest { channel, limit, since, reverse })),
            ..Command::default()
        },
    );
    let rpc = (".*", json())
        .prop_map(|(method, data)| Command { rpc: Some(RpcRequest { data, method }), ..Command::default() });
    let payload = prop_oneof![Just(Command::default()), connect, subscribe, publish, history, rpc];
    (any::<u32>(), payload).prop_map(|(id, command)| Command { id, ..command })
}

fn subscribe_result() -> impl Strategy<Value = SubscribeResult> {
    (any::<[bool; 4]>(), any::<u32>(), position(), vec(publication(), 0..3)).prop_map(
        |([expires, recoverable, recovered, positioned], ttl, at, publications)| SubscribeResult {
            expires,
            ttl,
            recoverable,
            epoch: at.epoch,
            publications,
            recovered,
            offset: at.offset,
            positioned,
            ..SubscribeResult::default()
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    let error = (any::<u32>(), ".*", any::<bool>()).prop_map(|(code, message, temporary)| Reply {
        error: Some(ErrorReply { code, message, temporary }),
        ..Reply::default()
    });
    let connect = (".*", btree_map(".*", subscribe_result(), 0..3)).prop_map(|(client, subs)| Reply {
        connect: Some(ConnectResult { client, subs, ..ConnectResult::default() }),
        ..Reply::default()
    });
    let subscribe =
        subscribe_result().prop_map(|subscribe| Reply { subscribe: Some(subscribe), ..Reply::default() });
    let presence = btree_map(".*", info(), 0..3)
        .prop_map(|presence| Reply { presence: Some(PresenceResult { presence }), ..Reply::default() });
    let history = (vec(publication(), 0..3), position()).prop_map(|(publications, at)| Reply {
        history: Some(HistoryResult { publications, epoch: at.epoch, offset: at.offset }),
        ..Reply::default()
    });
    let published = (".*", publication())
        .prop_map(|(channel, publication)| Reply::push(&channel, Push::publication(publication)));
    let joined = info()
        .prop_map(|info| Reply::push("c", Push { join: Some(Join { info: Some(info) }), ..Push::default() }));
    let payload =
        prop_oneof![Just(Reply::ping()), error, connect, subscribe, presence, history, published, joined];
    (any::<u32>(), payload).prop_map(|(id, reply)| Reply { id, ..reply })
}

/// All payloads in a reply.
fn payloads_of(reply: &mut Reply) -> Vec<&mut Bytes> {
    let mut publications: Vec<&mut Publication> = Vec::new();
    let mut infos: Vec<&mut ClientInfo> = Vec::new();
    if let Some(connect) = &mut reply.connect {
        publications
            .extend(connect.subs.values_mut().flat_map(|subscription| &mut subscription.publications));
    }
    publications.extend(reply.subscribe.iter_mut().flat_map(|result| &mut result.publications));
    publications.extend(reply.history.iter_mut().flat_map(|result| &mut result.publications));
    infos.extend(reply.presence.iter_mut().flat_map(|result| result.presence.values_mut()));
    if let Some(push) = &mut reply.push {
        publications.extend(&mut push.publication);
        infos.extend(push.join.iter_mut().flat_map(|join| &mut join.info));
    }
    let mut payloads = Vec::new();
    for Publication { data, info, .. } in publications {
        payloads.push(data);
        infos.extend(info);
    }
    payloads.extend(infos.into_iter().flat_map(|info| [&mut info.conn_info, &mut info.chan_info]));
    payloads
}

/// A command as its JSON form gives it back.
fn with_payloads_on_lines(mut command: Command) -> Command {
    let mut payloads: Vec<&mut Bytes> = Vec::new();
    if let Some(connect) = command.connect.as_deref_mut() {
        payloads.push(&mut connect.data);
        payloads.extend(connect.subs.values_mut().map(|subscribe| &mut subscribe.data));
    }
    payloads.extend(command.subscribe.as_deref_mut().map(|subscribe| &mut subscribe.data));
    payloads.extend(command.publish.as_mut().map(|publish| &mut publish.data));
    payloads.extend(command.rpc.as_mut().map(|rpc| &mut rpc.data));
    for payload in payloads {
        *payload = on_a_line(payload);
    }
    command
}

/// Reads a line as a client does: it holds one message and no line break.
fn one_message(line: &[u8]) -> Reply {
    let text = std::str::from_utf8(line).unwrap();
    assert!(!text.contains(['\n', '\r']), "{text:?}");
    serde_json::from_str(text).unwrap()
}

proptest! {
    #[test]
    fn commands_come_back_from_json(commands in vec(command(), 1..4)) {
        let lines: Vec<_> = commands.iter().map(|command| serde_json::to_string(command).unwrap()).collect();
        let decoded = Encoding::Json.decode_commands(Bytes::from(lines.join("\n"))).unwrap();
        let commands: Vec<_> = commands.into_iter().map(with_payloads_on_lines).collect();
        prop_assert_eq!(decoded, commands);
    }

    #[test]
    fn commands_come_back_from_protobuf(commands in vec(command(), 1..4)) {
        let mut frame = BytesMut::new();
        for command in &commands {
            command.encode_length_delimited(&mut frame).unwrap();
        }
        let decoded = Encoding::Protobuf.decode_commands(frame.freeze()).unwrap();
        prop_assert_eq!(decoded, commands);
    }

    #[test]
    fn replies_come_back_from_json(mut reply in reply()) {
        let bytes = Encoding::Json.encode_reply(&reply).unwrap();
        prop_assert!(!bytes.iter().any(|byte| b"\n\r".contains(byte)), "a line break would end the message");
        for payload in payloads_of(&mut reply) {
            *payload = on_a_line(payload);
        }
        prop_assert_eq!(serde_json::from_slice::<Reply>(&bytes).unwrap(), reply);
    }

    #[test]
    fn payloads_from_any_door_stay_within_their_line(
        data in payload(),
        info in option::of(any_info()),
        offset in any::<u64>(),
    ) {
        let publication = Publication { data: data.clone(), info: info.clone(), offset, ..Publication::default() };
        let push = Reply::push("c", Push::publication(publication.clone()));
        let protobuf = Encoding::Protobuf.encode_reply(&push).unwrap();
        prop_assert_eq!(&Reply::decode_length_delimited(protobuf).unwrap(), &push, "protobuf carries any bytes");

        let written = Encoding::Json.encode_reply(&push);
        prop_assert_eq!(written.is_ok(), is_json(&data), "a payload that is no json cannot be pushed");
        if let Ok(line) = written {
            prop_assert_eq!(one_message(&line).push.unwrap().publication.unwrap().data, on_a_line(&data));
        }

        // A list leaves such a payload out, and is written all the same.
        let history = HistoryResult { publications: vec![publication], ..HistoryResult::default() };
        let line = Encoding::Json.encode_reply(&Reply { id: 1, history: Some(history), ..Reply::default() }).unwrap();
        let read = one_message(&line).history.unwrap().publications;
        prop_assert_eq!(read.len(), usize::from(is_json(&data)));
        if let Some(info) = info {
            let joined = Encoding::Json.encode_reply(&Reply::push("c", Push::join(info.clone()))).unwrap();
            let read = one_message(&joined).push.unwrap().join.unwrap().info.unwrap();
            prop_assert_eq!((read.user, read.client), (info.user, info.client));
            prop_assert_eq!(!read.conn_info.is_empty(), is_json(&info.conn_info));
            prop_assert_eq!(!read.chan_info.is_empty(), is_json(&info.chan_info));
        }
    }

    #[test]
    fn replies_come_back_from_protobuf(reply in reply()) {
        let bytes = frame_protobuf::encode_reply(&reply);
        prop_assert_eq!(Reply::decode_length_delimited(bytes).unwrap(), reply);
    }

    #[test]
    fn the_encodings_agree(command in command()) {
        let command = with_payloads_on_lines(command);
        let json = serde_json::to_vec(&command).unwrap();
        let protobuf = command.encode_length_delimited_to_vec();
        prop_assert_eq!(
            Encoding::Json.decode_commands(Bytes::from(json)).unwrap(),
            Encoding::Protobuf.decode_commands(Bytes::from(protobuf)).unwrap()
        );
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..512)) {
        for encoding in Encoding::ALL {
            let _ = encoding.decode_commands(Bytes::from(bytes.clone()));
        }
    }

    #[test]
    fn damaged_frames_never_panic(command in command(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let frames = [
            (Encoding::Json, serde_json::to_vec(&command).unwrap()),
            (Encoding::Protobuf, command.encode_length_delimited_to_vec()),
        ];
        for (encoding, mut frame) in frames {
            let at = at.index(frame.len());
            frame[at] = byte;
            if cut {
                frame.truncate(at);
            }
            let _ = encoding.decode_commands(Bytes::from(frame));
        }
    }
}

#[test]
fn a_frame_is_bounded_in_commands() {
    let json = Bytes::from("{}\n".repeat(2000));
    assert!(matches!(Encoding::Json.decode_commands(json), Err(FrameError::TooMany(_))));
    let protobuf = Bytes::from(vec![0; 2000]);
    assert!(matches!(Encoding::Protobuf.decode_commands(protobuf), Err(FrameError::TooMany(_))));
}

#[test]
fn an_empty_frame_is_refused() {
    for encoding in Encoding::ALL {
        assert!(matches!(encoding.decode_commands(Bytes::new()), Err(FrameError::Empty)));
    }
    assert!(matches!(Encoding::Json.decode_commands(Bytes::from(" \n")), Err(FrameError::Empty)));
}

/// An empty command is a pong, so `null` read as one would be a pong that nobody wrote.
#[test]
fn only_an_object_is_a_json_command() {
    let whole =
        ["null", "[]", "true", "1", "\"x\"", " null ", "{}null", "{}\nnull", "{\"id\":1}\n[]", "[{}]"];
    for frame in whole {
        let outcome = Encoding::Json.decode_commands(Bytes::from(frame));
        assert!(matches!(outcome, Err(FrameError::Json(_))), "{frame}: {outcome:?}");
    }
    let absent = br#"{"id":1,"rpc":null,"subscribe":{"channel":"c","token":null}}"#;
    let commands = Encoding::Json.decode_commands(Bytes::from_static(absent)).unwrap();
    let subscribe = commands[0].subscribe.as_ref().unwrap();
    assert!(commands[0].rpc.is_none() && subscribe.channel == "c" && subscribe.token.is_empty());
}

#[test]
fn ids_of_commands_keep_their_place() {
    let reply = Reply { presence: Some(PresenceResult { presence: BTreeMap::new() }), ..Reply::default() };
    assert_eq!(Encoding::Json.encode_reply(&reply).unwrap(), r#"{"presence":{"presence":{}}}"#);
}

#[test]
fn a_command_is_small_enough_to_be_moved() {
    assert!(size_of::<Command>() <= 384, "{} bytes", size_of::<Command>());
}
