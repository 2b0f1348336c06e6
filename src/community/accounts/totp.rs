//! A second factor: codes that follow from a shared secret and the time (RFC 6238), and codes for when the device is lost.
//!
//! Six digits can be guessed, so a code counts once, those of the step before and the step after count too and no others, and
//! after [`MAX_WRONG`] wrong ones within an hour the account takes none until that hour is over. Recovery codes cannot be
//! guessed, so they are taken even then: nobody keeps the owner out by guessing.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::sealed::Sealed;

/// How long a code stands on the device.
pub const STEP_SECONDS: u64 = 30;
/// Digits of a code.
pub const DIGITS: usize = 6;
/// Bytes of a secret: those of a hash (RFC 4226, 4).
pub const SECRET_BYTES: usize = 20;
/// How many recovery codes a user gets.
pub const RECOVERY_CODES: usize = 10;
/// Bytes of each.
pub const RECOVERY_BYTES: usize = 10;
/// Wrong codes of an account within [`WRONG_WINDOW`].
pub const MAX_WRONG: u32 = 10;
/// In what time.
pub const WRONG_WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// How long a secret waits for its first code.
pub const BEGUN_FOR: SignedDuration = SignedDuration::from_mins(60);
/// How long a challenge can be answered.
pub const CHALLENGE_FOR: SignedDuration = SignedDuration::from_mins(5);
/// Wrong codes that a challenge stands.
pub const MAX_ATTEMPTS: u32 = 5;
/// Challenges of a user at a time. The oldest goes when there is one more.
pub const MAX_CHALLENGES: usize = 5;

/// A second factor as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totp {
    /// The secret that the device shares.
    pub secret: Sealed,
    /// When it was made.
    pub made_at: Timestamp,
    /// When the first code of the device came. Before that it is asked for nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    /// The step of the last code that was spent: neither it nor one before it is good again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_step: Option<u64>,
    /// SHA-256 of each recovery code that was not spent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovery: Vec<String>,
    /// Wrong codes of the last while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<Wrong>,
    /// When it ends, as an admin takes it off. Whoever sends a good code before keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
}

/// Wrong codes of a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrong {
    /// How many.
    pub count: u32,
    /// Since when.
    pub since: Timestamp,
}

/// A login that waits for a code, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Until when.
    pub until: Timestamp,
    /// Wrong codes so far.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// SHA-256 of the hash of the password that opened it: another password ends it.
    pub password: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A code as somebody types it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// What a device shows.
    Shown(String),
    /// The hash of a recovery code.
    Recovery(String),
}

impl Code {
    /// Reads what was typed. Spaces and hyphens are there for the eye.
    pub fn read(text: &str) -> Self {
        let plain: String = text.chars().filter(|letter| !letter.is_whitespace() && *letter != '-').collect();
        if plain.len() == DIGITS && plain.bytes().all(|digit| digit.is_ascii_digit()) {
            Self::Shown(plain)
        } else {
            Self::Recovery(digest(&plain.to_ascii_lowercase()))
        }
    }
}

/// What a code comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is good, and is spent.
    Passed,
    /// It is not.
    Wrong,
    /// It was not looked at: too many wrong ones came. Until when.
    Held(Timestamp),
}

impl Totp {
    /// One that waits for its first code.
    pub fn begun(secret: Sealed, now: Timestamp) -> Self {
        let (confirmed_at, last_step, wrong, removed_at) = (None, None, None, None);
        Self { secret, made_at: now, confirmed_at, last_step, recovery: Vec::new(), wrong, removed_at }
    }

    /// Whether it was turned on, and not off.
    pub fn is_on(&self) -> bool {
        self.confirmed_at.is_some()
    }

    /// Whether it is asked for at a time.
    pub fn is_on_at(&self, now: Timestamp) -> bool {
        self.is_on() && self.removed_at.is_none_or(|end| now < end)
    }

    /// Whether it waits for its first code at a time.
    pub fn is_begun(&self, now: Timestamp) -> bool {
        !self.is_on() && now.duration_since(self.made_at) < BEGUN_FOR
    }

    /// Judges a code, and writes down what it spends. Without the secret, which a new secret of the node makes unreadable, only
    /// recovery codes are good.
    pub fn spend(&mut self, secret: Option<&[u8]>, code: &Code, now: Timestamp) -> Verdict {
        match code {
            Code::Recovery(hash) => {
                let before = self.recovery.len();
                self.recovery.retain(|known| known != hash);
                if self.recovery.len() == before {
                    return Verdict::Wrong;
                }
                self.removed_at = None;
                Verdict::Passed
            }
            Code::Shown(shown) => {
                let recent = self.wrong.filter(|wrong| now.duration_since(wrong.since) < WRONG_WINDOW);
                let mut wrong = recent.unwrap_or(Wrong { count: 0, since: now });
                if wrong.count >= MAX_WRONG {
                    return Verdict::Held(wrong.since.checked_add(WRONG_WINDOW).unwrap_or(Timestamp::MAX));
                }
                if let Some(step) = secret.and_then(|secret| good_step(secret, shown, now, self.last_step)) {
                    self.last_step = Some(step);
                    self.removed_at = None;
                    return Verdict::Passed;
                }
                wrong.count += 1;
                self.wrong = Some(wrong);
                Verdict::Wrong
            }
        }
    }

    /// Turns it on by the first code of the device; whether the code was good. A wrong one changes nothing.
    pub fn confirm(&mut self, secret: &[u8], code: &Code, recovery: Vec<String>, now: Timestamp) -> bool {
        let Code::Shown(shown) = code else { return false };
        let Some(step) = good_step(secret, shown, now, None) else { return false };
        self.confirmed_at = Some(now);
        self.last_step = Some(step);
        self.recovery = recovery;
        true
    }
}

impl Challenge {
    /// One that is made now, by whoever knows the password with this hash.
    pub fn new(password_hash: &str, now: Timestamp) -> Self {
        let until = now.checked_add(CHALLENGE_FOR).unwrap_or(Timestamp::MAX);
        Self { until, attempts: 0, password: digest(password_hash) }
    }

    /// Whether it can be answered at a time, while the password has this hash.
    pub fn is_good(&self, password_hash: &str, now: Timestamp) -> bool {
        self.until > now && self.attempts < MAX_ATTEMPTS && self.password == digest(password_hash)
    }
}

/// SHA-256 is enough for what nobody can guess.
fn digest(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()))
}

/// A recovery code as it is shown once, made of random bytes, and what is kept of it.
pub fn recovery_code(random: &[u8; RECOVERY_BYTES]) -> (String, String) {
    let plain = base32(random).to_ascii_lowercase();
    let hash = digest(&plain);
    let letters: Vec<_> = plain.chars().collect();
    let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
    (groups.join("-"), hash)
}

/// The step of a time.
pub fn step_of(now: Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or_default() / STEP_SECONDS
}

/// The step whose code this is, of those around a time that come after the last one that was spent.
fn good_step(secret: &[u8], shown: &str, now: Timestamp, last: Option<u64>) -> Option<u64> {
    let step = step_of(now);
    let mut around = step.saturating_sub(1)..=step.saturating_add(1);
    around.find(|step| {
        let is_code = verify_slices_are_equal(code_at(secret, *step).as_bytes(), shown.as_bytes()).is_ok();
        is_code && last.is_none_or(|last| *step > last)
    })
}

/// The code of a step (RFC 4226, 5.3).
pub fn code_at(secret: &[u8], step: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let hash = tag.as_ref();
    let offset = usize::from(hash.last().copied().unwrap_or_default() & 0x0f);
    let four = hash.iter().skip(offset).take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    format!("{:06}", (four & 0x7fff_ffff) % 1_000_000)
}

/// Bytes as apps for codes read them (RFC 4648, 6), without padding.
pub fn base32(bytes: &[u8]) -> String {
    const LETTERS: [char; 32] = [
        'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q', 'R', 'S', 'T',
        'U', 'V', 'W', 'X', 'Y', 'Z', '2', '3', '4', '5', '6', '7',
    ];
    let letter = |five: u32| LETTERS[(five & 31) as usize];
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut held, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        held = ((held & 0xff) << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(letter(held >> bits));
        }
    }
    if bits > 0 {
        text.push(letter(held << (5 - bits)));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn code(second: i64) -> Code {
        Code::Shown(code_at(SECRET, step_of(at(second))))
    }

    fn totp() -> Totp {
        let sealed = Sealed { nonce: String::new(), text: String::new() };
        let mut totp = Totp::begun(sealed, at(0));
        let recovery = vec![recovery_code(&[1; RECOVERY_BYTES]).1, recovery_code(&[2; RECOVERY_BYTES]).1];
        assert!(totp.confirm(SECRET, &code(0), recovery, at(0)));
        totp
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        // RFC 6238, appendix B: the last six digits.
        for (second, shown) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_at(SECRET, step_of(at(second))), shown, "{second}");
        }
    }

    #[test]
    fn secrets_are_written_as_apps_read_them() {
        // RFC 4648, section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_code_is_good_once_and_for_a_step_around_it() {
        let mut one = totp();
        assert_eq!(one.spend(Some(SECRET), &code(0), at(10)), Verdict::Wrong, "it turned the factor on");
        assert_eq!(one.spend(Some(SECRET), &code(60), at(60)), Verdict::Passed);
        assert_eq!(one.spend(Some(SECRET), &code(60), at(61)), Verdict::Wrong, "spent");
        assert_eq!(one.spend(Some(SECRET), &code(30), at(61)), Verdict::Wrong, "older than what was spent");
        assert_eq!(one.spend(Some(SECRET), &code(90), at(60)), Verdict::Passed, "a clock that is ahead");
        assert_eq!(one.spend(Some(SECRET), &code(120), at(180)), Verdict::Wrong, "too old");
        assert_eq!(one.spend(Some(SECRET), &code(150), at(209)), Verdict::Passed, "a clock that is behind");
        assert_eq!(one.spend(None, &code(300), at(300)), Verdict::Wrong, "no secret, no code");
    }

    #[test]
    fn what_an_admin_takes_off_ends_at_its_time_unless_a_good_code_comes() {
        let mut one = totp();
        one.removed_at = Some(at(100));
        assert!(one.is_on_at(at(99)) && !one.is_on_at(at(100)));
        let mut kept = one.clone();
        assert_eq!(kept.spend(Some(SECRET), &code(300), at(60)), Verdict::Wrong);
        assert_eq!(kept.removed_at, one.removed_at, "a wrong one keeps nothing");
        assert_eq!(kept.spend(Some(SECRET), &code(60), at(60)), Verdict::Passed);
        assert!(kept.is_on_at(at(1_000)));
        let recovery = Code::Recovery(recovery_code(&[1; RECOVERY_BYTES]).1);
        assert_eq!(one.spend(None, &recovery, at(60)), Verdict::Passed);
        assert!(one.is_on_at(at(1_000)));
    }

    #[test]
    fn guessing_is_held_up_for_codes_and_not_for_recovery() {
        let mut one = totp();
        let guess = Code::Shown("000000".to_owned());
        let start = 1_000_000;
        for second in 0..i64::from(MAX_WRONG) {
            assert_eq!(one.spend(Some(b"another secret"), &guess, at(start + second)), Verdict::Wrong);
        }
        let until = at(start) + WRONG_WINDOW;
        let later = start + 1800;
        assert_eq!(one.spend(Some(SECRET), &code(later), at(later)), Verdict::Held(until));
        let (shown, _) = recovery_code(&[1; RECOVERY_BYTES]);
        let recovery = Code::read(&format!(" {} ", shown.to_uppercase()));
        assert_eq!(one.spend(None, &recovery, at(later)), Verdict::Passed);
        assert_eq!(one.spend(None, &recovery, at(later)), Verdict::Wrong, "spent");
        let over = until.as_second();
        assert_eq!(one.spend(Some(SECRET), &code(over), at(over)), Verdict::Passed);
    }

    #[test]
    fn what_is_typed_is_read_as_it_is_meant() {
        assert_eq!(Code::read("287 082"), Code::Shown("287082".to_owned()));
        let (shown, hash) = recovery_code(&[7; RECOVERY_BYTES]);
        assert_eq!(shown.len(), 19, "{shown}");
        assert_eq!(Code::read(&shown), Code::Recovery(hash));
        assert!(matches!(Code::read("28708"), Code::Recovery(_)));
    }

    #[test]
    fn a_challenge_ends_with_its_time_its_attempts_and_the_password() {
        let challenge = Challenge::new("hash", at(0));
        assert!(challenge.is_good("hash", at(299)));
        assert!(!challenge.is_good("hash", at(300)));
        assert!(!challenge.is_good("another hash", at(1)));
        assert!(!Challenge { attempts: MAX_ATTEMPTS, ..challenge }.is_good("hash", at(1)));
    }

    proptest! {
        /// Whatever comes in whatever order: no code passes twice, and no more are looked at within an hour than may be.
        #[test]
        fn no_code_passes_twice(tries in prop::collection::vec((0_i64..40, -2_i64..3, any::<bool>()), 1..80)) {
            let (mut one, mut second, mut passed, mut wrong) = (totp(), 1_000_000, Vec::new(), Vec::new());
            for (pause, shift, is_guess) in tries {
                second += pause;
                let shown = if is_guess { "nothing".to_owned() } else { code_at(SECRET, step_of(at(second + shift * 30))) };
                match one.spend(Some(SECRET), &Code::Shown(shown), at(second)) {
                    Verdict::Passed => {
                        prop_assert!(!is_guess && (-1..=1).contains(&shift));
                        let step = step_of(at(second + shift * 30));
                        prop_assert!(passed.last().is_none_or(|last| step > *last), "{step} after {passed:?}");
                        passed.push(step);
                    }
                    Verdict::Wrong => wrong.push(second),
                    Verdict::Held(until) => prop_assert!(until > at(second)),
                }
            }
            let since = one.wrong.map_or(i64::MAX, |wrong| wrong.since.as_second());
            prop_assert!(wrong.iter().filter(|second| **second >= since).count() <= MAX_WRONG as usize);
        }
    }
}
