//! Which traces are recorded: a share of all, chosen by chance at the root, and all of what an operator asked for.
//!
//! The choice is made once. What comes after the root, on any node and in any job, finds a context or none.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Timestamp;
use parking_lot::RwLock;

/// The random bits of a trace's id by which is chosen, as the OpenTelemetry specification's probability sampling has them.
const RANDOM_BITS: u32 = 56;
/// One more than the greatest value of these bits.
const ALL: u64 = 1 << RANDOM_BITS;

/// Whether a root has anything to decide. While no trace can be recorded this is all that a root looks at.
static MAY_BE: AtomicBool = AtomicBool::new(false);
/// A trace is recorded whose random bits are below this.
static BELOW: AtomicU64 = AtomicU64::new(0);
static ALWAYS: RwLock<Option<Always>> = RwLock::new(None);
/// Whether there are users in it.
static NAMES_USERS: AtomicBool = AtomicBool::new(false);

/// What an operator can ask to be traced always.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// All commands and requests of a user.
    User(String),
    /// All publications into a channel, and commands about it.
    Channel(String),
    /// All commands of a name, such as `subscribe`, or requests of a route, such as `POST /api/posts`.
    Command(String),
}

/// What is traced always, each until a time.
pub type Always = HashMap<Target, Timestamp>;

/// What a command is called. It is put together only where that counts.
#[derive(Clone, Copy, Debug)]
pub enum Called<'a> {
    /// A command of sockets.
    Name(&'a str),
    /// A request: its method and the template of its route.
    Route(&'a str, &'a str),
}

impl fmt::Display for Called<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::Route(method, path) => write!(formatter, "{method} {path}"),
        }
    }
}

/// What a root knows of the work that begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// Who asked for it.
    pub user: Option<&'a str>,
    /// The channel that it is about.
    pub channel: Option<&'a str>,
    /// The command's or the route's name.
    pub command: Option<Called<'a>>,
}

impl About<'_> {
    fn is_among(&self, always: &Always, now: Timestamp) -> bool {
        let is_there = |target: Target| always.get(&target).is_some_and(|until| *until > now);
        let targets = [
            self.user.map(|user| Target::User(user.to_owned())),
            self.channel.map(|channel| Target::Channel(channel.to_owned())),
            self.command.map(|command| Target::Command(command.to_string())),
        ];
        targets.into_iter().flatten().any(is_there)
    }
}

/// Sets the share of all traces that is recorded, from 0 to 1.
pub(super) fn set_ratio(ratio: f64) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2^56")]
    BELOW.store((ratio.clamp(0.0, 1.0) * ALL as f64) as u64, Ordering::Relaxed);
    look();
}

/// Replaces the list of what is traced always.
pub fn choose_always(always: Always) {
    let names_users = always.keys().any(|target| matches!(target, Target::User(_)));
    NAMES_USERS.store(names_users, Ordering::Relaxed);
    *ALWAYS.write() = (!always.is_empty()).then_some(always);
    look();
}

/// Whether a root should know its user, although finding that out costs something.
pub fn names_users() -> bool {
    NAMES_USERS.load(Ordering::Relaxed)
}

fn look() {
    let may_be = BELOW.load(Ordering::Relaxed) > 0 || ALWAYS.read().is_some();
    MAY_BE.store(may_be, Ordering::Relaxed);
}

/// Whether any trace may be recorded at all.
pub(super) fn may_be() -> bool {
    MAY_BE.load(Ordering::Relaxed)
}

/// Whether any of this is traced always.
pub(super) fn is_always(about: About<'_>) -> bool {
    ALWAYS.read().as_ref().is_some_and(|always| about.is_among(always, Timestamp::now()))
}

/// Decides whether the trace with this id is recorded.
pub(super) fn is_chosen(trace: [u8; 16], about: About<'_>) -> bool {
    is_below(trace, BELOW.load(Ordering::Relaxed)) || is_always(about)
}

fn is_below(trace: [u8; 16], below: u64) -> bool {
    u128::from_be_bytes(trace) % u128::from(ALL) < u128::from(below)
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    #[test]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2^56")]
    fn about_as_many_are_chosen_as_the_ratio_says() {
        let chosen = |ratio: f64| {
            let below = (ratio * ALL as f64) as u64;
            (0..10_000).filter(|_| is_below(rand::random(), below)).count()
        };
        assert_eq!((chosen(0.0), chosen(1.0)), (0, 10_000));
        // Six standard deviations of 10,000 tries.
        let tenth = chosen(0.1);
        assert!((820..=1180).contains(&tenth), "{tenth}");
    }

    #[test]
    fn what_was_asked_for_is_chosen_until_its_time_is_over() {
        let now = Timestamp::now();
        let later = now + 10.minutes();
        let always = Always::from([
            (Target::User("ada".to_owned()), later),
            (Target::Channel("posts".to_owned()), now - 1.second()),
            (Target::Command("subscribe".to_owned()), later),
            (Target::Command("GET /api/posts/{id}".to_owned()), later),
        ]);
        let of = |user, channel, command: Option<&'static str>| {
            About { user, channel, command: command.map(Called::Name) }.is_among(&always, now)
        };
        assert!(of(Some("ada"), None, None));
        assert!(of(Some("bob"), None, Some("subscribe")));
        assert!(!of(Some("bob"), Some("posts"), Some("publish")), "its time is over");
        assert!(!of(Some("posts"), Some("ada"), Some("ada")), "a name is of one kind");
        assert!(!of(None, None, None));
        let route = |path| About { command: Some(Called::Route("GET", path)), ..About::default() };
        assert!(
            route("/api/posts/{id}").is_among(&always, now) && !route("/api/posts").is_among(&always, now)
        );
    }
}
