//! A set of keys as identity providers publish it (RFC 7517), and which of them may verify a token.

use std::str::FromStr as _;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::jwt::{EDDSA, RSA, SignedToken, shown};

/// Most keys that are tried for one token.
const MAX_TRIED: usize = 16;

/// The keys of a set that verify signatures.
pub(super) struct Keys(Vec<Key>);

struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

/// An entry of a set, with the members that matter here.
#[derive(Deserialize)]
struct Entry {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Reads a set. Entries that cannot be read, or are for another use, are left out (RFC 7517, 5).
    pub(super) fn read(body: &[u8]) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Box<RawValue>>,
        }
        let set: Set = serde_json::from_slice(body).context("the answer is not a JSON Web Key Set")?;
        let mut keys = Vec::new();
        for entry in set.keys {
            let key = serde_json::from_str(entry.get()).context("an entry has no `kty`").and_then(Key::new);
            match key {
                Ok(key) => keys.push(key),
                Err(reason) => tracing::debug!(reason = format!("{reason:#}"), "entry of a key set left out"),
            }
        }
        Ok(Self(keys))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one of the keys signed the token. A key without an id may be the one that the token names.
    pub(super) fn verify(&self, token: &SignedToken<'_>) -> bool {
        let fits = |key: &&Key| {
            let named = key.id.is_none() || token.key_id.is_none() || key.id == token.key_id;
            named && key.algorithms.contains(&token.algorithm)
        };
        self.0.iter().filter(fits).take(MAX_TRIED).any(|key| token.is_signed_by(&key.decoding))
    }

    /// Whether the key that the token names is here.
    pub(super) fn have(&self, token: &SignedToken<'_>) -> bool {
        token.key_id.is_some() && self.0.iter().any(|key| key.id == token.key_id)
    }
}

impl Key {
    fn new(entry: Entry) -> anyhow::Result<Self> {
        let id = entry.kid.as_deref().map_or_else(|| "without an id".to_owned(), shown);
        ensure!(entry.r#use.as_deref().is_none_or(|use_| use_ == "sig"), "key {id} is for encryption");
        let verifies = |operations: &Vec<String>| operations.iter().any(|operation| operation == "verify");
        ensure!(entry.key_ops.as_ref().is_none_or(verifies), "key {id} is not for verifying");
        let (decoding, mut algorithms) = entry.material().with_context(|| format!("key {id}"))?;
        if let Some(name) = &entry.alg {
            // The name that RFC 9864 gives to the only EdDSA that is supported.
            let name = if name == "Ed25519" { "EdDSA" } else { name };
            let only = Algorithm::from_str(name).ok();
            algorithms.retain(|algorithm| Some(*algorithm) == only);
            ensure!(!algorithms.is_empty(), "key {id} is for {}", shown(name));
        }
        Ok(Self { id: entry.kid, algorithms, decoding })
    }
}

impl Entry {
    /// The public key, and the algorithms that its type is for. Secrets (`oct`) have no place in a public set.
    fn material(&self) -> anyhow::Result<(DecodingKey, Vec<Algorithm>)> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (number(self.n.as_ref(), "n")?, number(self.e.as_ref(), "e")?);
                Ok((DecodingKey::from_rsa_raw_components(&n, &e), RSA.to_vec()))
            }
            ("EC", Some("P-256")) => Ok((self.point(32)?, vec![Algorithm::ES256])),
            ("EC", Some("P-384")) => Ok((self.point(48)?, vec![Algorithm::ES384])),
            ("OKP", Some("Ed25519")) => {
                let x = bytes(self.x.as_ref(), "x")?;
                ensure!(x.len() == 32, "`x` does not have 32 bytes");
                Ok((DecodingKey::from_ed_der(&x), EDDSA.to_vec()))
            }
            (kty, crv) => anyhow::bail!("kty {}, crv {}", shown(kty), shown(crv.unwrap_or_default())),
        }
    }

    /// An uncompressed point. Some providers cut leading zeros off the coordinates.
    fn point(&self, size: usize) -> anyhow::Result<DecodingKey> {
        let mut point = vec![0x04];
        for (coordinate, name) in [(&self.x, "x"), (&self.y, "y")] {
            let coordinate = number(coordinate.as_ref(), name)?;
            ensure!(coordinate.len() <= size, "`{name}` has more than {size} bytes");
            point.resize(point.len() + size - coordinate.len(), 0);
            point.extend(coordinate);
        }
        Ok(DecodingKey::from_ec_der(&point))
    }
}

fn bytes(text: Option<&String>, name: &str) -> anyhow::Result<Vec<u8>> {
    let text = text.with_context(|| format!("has no `{name}`"))?;
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).with_context(|| format!("`{name}` is not base64url"))
}

/// A number without leading zeros, which some providers add although RFC 7518, 6.3.1 forbids them.
fn number(text: Option<&String>, name: &str) -> anyhow::Result<Vec<u8>> {
    let bytes = bytes(text, name)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    ensure!(zeros < bytes.len(), "`{name}` is zero");
    Ok(bytes[zeros..].to_vec())
}
