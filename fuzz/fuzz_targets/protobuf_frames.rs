//! A client's Protobuf frame: commands or an error. What was read can be written and read again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mundotango_protocol::Encoding;

fuzz_target!(|frame: &[u8]| {
    let Ok(commands) = Encoding::Protobuf.decode_commands(Bytes::copy_from_slice(frame)) else { return };
    let mut frame = Vec::new();
    for command in &commands {
        mundotango_fuzz::encode(command, &mut frame);
    }
    assert_eq!(Encoding::Protobuf.decode_commands(Bytes::from(frame)).expect("it was just written"), commands);
});
