//! Signed tokens (JWT, ES256): the cluster's signing key, and what stands in a token.
//!
//! The key lives beside the certificate authority, in `sa.key`, 0600, made on first start.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::server::tls::{TlsError, write_private};

/// What precedes the point in the DER of a P-256 public key (RFC 5480).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The signing key.
pub struct Signer {
    pair: EcdsaKeyPair,
    key_id: String,
    random: SystemRandom,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Why a token is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is something else.
    #[error("it is no signed token")]
    Form,
    /// It was signed by another key, or changed since.
    #[error("invalid signature")]
    Signature,
}

impl Signer {
    /// Reads the key, or makes it where there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, TlsError> {
        let unusable = |detail: String| TlsError::Setup(format!("{}: {detail}", path.display()));
        if !path.exists() {
            let made = KeyPair::generate().map_err(|e| unusable(format!("no key can be made: {e}")))?;
            write_private(path, &made.serialize_pem())?;
        }
        let pem = std::fs::read_to_string(path).map_err(|source| TlsError::File {
            path: path.into(),
            tried: "read",
            source,
        })?;
        let pair = KeyPair::from_pem(&pem).map_err(|e| unusable(format!("no private key: {e}")))?;
        Self::new(&pair.serialize_der()).map_err(|e| {
            unusable(format!("no P-256 key to sign tokens with: {e}; remove it to have one made"))
        })
    }

    fn new(pkcs8: &[u8]) -> Result<Self, ring::error::KeyRejected> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)?;
        let der = [&P256_PREFIX[..], pair.public_key().as_ref()].concat();
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(der));
        Ok(Self { pair, key_id, random })
    }

    /// A token that says this.
    pub fn sign(&self, claims: &Value) -> Result<String, String> {
        let header = json!({ "alg": "ES256", "kid": self.key_id });
        let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", text(&header), text(claims));
        let signature = self.pair.sign(&self.random, signed.as_bytes());
        let signature = signature.map_err(|_| "the token cannot be signed".to_owned())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a token says, if this key has signed it.
    pub fn verify(&self, token: &str) -> Result<Value, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Form)?;
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Form);
        let read = |text: &str| serde_json::from_slice::<Value>(&bytes(text)?).map_err(|_| TokenError::Form);
        let (header, claims, signature) = (read(header)?, read(claims)?, bytes(signature)?);
        if header["alg"] != "ES256" || header["kid"] != self.key_id.as_str() {
            return Err(TokenError::Signature);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Signature)?;
        Ok(claims)
    }

    /// The public key, as `/openid/v1/jwks` shows it.
    pub fn key_set(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at((point.len() - 1) / 2);
        json!({ "keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_was_signed_and_only_this_key_signs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sa.key");
        let signer = Signer::load_or_create(&path).unwrap();
        let claims = json!({ "sub": "x", "exp": 5 });
        let token = signer.sign(&claims).unwrap();
        assert_eq!(signer.verify(&token), Ok(claims.clone()));
        let again = Signer::load_or_create(&path).unwrap();
        assert_eq!(again.verify(&token), Ok(claims));
        assert_eq!(again.key_set(), signer.key_set());
        let other = Signer::load_or_create(&directory.path().join("other.key")).unwrap();
        assert_eq!(other.verify(&token), Err(TokenError::Signature));
        let parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(json!({ "sub": "root" }).to_string());
        let unsigned = URL_SAFE_NO_PAD.encode(json!({ "alg": "none" }).to_string());
        for (text, expected) in [
            (format!("{}.{forged}.{}", parts[0], parts[2]), TokenError::Signature),
            (format!("{unsigned}.{}.", parts[1]), TokenError::Signature),
            (format!("{}.{}.", parts[0], parts[1]), TokenError::Signature),
            ("abcdef.0123456789abcdef".into(), TokenError::Form),
            (String::new(), TokenError::Form),
            ("a.b.c".into(), TokenError::Form),
        ] {
            assert_eq!(signer.verify(&text), Err(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sa.key");
        std::fs::write(&path, "no key").unwrap();
        let refused = Signer::load_or_create(&path).unwrap_err().to_string();
        assert!(refused.contains("sa.key") && refused.contains("no private key"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "no key");
    }
}
