//! A client's JSON frame: commands or an error. What was read can be written and read again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mundotango_protocol::{Encoding, Filter};

fuzz_target!(|frame: &[u8]| {
    let Ok(commands) = Encoding::Json.decode_commands(Bytes::copy_from_slice(frame)) else { return };
    for command in commands {
        if let Some(filter) = command.subscribe.as_ref().and_then(|subscribe| subscribe.tf.as_ref())
            && let Ok(filter) = Filter::new(filter)
        {
            filter.matches(&[("key".to_owned(), "value".to_owned())].into());
        }
        let mut frame = Vec::new();
        mundotango_fuzz::encode(&command, &mut frame);
        let again = Encoding::Protobuf.decode_commands(Bytes::from(frame)).expect("it was just written");
        assert_eq!(again, [command]);
    }
});
