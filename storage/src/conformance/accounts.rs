//! What the port to accounts promises.

use std::sync::Arc;

use jiff::SignedDuration;

use super::new_id;
use crate::accounts::{
    AccountStore, Login, MAX_LOGINS, ProfileChange, ROTATION_GRACE, Role, Rotation, Taken, User,
};
use crate::now;

fn user() -> User {
    let id = new_id();
    User {
        email: format!("{id}@Example.com"),
        username: format!("U-{id}"),
        full_name: "Ana".to_owned(),
        role: Role::User,
        password_hash: "hash".to_owned(),
        bio: None,
        city: None,
        avatar_url: None,
        created_at: now(),
        id,
    }
}

fn login(user_id: &str) -> Login {
    let now = now();
    Login {
        id: new_id(),
        user_id: user_id.to_owned(),
        token_hash: "first".to_owned(),
        previous_hash: None,
        rotated_at: None,
        created_at: now,
        expires_at: now + SignedDuration::from_hours(1),
    }
}

/// Runs the suite.
pub async fn accounts(store: Arc<dyn AccountStore>) {
    finds_what_it_created(&*store).await;
    names_are_unique_without_case(&*store).await;
    one_of_many_wins_a_name(&store).await;
    profiles_change(&*store).await;
    tokens_rotate_once(&*store).await;
    one_of_many_rotates(&store).await;
    logins_end(&*store).await;
    the_oldest_of_too_many_logins_ends(&*store).await;
}

async fn finds_what_it_created(store: &dyn AccountStore) {
    let user = user();
    assert_eq!(store.create_user(user.clone()).await.unwrap(), Ok(()));
    assert_eq!(store.user(&user.id).await.unwrap().as_ref(), Some(&user));
    assert_eq!(store.user_by_email(&user.email.to_uppercase()).await.unwrap().as_ref(), Some(&user));
    assert_eq!(store.profiles(&[new_id(), user.id.clone()]).await.unwrap(), [user.into()]);
    assert_eq!(store.user(&new_id()).await.unwrap(), None);
    assert_eq!(store.user_by_email("nobody").await.unwrap(), None);
}

async fn names_are_unique_without_case(store: &dyn AccountStore) {
    let one = user();
    store.create_user(one.clone()).await.unwrap().unwrap();
    let cases = [
        (one.email.to_uppercase(), user().username, Taken { email: true, username: false }),
        (user().email, one.username.to_lowercase(), Taken { email: false, username: true }),
        (one.email.clone(), one.username.clone(), Taken { email: true, username: true }),
    ];
    for (email, username, taken) in cases {
        let other = User { email, username, ..user() };
        assert_eq!(store.create_user(other.clone()).await.unwrap(), Err(taken));
        assert_eq!(store.user(&other.id).await.unwrap(), None);
    }
}

async fn one_of_many_wins_a_name(store: &Arc<dyn AccountStore>) {
    let username = user().username;
    let racing: Vec<_> = (0..64)
        .map(|_| {
            let (store, user) = (Arc::clone(store), User { username: username.clone(), ..user() });
            tokio::spawn(async move { store.create_user(user).await.unwrap().is_ok() })
        })
        .collect();
    let mut winners = 0;
    for racer in racing {
        winners += usize::from(racer.await.unwrap());
    }
    assert_eq!(winners, 1);
}

async fn profiles_change(store: &dyn AccountStore) {
    let user = user();
    store.create_user(user.clone()).await.unwrap().unwrap();
    let change = ProfileChange { city: Some("Rosario".to_owned()), ..ProfileChange::default() };
    let changed = store.update_profile(&user.id, change).await.unwrap().unwrap();
    assert_eq!(changed, User { city: Some("Rosario".to_owned()), ..user.clone() });
    assert_eq!(store.user(&user.id).await.unwrap(), Some(changed));
    assert_eq!(store.update_profile(&new_id(), ProfileChange::default()).await.unwrap(), None);
}

async fn tokens_rotate_once(store: &dyn AccountStore) {
    let user_id = new_id();
    let login = login(&user_id);
    let (now, later) = (login.created_at, login.expires_at + SignedDuration::from_hours(1));
    store.create_login(login.clone()).await.unwrap();
    let rotate = async |presented: &str, new: &str, at| {
        store.rotate_login(&login.id, presented, new, at, later).await.unwrap()
    };
    let expected = login.clone().rotated("second", now, later);
    assert_eq!(rotate("first", "second", now).await, Rotation::Rotated(expected.clone()));

    // For a while the token before gives the newest again, and nothing else.
    let soon = now + SignedDuration::from_secs(29);
    assert_eq!(rotate("first", "another", soon).await, Rotation::Repeated(expected));
    let reused = Rotation::Reused { user_id: user_id.clone() };
    assert_eq!(rotate("first", "third", now + ROTATION_GRACE).await, reused);
    assert_eq!(rotate("nonsense", "third", soon).await, reused);
    // Whoever asked ends the login; until then the newest token is good.
    assert!(matches!(rotate("second", "third", now).await, Rotation::Rotated(_)));
    assert_eq!(rotate("first", "fourth", now).await, reused, "the one before the one before");
    assert!(store.delete_login(&login.id).await.unwrap());
    assert_eq!(rotate("third", "fourth", now).await, Rotation::Unknown);

    let old = super::accounts::login(&new_id());
    store.create_login(old.clone()).await.unwrap();
    let expired = store.rotate_login(&old.id, "first", "second", old.expires_at, later).await.unwrap();
    assert_eq!(expired, Rotation::Unknown);
}

async fn one_of_many_rotates(store: &Arc<dyn AccountStore>) {
    let login = login(&new_id());
    store.create_login(login.clone()).await.unwrap();
    let racing: Vec<_> = (0..16)
        .map(|racer| {
            let (store, login) = (Arc::clone(store), login.clone());
            tokio::spawn(async move {
                let new_hash = format!("second {racer}");
                let now = login.created_at;
                store.rotate_login(&login.id, "first", &new_hash, now, login.expires_at).await.unwrap()
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

async fn the_oldest_of_too_many_logins_ends(store: &dyn AccountStore) {
    let user_id = new_id();
    let logins: Vec<_> = (0..MAX_LOGINS + 3).map(|_| login(&user_id)).collect();
    for login in &logins {
        store.create_login(login.clone()).await.unwrap();
    }
    for (number, login) in logins.iter().enumerate() {
        let rotation = store
            .rotate_login(&login.id, "first", "second", login.created_at, login.expires_at)
            .await
            .unwrap();
        assert_eq!(rotation != Rotation::Unknown, number >= 3, "{number}");
    }
    assert_eq!(store.delete_logins(&user_id).await.unwrap().len(), MAX_LOGINS);
}

async fn logins_end(store: &dyn AccountStore) {
    let user_id = new_id();
    let logins = [login(&user_id), login(&user_id), login(&user_id)];
    for login in &logins {
        store.create_login(login.clone()).await.unwrap();
    }
    let other = login(&new_id());
    store.create_login(other.clone()).await.unwrap();
    assert!(store.delete_login(&logins[0].id).await.unwrap());
    assert!(!store.delete_login(&logins[0].id).await.unwrap());
    assert_eq!(store.delete_logins(&user_id).await.unwrap().len(), 2);
    assert_eq!(store.delete_logins(&user_id).await.unwrap().len(), 0);
    let (now, later) = (other.created_at, other.expires_at);
    let gone = store.rotate_login(&logins[1].id, "first", "second", now, later).await.unwrap();
    assert_eq!(gone, Rotation::Unknown);
    let stays = store.rotate_login(&other.id, "first", "second", now, later).await.unwrap();
    assert!(matches!(stays, Rotation::Rotated(_)));
}
