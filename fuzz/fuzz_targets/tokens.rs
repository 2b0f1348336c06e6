//! A client's token. None that this run makes up is signed, so none may be good.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use futures_util::FutureExt as _;
use libfuzzer_sys::fuzz_target;
use mundotango_gateway::tokens::Tokens;

static TOKENS: LazyLock<Tokens> =
    LazyLock::new(|| Tokens::new(b"a secret that no input knows, of 32+", Duration::from_secs(60)));

fuzz_target!(|token: &str| {
    let outcome = TOKENS.verify(token).now_or_never().expect("without a key set nothing is waited for");
    assert!(outcome.is_err(), "a forged token was taken");
});
