//! The kinds of messages, a closed list so that an entry holds one in a byte.

macro_rules! kinds {
    ($($(#[$attribute:meta])* $kind:ident: $actor:literal $name:literal;)*) => {
        /// A kind of message, by the kind of the actor that handles it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum MessageKind {
            $($(#[$attribute])* $kind,)*
        }

        impl MessageKind {
            /// All kinds, each at the place of its number.
            const ALL: &[Self] = &[$($(#[$attribute])* Self::$kind,)*];

            /// The kind of actor that handles it, and its name.
            pub(crate) fn names(self) -> (&'static str, &'static str) {
                match self {
                    $($(#[$attribute])* Self::$kind => ($actor, $name),)*
                }
            }
        }
    };
}

kinds! {
    // Commands of a session's client.
    Connect: "session" "connect";
    Subscribe: "session" "subscribe";
    Unsubscribe: "session" "unsubscribe";
    Publish: "session" "publish";
    Presence: "session" "presence";
    PresenceStats: "session" "presence_stats";
    History: "session" "history";
    Refresh: "session" "refresh";
    SubRefresh: "session" "sub_refresh";
    // The command that begins a call; the call itself is a `Call`.
    Rpc: "session" "rpc";
    // A pong, or a command that is none.
    Nothing: "session" "nothing";
    // A call of the application, which runs beside its session.
    Call: "session" "call";
    // Messages of others to a session.
    ToldDisconnect: "session" "told_disconnect";
    ToldSubscribe: "session" "told_subscribe";
    ToldUnsubscribe: "session" "told_unsubscribe";
    ToldRefresh: "session" "told_refresh";
    ToldMessage: "session" "told_message";
    ToldLoss: "session" "told_loss";
    // Messages to a channel.
    Deliver: "channel" "deliver";
    FromNode: "channel" "from_node";
    // The write of all publications that were taken together into the subscribers' outboxes.
    FanOut: "channel" "fan_out";
    TakeIn: "channel" "subscribe";
    TakeOut: "channel" "unsubscribe";
    GiveBack: "channel" "give_back";
    UpdateInfo: "channel" "update_info";
    LookAtHistory: "channel" "look_at_history";
    CheckSoon: "channel" "check_soon";
    // Messages to an actor that exists once.
    Ask: "owned" "ask";
    AskFromNode: "owned" "ask_from_node";
    OwnWork: "owned" "own_work";
    // Of a keeper.
    Tick: "keeper" "tick";
    #[cfg(feature = "test-hooks")]
    BreakSession: "session" "test";
    #[cfg(feature = "test-hooks")]
    BreakChannel: "channel" "test";
    #[cfg(feature = "test-hooks")]
    BreakKeeper: "keeper" "test";
}

impl MessageKind {
    pub(super) fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// A client's command by the name that the protocol gives it.
    pub(crate) fn command(name: &str) -> Self {
        let command = Self::ALL.iter().take_while(|kind| **kind != Self::Call);
        command.copied().find(|kind| kind.names().1 == name).unwrap_or(Self::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_found_by_its_number_and_commands_by_their_name() {
        for kind in MessageKind::ALL {
            assert_eq!(MessageKind::of_number(kind.number()), Some(*kind));
        }
        assert_eq!(MessageKind::of_number(u8::MAX), None);
        assert_eq!(MessageKind::command("sub_refresh"), MessageKind::SubRefresh);
        assert_eq!(MessageKind::command("call"), MessageKind::Nothing, "no command");
    }
}
