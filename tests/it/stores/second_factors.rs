//! What second factors promise, and the logins that one sees and ends.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mundotango::community::accounts::links::{Link, Purpose};
use mundotango::community::accounts::rules::Login;
use mundotango::community::accounts::sealed::SecretKey;
use mundotango::community::accounts::store::{AccountStore, NewLogin, User};
use mundotango::community::accounts::totp::{
    CHALLENGE_FOR, Code, MAX_ATTEMPTS, MAX_CHALLENGES, MAX_WRONG, RECOVERY_BYTES, Totp, code_at,
    recovery_code, step_of,
};
use mundotango::community::accounts::totp_store::{Answered, Turned};
use mundotango_gateway::tokens::Tokens;
use mundotango_protocol::new_id;
use mundotango_storage::db::Db;
use mundotango_storage::now;
use tokio::task::JoinSet;

use super::accounts::{create, login, make, user};

const SECRET: &[u8] = b"12345678901234567890";

/// Runs the suite.
pub async fn second_factors(nodes: &[Db; 2]) {
    let nodes = nodes.clone().map(AccountStore::new);
    let store = &nodes[0];
    nothing_is_asked_before_the_first_code(store).await;
    one_code_lets_one_in(&nodes).await;
    one_recovery_code_lets_one_in(&nodes).await;
    a_challenge_stands_so_many_wrong_codes(store).await;
    guessing_ends_for_an_hour(store).await;
    another_password_ends_challenges(store).await;
    what_is_turned_off_asks_no_more(store).await;
    what_an_admin_takes_off_ends_after_a_day(store).await;
    the_owner_keeps_what_an_admin_takes_off(store).await;
    renewed_recovery_codes_take_the_place_of_the_others(store).await;
    all_logins_but_one_end(store).await;
}

fn key() -> SecretKey {
    SecretKey::of(&Tokens::new(&[1; 32], Duration::from_mins(1))).unwrap()
}

fn shown(at: Timestamp) -> Code {
    Code::Shown(code_at(SECRET, step_of(at)))
}

fn wrong() -> Code {
    Code::Shown("nothing".to_owned())
}

fn recovery(number: u8) -> (Code, String) {
    let (text, hash) = recovery_code(&[number; RECOVERY_BYTES]);
    (Code::read(&text), hash)
}

async fn begin(store: &AccountStore, user: &User, at: Timestamp) -> Turned {
    let sealed = key().seal(&user.id, SECRET).unwrap();
    store.begin_totp(&user.id, Totp::begun(sealed, at)).await.unwrap()
}

async fn confirm(store: &AccountStore, user: &User, code: Code, at: Timestamp) -> Turned {
    let hashes = vec![recovery(1).1, recovery(2).1];
    store.confirm_totp(&user.id, key(), code, hashes, at).await.unwrap()
}

/// A user with a second factor, which was turned on at a time.
async fn guarded(store: &AccountStore, at: Timestamp) -> User {
    let user = user();
    create(store, &user).await.unwrap();
    assert_eq!(begin(store, &user, at).await, Turned::Done);
    assert_eq!(confirm(store, &user, shown(at), at).await, Turned::Done);
    user
}

/// The id of a challenge that the password opened.
async fn challenge(store: &AccountStore, user: &User, at: Timestamp) -> String {
    let login = Login { created_at: at, ..login(&user.id) };
    let id = login.id.clone();
    let hash = store.password(&user.id).await.unwrap();
    assert_eq!(store.create_login(login, hash).await.unwrap(), NewLogin::Challenged);
    id
}

async fn answer(store: &AccountStore, user: &User, challenge: &str, code: Code, at: Timestamp) -> Answered {
    store.answer_challenge(challenge, login(&user.id), key(), code, at).await.unwrap()
}

fn is_in(answered: &Answered) -> bool {
    matches!(answered, Answered::LoggedIn(_))
}

async fn nothing_is_asked_before_the_first_code(store: &AccountStore) {
    let at = now();
    let user = user();
    create(store, &user).await.unwrap();
    assert_eq!(confirm(store, &user, shown(at), at).await, Turned::IsOff, "nothing was begun");
    assert_eq!(begin(store, &user, at).await, Turned::Done);
    assert!(matches!(make(store, &login(&user.id)).await, NewLogin::Made(_)));
    assert_eq!(confirm(store, &user, wrong(), at).await, Turned::Wrong);
    assert_eq!(confirm(store, &user, recovery(1).0, at).await, Turned::Wrong, "none was given yet");
    let late = at + SignedDuration::from_hours(1);
    assert_eq!(confirm(store, &user, shown(late), late).await, Turned::IsOff, "begun too long ago");
    assert_eq!(confirm(store, &user, shown(at), at).await, Turned::Done);
    assert_eq!(begin(store, &user, at).await, Turned::IsOn, "no other secret takes its place");
    let id = challenge(store, &user, at).await;
    assert!(store.login(&user.id, &id).await.unwrap().is_none(), "a challenge is no login");
    assert_eq!(answer(store, &user, &id, shown(at), at).await, Answered::Wrong, "it was spent");
    assert_eq!(store.logins(&user.id).await.unwrap().len(), 1);
    let nobody = User { id: new_id(), ..user };
    assert_eq!(begin(store, &nobody, at).await, Turned::IsOff);
}

/// Of those who send one code at the same time, one gets in.
async fn one_code_lets_one_in(nodes: &[AccountStore; 2]) {
    let begun = now();
    let user = guarded(&nodes[0], begun).await;
    let at = begun + SignedDuration::from_mins(1);
    let mut racers = JoinSet::new();
    for _ in 0..MAX_CHALLENGES {
        let id = challenge(&nodes[0], &user, at).await;
        for node in nodes {
            let (node, user, id) = (node.clone(), user.clone(), id.clone());
            racers.spawn(async move { answer(&node, &user, &id, shown(at), at).await });
        }
    }
    let answers = racers.join_all().await;
    assert_eq!(answers.iter().filter(|answered| is_in(answered)).count(), 1, "{answers:?}");
    assert_eq!(nodes[0].logins(&user.id).await.unwrap().len(), 1);
}

async fn one_recovery_code_lets_one_in(nodes: &[AccountStore; 2]) {
    let at = now();
    let user = guarded(&nodes[0], at).await;
    let mut racers = JoinSet::new();
    for _ in 0..MAX_CHALLENGES {
        let id = challenge(&nodes[0], &user, at).await;
        for node in nodes {
            let (node, user, id) = (node.clone(), user.clone(), id.clone());
            racers.spawn(async move { answer(&node, &user, &id, recovery(1).0, at).await });
        }
    }
    let answers = racers.join_all().await;
    assert_eq!(answers.iter().filter(|answered| is_in(answered)).count(), 1, "{answers:?}");
    let left = nodes[1].totp(&user.id).await.unwrap().unwrap().recovery;
    assert_eq!(left, [recovery(2).1]);
}

async fn a_challenge_stands_so_many_wrong_codes(store: &AccountStore) {
    let at = now();
    let user = guarded(store, at).await;
    let later = at + SignedDuration::from_mins(1);
    let (tried, other) = (challenge(store, &user, later).await, challenge(store, &user, later).await);
    for _ in 0..MAX_ATTEMPTS {
        assert_eq!(answer(store, &user, &tried, wrong(), later).await, Answered::Wrong);
    }
    assert_eq!(answer(store, &user, &tried, shown(later), later).await, Answered::NoChallenge);
    assert!(is_in(&answer(store, &user, &other, shown(later), later).await), "the code was not spent");
    assert_eq!(answer(store, &user, &other, recovery(1).0, later).await, Answered::NoChallenge, "it is used");
    let old = challenge(store, &user, later).await;
    let late = later + CHALLENGE_FOR;
    assert_eq!(answer(store, &user, &old, shown(late), late).await, Answered::NoChallenge, "it is too old");
    assert_eq!(answer(store, &user, &new_id(), shown(late), late).await, Answered::NoChallenge);
}

async fn guessing_ends_for_an_hour(store: &AccountStore) {
    let at = now();
    let user = guarded(store, at).await;
    let later = at + SignedDuration::from_mins(1);
    for _ in 0..MAX_WRONG {
        let id = challenge(store, &user, later).await;
        assert_eq!(answer(store, &user, &id, wrong(), later).await, Answered::Wrong);
    }
    let id = challenge(store, &user, later).await;
    let held = Answered::Held(later + SignedDuration::from_hours(1));
    assert_eq!(answer(store, &user, &id, shown(later), later).await, held);
    assert!(is_in(&answer(store, &user, &id, recovery(1).0, later).await), "the owner has another way in");
    let over = later + SignedDuration::from_hours(1);
    let id = challenge(store, &user, over).await;
    assert!(is_in(&answer(store, &user, &id, shown(over), over).await));
}

async fn another_password_ends_challenges(store: &AccountStore) {
    let at = now();
    let user = guarded(store, at).await;
    let id = challenge(store, &user, at).await;
    let (purpose, link) = (Purpose::ResetPassword, new_id());
    let reset = Link::new(purpose, user.email.clone(), at);
    store.add_link(&user.id, purpose, &link, reset).await.unwrap();
    assert!(store.reset_password(&user.id, &link, "another hash".to_owned(), at).await.unwrap());
    assert_eq!(answer(store, &user, &id, recovery(1).0, at).await, Answered::NoChallenge);
    let id = challenge(store, &user, at).await;
    assert!(is_in(&answer(store, &user, &id, recovery(1).0, at).await), "mail alone does not get past it");
}

async fn what_is_turned_off_asks_no_more(store: &AccountStore) {
    let at = now();
    let user = guarded(store, at).await;
    let id = challenge(store, &user, at).await;
    let remove = async |code| store.remove_totp(&user.id, key(), code, at).await.unwrap();
    assert_eq!(remove(wrong()).await, Turned::Wrong);
    assert_eq!(remove(recovery(2).0).await, Turned::Done);
    assert_eq!(remove(recovery(1).0).await, Turned::IsOff);
    assert_eq!(answer(store, &user, &id, recovery(1).0, at).await, Answered::NoChallenge);
    assert!(matches!(make(store, &login(&user.id)).await, NewLogin::Made(_)));
}

async fn what_an_admin_takes_off_ends_after_a_day(store: &AccountStore) {
    let at = now();
    let user = guarded(store, at).await;
    let unguarded = super::accounts::user();
    create(store, &unguarded).await.unwrap();
    assert_eq!(store.take_off_totp(&unguarded.id, &new_id(), at).await.unwrap(), None);
    let ends_at = store.take_off_totp(&user.id, &new_id(), at).await.unwrap().unwrap();
    assert_eq!(ends_at, at + SignedDuration::from_hours(24));
    let later = at + SignedDuration::from_hours(1);
    let again = store.take_off_totp(&user.id, &new_id(), later).await.unwrap();
    assert_eq!(again, Some(ends_at), "asked again it takes no longer");
    assert!(store.logins(&user.id).await.unwrap().is_empty());
    // Too early, as another node's clock may be.
    store.end_totp(&user.id, ends_at - SignedDuration::from_secs(1)).await.unwrap();
    assert!(store.totp(&user.id).await.unwrap().is_some());
    let early = Login { created_at: ends_at - SignedDuration::from_secs(1), ..login(&user.id) };
    assert_eq!(make(store, &early).await, NewLogin::Challenged);
    // At its end nothing asks for a code, whether the job ran or not.
    let in_time = Login { created_at: ends_at, ..login(&user.id) };
    assert!(matches!(make(store, &in_time).await, NewLogin::Made(_)));
    store.end_totp(&user.id, ends_at).await.unwrap();
    assert!(store.totp(&user.id).await.unwrap().is_none());
}

async fn the_owner_keeps_what_an_admin_takes_off(store: &AccountStore) {
    let at = now();
    let user = guarded(store, at).await;
    let link = new_id();
    let ends_at = store.take_off_totp(&user.id, &link, at).await.unwrap().unwrap();
    assert!(!store.keep_totp(&user.id, "another", at).await.unwrap());
    assert!(!store.keep_totp(&user.id, &link, ends_at).await.unwrap(), "too late");
    assert!(store.keep_totp(&user.id, &link, at).await.unwrap());
    assert!(!store.keep_totp(&user.id, &link, at).await.unwrap(), "used");
    store.end_totp(&user.id, ends_at).await.unwrap();
    assert!(store.totp(&user.id).await.unwrap().unwrap().is_on_at(ends_at));
    // A good code keeps it as well.
    store.take_off_totp(&user.id, &new_id(), at).await.unwrap().unwrap();
    let id = challenge(store, &user, at).await;
    assert!(is_in(&answer(store, &user, &id, recovery(1).0, at).await));
    store.end_totp(&user.id, ends_at).await.unwrap();
    assert!(store.totp(&user.id).await.unwrap().unwrap().is_on_at(ends_at));
}

async fn renewed_recovery_codes_take_the_place_of_the_others(store: &AccountStore) {
    let at = now();
    let user = guarded(store, at).await;
    let renew = async |code, number| {
        store.renew_recovery(&user.id, key(), code, vec![recovery(number).1], at).await.unwrap()
    };
    assert_eq!(renew(wrong(), 7).await, Turned::Wrong);
    assert_eq!(renew(recovery(1).0, 8).await, Turned::Done);
    assert_eq!(renew(recovery(2).0, 9).await, Turned::Wrong, "one of before");
    let pass = async |code| store.pass_totp(&user.id, key(), code, at).await.unwrap();
    assert_eq!(pass(recovery(8).0).await, Turned::Done);
    assert_eq!(pass(recovery(8).0).await, Turned::Wrong, "spent");
    // It is left as it waits for its end, for the test of what is stored.
    assert!(store.take_off_totp(&user.id, &new_id(), at).await.unwrap().is_some());
}

async fn all_logins_but_one_end(store: &AccountStore) {
    let user = user();
    create(store, &user).await.unwrap();
    let logins = [login(&user.id), login(&user.id), login(&user.id)];
    for login in &logins {
        make(store, login).await;
    }
    let [first, kept, last] = logins;
    // What a refresh knows of the network takes the place of what was known; the device stays.
    let (at, later) = (kept.created_at, kept.expires_at);
    let network = Some("198.51.100.0/24");
    store.rotate_login((&user.id, &kept.id), "first", "second", at, later, network).await.unwrap();
    let ended = store.delete_other_logins(&user.id, Some(&kept.id)).await.unwrap();
    assert_eq!(ended, [first.id, last.id]);
    let left = store.logins(&user.id).await.unwrap();
    let expected = Login { network: network.map(str::to_owned), ..kept.clone().rotated("second", at, later) };
    assert_eq!(left, [expected]);
    assert!(store.delete_other_logins(&user.id, Some(&kept.id)).await.unwrap().is_empty());
    assert_eq!(store.delete_other_logins(&user.id, None).await.unwrap(), [kept.id]);
}
