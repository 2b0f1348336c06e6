//! What accounts promise.

use jiff::SignedDuration;
use mundotango::community::accounts::links::{Link, Purpose};
use mundotango::community::accounts::names::{Claim, NAMES, Name};
use mundotango::community::accounts::profile::Profile;
use mundotango::community::accounts::rules::{Login, MAX_LOGINS, ROTATION_GRACE, Rotation};
use mundotango::community::accounts::store::{AccountStore, NewLogin, ProfileChange, Taken, User};
use mundotango::community::roles::Role;
use mundotango_gateway::input::Maybe;
use mundotango_protocol::new_id;
use mundotango_storage::db::{Db, Decision, Wants};
use mundotango_storage::{StoreError, now};
use tokio::task::JoinSet;

const HASH: &str = "an argon2id hash";

pub fn user() -> User {
    let id = new_id();
    User {
        email: format!("{id}@Example.com"),
        username: format!("U-{id}"),
        full_name: "Ana".to_owned(),
        role: Role::User,
        bio: None,
        city: None,
        avatar_url: None,
        profile: Profile::default(),
        is_verified: false,
        paused_since: None,
        created_at: now(),
        id,
    }
}

pub async fn create(store: &AccountStore, user: &User) -> Result<(), Taken> {
    store.create(user, HASH.to_owned()).await.unwrap()
}

/// The id of a user who was made.
async fn somebody(store: &AccountStore) -> String {
    let user = user();
    create(store, &user).await.unwrap();
    user.id
}

pub fn login(user_id: &str) -> Login {
    let now = now();
    Login {
        id: new_id(),
        user_id: user_id.to_owned(),
        token_hash: "first".to_owned(),
        previous_hash: None,
        rotated_at: None,
        created_at: now,
        expires_at: now + SignedDuration::from_hours(1),
        device: Some("Firefox on Linux".to_owned()),
        network: Some("203.0.113.0/24".to_owned()),
    }
}

/// Makes a login with the password that everybody here has.
pub async fn make(store: &AccountStore, login: &Login) -> NewLogin {
    store.create_login(login.clone(), Some(HASH.to_owned())).await.unwrap()
}

/// Runs the suite.
pub async fn accounts(nodes: &[Db; 2]) {
    let db = &nodes[0];
    let nodes = nodes.clone().map(AccountStore::new);
    let store = &nodes[0];
    finds_what_it_created(store).await;
    names_are_unique_without_case(store).await;
    one_of_many_wins_a_name(&nodes).await;
    one_of_many_who_look_alike_wins(&nodes).await;
    names_of_before_are_told_apart_from_new_ones_after_a_login(db, store).await;
    claims_of_the_dead_are_taken_over(db, store).await;
    profiles_change(store).await;
    profiles_pause(store).await;
    tokens_rotate_once(store).await;
    one_of_many_rotates(&nodes).await;
    logins_end(store).await;
    the_oldest_of_too_many_logins_ends(store).await;
    what_changes_during_a_login_is_seen_by_it(store).await;
}

/// Between the look at the password and the login, others change the user.
async fn what_changes_during_a_login_is_seen_by_it(store: &AccountStore) {
    let user = user();
    create(store, &user).await.unwrap();
    let (seen, hash) = store.credentials(&user.email).await.unwrap().unwrap();
    assert_eq!(seen.role, Role::User);
    assert!(store.set_role(&user.id, Role::Moderator, now(), Vec::new()).await.unwrap());
    let made = store.create_login(login(&user.id), hash.clone()).await.unwrap();
    let NewLogin::Made(made) = made else { panic!("{made:?}") };
    assert_eq!(made.role, Role::Moderator, "its token says the role of now");

    let link = Link::new(Purpose::ResetPassword, user.email.clone(), now());
    let id = new_id();
    store.add_link(&user.id, Purpose::ResetPassword, &id, link).await.unwrap();
    assert!(store.reset_password(&user.id, &id, "another hash".to_owned(), now()).await.unwrap());
    let late = login(&user.id);
    assert_eq!(store.create_login(late, hash).await.unwrap(), NewLogin::OtherPassword);
    assert_eq!(store.create_login(login(&user.id), None).await.unwrap(), NewLogin::OtherPassword);
    assert_eq!(store.delete_logins(&user.id).await.unwrap(), 0, "none lives on");
    let known = store.password(&user.id).await.unwrap();
    assert_eq!(known.as_deref(), Some("another hash"));
    assert!(matches!(store.create_login(login(&user.id), known).await.unwrap(), NewLogin::Made(_)));
}

async fn finds_what_it_created(store: &AccountStore) {
    let user = user();
    assert_eq!(create(store, &user).await, Ok(()));
    assert_eq!(store.user(&user.id).await.unwrap().as_ref(), Some(&user));
    let found = store.credentials(&user.email.to_uppercase()).await.unwrap();
    assert_eq!(found, Some((user.clone(), Some(HASH.to_owned()))));
    assert_eq!(store.profiles(&[new_id(), user.id.clone()]).await.unwrap(), [user]);
    assert_eq!(store.user(&new_id()).await.unwrap(), None);
    assert_eq!(store.credentials("nobody").await.unwrap(), None);
}

async fn names_are_unique_without_case(store: &AccountStore) {
    let one = user();
    create(store, &one).await.unwrap();
    let cases = [
        (one.email.to_uppercase(), user().username, Taken { email: true, username: false }),
        (user().email, one.username.to_lowercase(), Taken { email: false, username: true }),
        (one.email.clone(), one.username.clone(), Taken { email: true, username: true }),
    ];
    for (email, username, taken) in cases {
        let other = User { email, username, ..user() };
        assert_eq!(create(store, &other).await, Err(taken));
        assert_eq!(store.user(&other.id).await.unwrap(), None);
    }
}

async fn one_of_many_wins_a_name(nodes: &[AccountStore; 2]) {
    let username = user().username;
    let mut racers = JoinSet::new();
    for racer in 0..32 {
        let (store, user) = (nodes[racer % 2].clone(), User { username: username.clone(), ..user() });
        racers.spawn(async move { (create(&store, &user).await, user.id) });
    }
    let outcomes = racers.join_all().await;
    assert_eq!(outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count(), 1);
    for (outcome, id) in outcomes {
        let is_there = nodes[0].user(&id).await.unwrap().is_some();
        match outcome {
            Ok(()) => assert!(is_there),
            Err(taken) => {
                assert_eq!(taken, Taken { email: false, username: true });
                assert!(!is_there, "nothing is left of who came too late");
            }
        }
    }
}

async fn one_of_many_who_look_alike_wins(nodes: &[AccountStore; 2]) {
    let rest = user().username.to_lowercase().replace('m', "n");
    let alike = ["mila.", "MILA_", "rnlla-", "m1la.", "mi1a_", "rniIa."];
    let mut racers = JoinSet::new();
    for racer in 0..24 {
        let username = format!("{}{rest}", alike[racer % alike.len()]);
        let (store, user) = (nodes[racer % 2].clone(), User { username, ..user() });
        racers.spawn(async move { (create(&store, &user).await, user.id) });
    }
    let outcomes = racers.join_all().await;
    assert_eq!(outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count(), 1);
    for (outcome, id) in outcomes {
        assert_eq!(nodes[0].user(&id).await.unwrap().is_some(), outcome.is_ok(), "{outcome:?}");
        if let Err(taken) = outcome {
            assert_eq!(taken, Taken { email: false, username: true });
        }
    }
    let other = User { username: format!("nila.{rest}"), ..user() };
    assert_eq!(create(&nodes[0], &other).await, Ok(()), "another name");
}

/// An account of a build that told names apart by their letters alone.
async fn names_of_before_are_told_apart_from_new_ones_after_a_login(db: &Db, store: &AccountStore) {
    let rest = user().username;
    let [before, late] = ["ian-", "lan-"].map(|name| User { username: format!("{name}{rest}"), ..user() });
    create(store, &before).await.unwrap();
    Name::alike(&before.username).release(db, &before.id).await.unwrap();
    store.claim_alike(&before).await.unwrap();
    store.claim_alike(&before).await.unwrap();
    assert_eq!(create(store, &late).await, Err(Taken { email: false, username: true }));
    // Who looks like somebody already keeps the name.
    Name::alike(&before.username).release(db, &before.id).await.unwrap();
    create(store, &late).await.unwrap();
    store.claim_alike(&before).await.unwrap();
    let owner = Name::alike(&late.username).owner(db).await.unwrap();
    assert_eq!(owner.as_deref(), Some(late.id.as_str()));
}

/// A claim without a user, as a node leaves that dies between the two.
async fn claims_of_the_dead_are_taken_over(db: &Db, store: &AccountStore) {
    let one = user();
    let dead = format!("username:{}", one.username.to_lowercase());
    let left = db.change(&NAMES, &dead, Wants::head(), |part| {
        part.head = Claim { owner: Some("nobody".to_owned()), confirmed: false };
        Ok::<_, StoreError>(Decision::Write(()))
    });
    left.await.unwrap();
    assert_eq!(create(store, &one).await, Ok(()));
    let taken = Taken { email: false, username: true };
    let late = User { username: one.username, ..user() };
    assert_eq!(create(store, &late).await, Err(taken));
    // The address was given back.
    let again = User { username: user().username, ..late };
    assert_eq!(create(store, &again).await, Ok(()));
}

async fn profiles_pause(store: &AccountStore) {
    let user = user();
    create(store, &user).await.unwrap();
    assert!(!store.is_paused(&user.id).await.unwrap());
    let (since, later) = (now(), now() + SignedDuration::from_hours(1));
    for at in [since, later] {
        let paused = store.pause(&user.id, Some(at)).await.unwrap();
        assert_eq!(paused, Some(User { paused_since: Some(since), ..user.clone() }), "since the first time");
    }
    assert!(store.is_paused(&user.id).await.unwrap());
    assert_eq!(store.pause(&user.id, None).await.unwrap().as_ref(), Some(&user));
    assert!(!store.is_paused(&user.id).await.unwrap());
    assert_eq!(store.pause(&new_id(), Some(since)).await.unwrap(), None);
    store.pause(&user.id, Some(since)).await.unwrap();
}

async fn profiles_change(store: &AccountStore) {
    let user = user();
    create(store, &user).await.unwrap();
    let change = ProfileChange { city: Maybe::Value("Rosario".to_owned()), ..ProfileChange::default() };
    let changed = store.update_profile(&user.id, change).await.unwrap().unwrap();
    assert_eq!(changed, User { city: Some("Rosario".to_owned()), ..user.clone() });
    assert_eq!(store.user(&user.id).await.unwrap(), Some(changed));
    assert_eq!(store.update_profile(&new_id(), ProfileChange::default()).await.unwrap(), None);
}

async fn tokens_rotate_once(store: &AccountStore) {
    let user_id = somebody(store).await;
    let login = login(&user_id);
    let (now, later) = (login.created_at, login.expires_at + SignedDuration::from_hours(1));
    assert!(matches!(make(store, &login).await, NewLogin::Made(_)));
    let rotate = async |presented: &str, new: &str, at| {
        store.rotate_login((&user_id, &login.id), presented, new, at, later, None).await.unwrap()
    };
    let expected = login.clone().rotated("second", now, later);
    assert_eq!(rotate("first", "second", now).await, Rotation::Rotated(expected.clone()));

    // For a while the token before gives the newest again, and nothing else.
    let soon = now + SignedDuration::from_secs(29);
    assert_eq!(rotate("first", "another", soon).await, Rotation::Repeated(expected));
    let reused = Rotation::Reused;
    assert_eq!(rotate("first", "third", now + ROTATION_GRACE).await, reused);
    assert_eq!(rotate("nonsense", "third", soon).await, reused);
    // Whoever asked ends the login; until then the newest token is good.
    assert!(matches!(rotate("second", "third", now).await, Rotation::Rotated(_)));
    assert_eq!(rotate("first", "fourth", now).await, reused, "the one before the one before");
    assert!(store.delete_login(&user_id, &login.id).await.unwrap());
    assert_eq!(rotate("third", "fourth", now).await, Rotation::Unknown);

    let old = self::login(&user_id);
    make(store, &old).await;
    let expired = store
        .rotate_login((&user_id, &old.id), "first", "second", old.expires_at, later, None)
        .await
        .unwrap();
    assert_eq!(expired, Rotation::Unknown);
    assert_eq!(make(store, &self::login(&new_id())).await, NewLogin::NoUser);
}

async fn one_of_many_rotates(nodes: &[AccountStore; 2]) {
    let login = login(&somebody(&nodes[0]).await);
    make(&nodes[0], &login).await;
    let racing: Vec<_> = (0..16)
        .map(|racer| {
            let (store, login) = (nodes[racer % 2].clone(), login.clone());
            tokio::spawn(async move {
                let new_hash = format!("second {racer}");
                let (now, at) = (login.created_at, (login.user_id.as_str(), login.id.as_str()));
                store.rotate_login(at, "first", &new_hash, now, login.expires_at, None).await.unwrap()
            })
        })
        .collect();
    let (mut winners, mut newest) = (Vec::new(), Vec::new());
    for racer in racing {
        match racer.await.unwrap() {
            Rotation::Rotated(login) => winners.push(login.token_hash),
            Rotation::Repeated(login) => newest.push(login.token_hash),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((winners.len(), newest.len()), (1, 15));
    assert!(newest.iter().all(|hash| *hash == winners[0]), "all are given the same");
}

async fn the_oldest_of_too_many_logins_ends(store: &AccountStore) {
    let user_id = somebody(store).await;
    let logins: Vec<_> = (0..MAX_LOGINS + 3).map(|_| login(&user_id)).collect();
    for login in &logins {
        make(store, login).await;
    }
    for (number, login) in logins.iter().enumerate() {
        let rotation = store
            .rotate_login((&user_id, &login.id), "first", "second", login.created_at, login.expires_at, None)
            .await
            .unwrap();
        assert_eq!(rotation != Rotation::Unknown, number >= 3, "{number}");
    }
    assert_eq!(store.delete_logins(&user_id).await.unwrap(), MAX_LOGINS);
}

async fn logins_end(store: &AccountStore) {
    let user_id = somebody(store).await;
    let logins = [login(&user_id), login(&user_id), login(&user_id)];
    for login in &logins {
        make(store, login).await;
    }
    let other = login(&somebody(store).await);
    make(store, &other).await;
    assert!(store.delete_login(&user_id, &logins[0].id).await.unwrap());
    assert!(!store.delete_login(&user_id, &logins[0].id).await.unwrap());
    assert_eq!(store.delete_logins(&user_id).await.unwrap(), 2);
    assert_eq!(store.delete_logins(&user_id).await.unwrap(), 0);
    let (now, later) = (other.created_at, other.expires_at);
    let gone =
        store.rotate_login((&user_id, &logins[1].id), "first", "second", now, later, None).await.unwrap();
    assert_eq!(gone, Rotation::Unknown);
    let stays =
        store.rotate_login((&other.user_id, &other.id), "first", "second", now, later, None).await.unwrap();
    assert!(matches!(stays, Rotation::Rotated(_)));
}
