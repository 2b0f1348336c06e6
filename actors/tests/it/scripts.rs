//! Any script of commands, in both encodings, leaves sessions and channels of one mind.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::script::play;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_script_leaves_clients_and_channels_of_one_mind(script in vec(any::<u8>(), 0..1500)) {
        play(&script);
    }
}
