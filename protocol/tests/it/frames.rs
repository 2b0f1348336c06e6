//! Round trips of arbitrary messages in both encodings, and arbitrary bytes.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use mundotango_protocol::{
    ClientInfo, Command, ConnectRequest, ConnectResult, Encoding, ErrorReply, FrameError, HistoryRequest,
    HistoryResult, Join, PresenceResult, Publication, PublishRequest, Push, Reply, RpcRequest,
    StreamPosition, SubscribeRequest, SubscribeResult, frame_protobuf,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;

/// JSON texts as clients send them: any value, compact or with spaces.
fn json() -> impl Strategy<Value = Bytes> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        ".*".prop_map(serde_json::Value::from),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            btree_map(".*", inner, 0..4).prop_map(serde_json::Value::from_iter),
        ]
    });
    (value, any::<bool>()).prop_map(|(value, spaced)| {
        let text = value.to_string();
        Bytes::from(if spaced { format!("[ {text} ]") } else { text })
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
    (".*", ".*", any::<bool>(), position(), json(), any::<[bool; 3]>(), any::<i64>()).prop_map(
        |(channel, token, recover, at, data, [positioned, recoverable, join_leave], flag)| SubscribeRequest {
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
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let connect =
        (".*", json(), btree_map(".*", subscribe(), 0..3)).prop_map(|(token, data, subs)| Command {
            connect: Some(ConnectRequest { token, data, subs, ..ConnectRequest::default() }),
            ..Command::default()
        });
    let subscribe =
        subscribe().prop_map(|subscribe| Command { subscribe: Some(subscribe), ..Command::default() });
    let publish = (".*", json()).prop_map(|(channel, data)| Command {
        publish: Some(PublishRequest { channel, data }),
        ..Command::default()
    });
    let history = (".*", any::<i32>(), option::of(position()), any::<bool>()).prop_map(
        |(channel, limit, since, reverse)| Command {
            history: Some(HistoryRequest { channel, limit, since, reverse }),
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

proptest! {
    #[test]
    fn commands_come_back_from_json(commands in vec(command(), 1..4)) {
        let lines: Vec<_> = commands.iter().map(|command| serde_json::to_string(command).unwrap()).collect();
        let decoded = Encoding::Json.decode_commands(Bytes::from(lines.join("\n"))).unwrap();
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
    fn replies_come_back_from_json(reply in reply()) {
        let bytes = Encoding::Json.encode_reply(&reply).unwrap();
        prop_assert!(!bytes.contains(&b'\n'), "a line break would end the message for the client");
        prop_assert_eq!(serde_json::from_slice::<Reply>(&bytes).unwrap(), reply);
    }

    #[test]
    fn replies_come_back_from_protobuf(reply in reply()) {
        let bytes = frame_protobuf::encode_reply(&reply);
        prop_assert_eq!(Reply::decode_length_delimited(bytes).unwrap(), reply);
    }

    #[test]
    fn the_encodings_agree(command in command()) {
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

#[test]
fn ids_of_commands_keep_their_place() {
    let reply = Reply { presence: Some(PresenceResult { presence: BTreeMap::new() }), ..Reply::default() };
    assert_eq!(Encoding::Json.encode_reply(&reply).unwrap(), r#"{"presence":{"presence":{}}}"#);
}
