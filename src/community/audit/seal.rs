//! Words about a person, sealed under a key of that person's: without the key nobody can read them, and the chain stays whole.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use mundotango_storage::StoreError;
use mundotango_storage::db::{Db, Decision, Erasure, Export, Fields, Kind, Wants, Whose};
use serde::{Deserialize, Serialize};

use super::rules::{Payload, Words};

/// The keys of people, by their ids. They are never cached, so that one that is destroyed opens nothing any more.
pub static AUDIT_KEYS: Kind<Key, (), ()> = Kind::new("audit_keys", "a person's key: 60 B", PERSONAL);
/// Whose the fields are.
const PERSONAL: &[Fields] = &[Fields::of(
    Whose::User,
    Export::NotGiven("it opens nothing that its user can read"),
    Erasure::Removed,
    &["id", "facts.key"],
)];

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// A person's key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Key {
    /// In base 64.
    key: String,
}

fn wrong<E>(what: &'static str) -> impl FnOnce(E) -> StoreError {
    move |_| StoreError::Damaged(what.to_owned())
}

/// So many bytes that nobody can guess.
pub(in crate::community) fn random<const BYTES: usize>() -> Result<[u8; BYTES], StoreError> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(wrong("there is no randomness"))?;
    Ok(bytes)
}

fn usable(key: &Key) -> Result<LessSafeKey, StoreError> {
    let bytes = BASE64.decode(&key.key).map_err(wrong("a key of the audit trail is no key"))?;
    let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(wrong("a key of the audit trail is no key"))?;
    Ok(LessSafeKey::new(key))
}

async fn key_of(db: &Db, subject: &str) -> Result<Option<Key>, StoreError> {
    Ok(db.read_with(&AUDIT_KEYS, subject, &[]).await?.map(|(found, _)| found.facts))
}

/// The person's key, made if there is none; `None` once it was destroyed.
async fn key_or_made(db: &Db, subject: &str) -> Result<Option<Key>, StoreError> {
    if let Some(key) = key_of(db, subject).await? {
        return Ok(Some(key));
    }
    let made = Key { key: BASE64.encode(random::<KEY_BYTES>()?) };
    // Of several that are made at the same time one is kept.
    db.create_once(&AUDIT_KEYS, subject, &made, &(), &[], &[]).await?;
    key_of(db, subject).await
}

/// Seals words about a person. They open at their own entry alone.
pub(super) async fn seal(db: &Db, subject: &str, entry: &str, words: &Words) -> Result<Payload, StoreError> {
    let subject = subject.to_owned();
    let Some(key) = key_or_made(db, &subject).await? else { return Ok(Payload::Forgotten { subject }) };
    let mut text = serde_json::to_vec(words).map_err(|error| StoreError::Damaged(error.to_string()))?;
    let nonce = random::<NONCE_LEN>()?;
    usable(&key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(entry), &mut text)
        .map_err(wrong("words cannot be sealed"))?;
    Ok(Payload::Sealed { subject, nonce: BASE64.encode(nonce), text: BASE64.encode(text) })
}

/// The words of an entry; `None` where the key is destroyed.
pub(super) async fn open(db: &Db, entry: &str, payload: Payload) -> Result<Option<Words>, StoreError> {
    const WRONG: &str = "words of the audit trail do not open";
    let (subject, nonce, text) = match payload {
        Payload::Plain(words) => return Ok(Some(words)),
        Payload::Forgotten { .. } => return Ok(None),
        Payload::Sealed { subject, nonce, text } => (subject, nonce, text),
    };
    let Some(key) = key_of(db, &subject).await? else { return Ok(None) };
    let nonce = BASE64.decode(nonce).map_err(wrong(WRONG))?;
    let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(wrong(WRONG))?;
    let mut text = BASE64.decode(text).map_err(wrong(WRONG))?;
    let words = usable(&key)?.open_in_place(nonce, Aad::from(entry), &mut text).map_err(wrong(WRONG))?;
    serde_json::from_slice(words).map(Some).map_err(wrong(WRONG))
}

/// Destroys a person's key for good: none is made for that id again.
pub(super) async fn forget(db: &Db, subject: &str) -> Result<(), StoreError> {
    // What was never there leaves nothing behind that keeps a key from being made.
    key_or_made(db, subject).await?;
    let destroyed =
        db.change(&AUDIT_KEYS, subject, Wants::head(), |_| Ok::<_, StoreError>(Decision::Delete(())));
    destroyed.await.map(drop)
}
