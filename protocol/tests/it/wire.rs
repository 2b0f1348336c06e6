//! The exact bytes that clients see, as observed of a server of this protocol.

use bytes::Bytes;
use mundotango_protocol::{
    ClientInfo, Encoding, ErrorCode, HistoryResult, Publication, Push, Reply, Request, SubscribeResult,
};

fn json(reply: &Reply) -> String {
    String::from_utf8(Encoding::Json.encode_reply(reply).unwrap().to_vec()).unwrap()
}

#[test]
fn the_smallest_connect_is_read() {
    let frame = Bytes::from_static(&[0x04, 0x08, 0x01, 0x22, 0x00]);
    let commands = Encoding::Protobuf.decode_commands(frame).unwrap();
    assert_eq!(commands[0].id, 1);
    assert!(matches!(commands[0].clone().into_request(), Request::Connect(_)));
    let commands = Encoding::Json.decode_commands(Bytes::from_static(br#"{"id":1,"connect":{}}"#)).unwrap();
    assert!(matches!(commands[0].clone().into_request(), Request::Connect(_)));
}

#[test]
fn a_ping_is_an_empty_reply() {
    assert_eq!(json(&Reply::ping()), "{}");
    assert_eq!(Encoding::Protobuf.encode_reply(&Reply::ping()).unwrap(), Bytes::from_static(&[0]));
}

#[test]
fn empty_fields_are_left_out_but_for_a_few() {
    let subscribe = Reply { id: 2, subscribe: Some(SubscribeResult::default()), ..Reply::default() };
    assert_eq!(json(&subscribe), r#"{"id":2,"subscribe":{}}"#);
    let history = Reply { id: 3, history: Some(HistoryResult::default()), ..Reply::default() };
    assert_eq!(json(&history), r#"{"id":3,"history":{"publications":[]}}"#);
    let join = Reply::push("c", Push::join(ClientInfo { client: "x".to_owned(), ..ClientInfo::default() }));
    assert_eq!(json(&join), r#"{"push":{"channel":"c","join":{"info":{"user":"","client":"x"}}}}"#);
}

#[test]
fn payloads_are_forwarded_as_they_came() {
    let frame =
        Bytes::from_static(br#"{"id":1,"publish":{"channel":"c","data":{ "a" :  1.0e2,"b":"\u00e9"}}}"#);
    let command = Encoding::Json.decode_commands(frame).unwrap().remove(0);
    let data = command.publish.unwrap().data;
    assert_eq!(data, r#"{ "a" :  1.0e2,"b":"\u00e9"}"#);
    let push = Reply::push("c", Push::publication(Publication { data, offset: 7, ..Publication::default() }));
    assert_eq!(
        json(&push),
        r#"{"push":{"channel":"c","pub":{"data":{ "a" :  1.0e2,"b":"\u00e9"},"offset":7}}}"#
    );
}

#[test]
fn line_breaks_in_payloads_do_not_break_frames() {
    let frame = Bytes::from_static(
        b"{\"id\":1,\"publish\":{\"channel\":\"c\",\"data\":{\r\n \"a\":\n1}}}\n{\"id\":2}",
    );
    let commands = Encoding::Json.decode_commands(frame).unwrap();
    assert_eq!(commands.len(), 2);
    let data = commands[0].publish.as_ref().unwrap().data.clone();
    let push = Reply::push("c", Push::publication(Publication { data, ..Publication::default() }));
    assert_eq!(json(&push), r#"{"push":{"channel":"c","pub":{"data":{   "a": 1}}}}"#);
}

#[test]
fn an_array_is_no_command_and_no_request() {
    for frame in [
        "[1]",
        r#"{"id":1,"subscribe":["posts:feed"]}"#,
        r#"{"id":1,"history":{"channel":"c","since":[1,"e"]}}"#,
        r#"{"id":1,"connect":{"subs":{"c":["c"]}}}"#,
        r#"{"id":1,"subscribe":{"channel":"c","tf":["","key","ex"]}}"#,
    ] {
        assert!(Encoding::Json.decode_commands(Bytes::from(frame)).is_err(), "{frame}");
    }
}

#[test]
fn null_is_an_absent_field() {
    for (nulls, absent) in [
        (
            r#"{"id":1,"connect":{"token":null,"subs":null,"name":null,"headers":null}}"#,
            r#"{"id":1,"connect":{}}"#,
        ),
        (r#"{"id":1,"connect":null,"subscribe":{"channel":"c"}}"#, r#"{"id":1,"subscribe":{"channel":"c"}}"#),
        (
            r#"{"id":1,"subscribe":{"channel":"c","token":null,"recover":null,"offset":null,"tf":null,"flag":null}}"#,
            r#"{"id":1,"subscribe":{"channel":"c"}}"#,
        ),
        (
            r#"{"id":1,"history":{"channel":"c","limit":null,"since":null,"reverse":null}}"#,
            r#"{"id":1,"history":{"channel":"c"}}"#,
        ),
        (r#"{"id":null}"#, "{}"),
    ] {
        let read = |frame: &'static str| Encoding::Json.decode_commands(Bytes::from(frame)).unwrap();
        assert_eq!(read(nulls), read(absent), "{nulls}");
    }
    let frame = r#"{"id":1,"publish":{"channel":"c","data":null}}"#;
    let command = Encoding::Json.decode_commands(Bytes::from(frame)).unwrap().remove(0);
    assert_eq!(command.publish.unwrap().data, "null", "null is a payload like any other");
}

#[test]
fn payloads_that_are_not_json_cannot_be_written_as_json() {
    let publication = Publication { data: Bytes::from_static(b"\xff\x00"), ..Publication::default() };
    let push = Reply::push("c", Push::publication(publication));
    assert!(Encoding::Json.encode_reply(&push).is_err());
    assert!(Encoding::Protobuf.encode_reply(&push).is_ok());
}

#[test]
fn the_first_payload_in_field_order_counts() {
    let frame =
        Bytes::from_static(br#"{"id":1,"publish":{"channel":"c"},"subscribe":{"channel":"c"},"unknown":1}"#);
    let command = Encoding::Json.decode_commands(frame).unwrap().remove(0);
    assert!(matches!(command.into_request(), Request::Subscribe(_)));
}

#[test]
fn wrong_types_are_refused() {
    assert!(Encoding::Json.decode_commands(Bytes::from_static(br#"{"id":"2","presence":{}}"#)).is_err());
}

#[test]
fn errors_carry_their_number() {
    let error = Reply::error(5, ErrorCode::Internal);
    assert_eq!(
        json(&error),
        r#"{"id":5,"error":{"code":100,"message":"internal server error","temporary":true}}"#
    );
}
