//! Sessions of one engine, driven by any script: see the script's own description. The same scripts are a property test
//! of the engine, which runs with the other tests.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../actors/tests/it/script.rs"]
mod script;

fuzz_target!(|bytes: &[u8]| script::play(bytes));
