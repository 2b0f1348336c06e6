//! The other side of web push: a browser that decrypts by the text of the standards, and a service that knows
//! the sender. Nothing here is shared with the code under test.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey as Verifier};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mundotango_push::{Destination, WebSubscription};
use serde_json::{Value, json};

/// A browser with one subscription.
pub struct Browser {
    key: PrivateKey,
    auth: Vec<u8>,
}

impl Browser {
    pub fn new() -> Self {
        Self { key: PrivateKey::generate(&ECDH_P256).unwrap(), auth: (0..16).collect() }
    }

    /// The subscription as the browser gives it to the site.
    pub fn subscription(&self, endpoint: &str) -> WebSubscription {
        let public = self.key.compute_public_key().unwrap();
        let keys = json!({
            "p256dh": URL_SAFE_NO_PAD.encode(public.as_ref()),
            "auth": URL_SAFE_NO_PAD.encode(&self.auth),
        });
        json!({"endpoint": endpoint, "expirationTime": null, "keys": keys}).to_string().parse().unwrap()
    }

    pub fn destination(&self, endpoint: &str) -> Destination {
        Destination::Web(self.subscription(endpoint))
    }

    /// Decrypts a body of one record (RFC 8188, 2; RFC 8291, 3.4).
    pub fn decrypt(&self, body: &[u8]) -> Vec<u8> {
        let (salt, rest) = body.split_at(16);
        let (record_size, rest) = rest.split_at(4);
        let (length, rest) = rest.split_at(1);
        let (sender, cipher) = rest.split_at(usize::from(length[0]));
        assert!(u32::from_be_bytes(record_size.try_into().unwrap()) as usize >= cipher.len());
        let public = self.key.compute_public_key().unwrap();
        let shared =
            agree(&self.key, UnparsedPublicKey::new(&ECDH_P256, sender), (), |shared| Ok(shared.to_vec()))
                .unwrap();
        let prk = hmac(&self.auth, &shared);
        let ikm = hmac(&prk, &[b"WebPush: info\0", public.as_ref(), sender, &[1]].concat());
        let prk = hmac(salt, &ikm);
        let key = &hmac(&prk, b"Content-Encoding: aes128gcm\0\x01")[..16];
        let nonce = &hmac(&prk, b"Content-Encoding: nonce\0\x01")[..12];
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
        let mut text = cipher.to_vec();
        let text = key.open_in_place(nonce, Aad::empty(), &mut text).unwrap();
        let end = text.iter().rposition(|byte| *byte != 0).unwrap();
        assert_eq!(text[end], 2, "the last record ends with 2 and zeros");
        text[..end].to_vec()
    }
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), data).as_ref().to_vec()
}

/// Checks the header `Authorization` as a service does (RFC 8292), and returns the claims and the key.
pub fn verify(authorization: &str) -> (Value, String) {
    let rest = authorization.strip_prefix("vapid t=").unwrap();
    let (token, key) = rest.split_once(", k=").unwrap();
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    Verifier::new(&ECDSA_P256_SHA256_FIXED, bytes(key)).verify(signed.as_bytes(), &bytes(signature)).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&bytes(header)).unwrap();
    assert_eq!(header["alg"], "ES256");
    (serde_json::from_slice(&bytes(claims)).unwrap(), key.to_owned())
}

#[test]
fn the_example_of_rfc_8291_is_decrypted() {
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let key = bytes("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94");
    let browser = Browser {
        key: PrivateKey::from_private_key(&ECDH_P256, &key).unwrap(),
        auth: bytes("BTBZMqHH6r4Tts7J_aSIgg"),
    };
    let body = bytes(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIg\
         Dll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNW\
         QexSgSxsj_Qulcy4a-fN",
    );
    assert_eq!(browser.decrypt(&body), b"When I grow up, I want to be a watermelon");
}
