//! Encryption of a payload for one browser (RFC 8291), as one record of `aes128gcm` (RFC 8188).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;

use crate::push::MAX_PAYLOAD;
use crate::subscription::WebSubscription;

/// Records are filled up to a multiple of this, so that a length tells little.
const PADDING: usize = 256;
/// What ends the plain text of the last record (RFC 8188, 2).
const LAST_RECORD: u8 = 2;
/// The record size that the header states. It has to be larger than the only record.
const RECORD_SIZE: u32 = 4_096;
/// Bytes of the tag of AES-GCM.
const TAG: usize = 16;
/// Bytes of the header: salt, record size, length of the key, key (RFC 8188, 2.1).
const HEADER: usize = 16 + 4 + 1 + 65;

// Firefox on Android takes less than 3,070 bytes.
const _: () = assert!(HEADER + (MAX_PAYLOAD + 1).next_multiple_of(PADDING) + TAG < 3_070);

/// The keys cannot be used, or there are no random numbers.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the payload cannot be encrypted for this subscription")]
pub(super) struct EncryptError;

impl From<Unspecified> for EncryptError {
    fn from(_: Unspecified) -> Self {
        Self
    }
}

/// Encrypts a payload into the body of a request, with a key and a salt of its own.
pub(super) fn encrypt(to: &WebSubscription, payload: &[u8]) -> Result<Vec<u8>, EncryptError> {
    let key = PrivateKey::generate(&ECDH_P256)?;
    let mut salt = [0; 16];
    rand::fill(&mut salt)?;
    seal(to, payload, (payload.len() + 1).next_multiple_of(PADDING), &key, salt)
}

/// Encrypts with a given key and salt. `record` is the length of the plain text with its end and its padding.
fn seal(
    to: &WebSubscription,
    payload: &[u8],
    record: usize,
    key: &PrivateKey,
    salt: [u8; 16],
) -> Result<Vec<u8>, EncryptError> {
    let receiver = to.p256dh().as_bytes();
    let public = key.compute_public_key()?;
    let sender = public.as_ref();
    let key_info: [&[u8]; 3] = [b"WebPush: info\0", receiver, sender];
    let input = agree(key, UnparsedPublicKey::new(&ECDH_P256, receiver), EncryptError, |shared| {
        Ok(expand::<32>(&Salt::new(HKDF_SHA256, to.auth()).extract(shared), &key_info)?)
    })?;
    let secret = Salt::new(HKDF_SHA256, &salt).extract(&input);
    let content_key = expand::<16>(&secret, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce = expand::<12>(&secret, &[b"Content-Encoding: nonce\0"])?;

    let mut text = Vec::with_capacity(record + TAG);
    text.extend_from_slice(payload);
    text.push(LAST_RECORD);
    text.resize(record.max(text.len()), 0);
    // The key is used for this record alone, so the nonce cannot come twice.
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &content_key)?).seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::empty(),
        &mut text,
    )?;

    let mut body = Vec::with_capacity(HEADER + text.len());
    body.extend_from_slice(&salt);
    body.extend_from_slice(&RECORD_SIZE.to_be_bytes());
    body.push(65);
    body.extend_from_slice(sender);
    body.extend_from_slice(&text);
    Ok(body)
}

/// The second step of HKDF, for a key of `N` bytes (RFC 5869, 2.3).
fn expand<const N: usize>(secret: &Prk, info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
    let mut key = [0; N];
    secret.expand(info, Length(N))?.fill(&mut key)?;
    Ok(key)
}

/// How many bytes HKDF gives.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::subscription::example::subscription;

    fn receiver() -> WebSubscription {
        subscription("https://push.example.net/x")
    }

    #[test]
    fn the_example_of_rfc_8291_comes_out_byte_by_byte() {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let sender = bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
        let key = PrivateKey::from_private_key(&ECDH_P256, &sender).unwrap();
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let payload = b"When I grow up, I want to be a watermelon";
        let body = seal(&receiver(), payload, payload.len() + 1, &key, salt).unwrap();
        let wanted = concat!(
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIg",
            "Dll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuw",
            "XPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
        );
        assert_eq!(URL_SAFE_NO_PAD.encode(body), wanted);
    }

    #[test]
    fn t42_lengths_are_hidden_a_little_and_stay_small() {
        let length = |payload: usize| encrypt(&receiver(), &vec![b'x'; payload]).unwrap().len();
        assert_eq!(length(0), HEADER + 256 + TAG);
        assert_eq!(length(255), HEADER + 256 + TAG);
        assert_eq!(length(256), HEADER + 512 + TAG);
        assert!(length(MAX_PAYLOAD) < 3_070);
        assert_ne!(encrypt(&receiver(), b"x").unwrap(), encrypt(&receiver(), b"x").unwrap());
    }
}
