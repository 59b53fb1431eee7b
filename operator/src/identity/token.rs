//! Service account tokens. In: a token, the API server's keys and issuer, a clock. Out: which pod it is bound to, or why not.
//!
//! Projected tokens are JWTs (RFC 7519) that the API server signs; the pod they are bound to stands in the private claim
//! `kubernetes.io` (Kubernetes, "Managing Service Accounts", bound token volume).

use std::collections::HashMap;

use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::refusal::{Refusal, quoted};

/// What a token must be for: `aud` (RFC 7519 §4.1.3).
pub const AUDIENCE: &str = "switchyard";

/// Tokens of a service account have about 1 KiB; what is longer is not parsed.
const MAX_TOKEN: usize = 16 * 1024;

/// How much the API server's clock may be ahead of ours. Expiry gets no such grace: the kubelet renews at 80 % of the life.
const MAX_AHEAD: i64 = 60;

/// The API server's public keys, and the name under which it signs.
#[derive(Clone)]
pub(super) struct KeySet {
    issuer: String,
    keys: HashMap<String, Key>,
}

#[derive(Clone)]
struct Key {
    key: DecodingKey,
    /// Follows from the key, never from the token: a token that could choose would choose to be checked by a secret
    /// that everybody knows.
    algorithms: Vec<Algorithm>,
}

/// Which pod a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BoundPod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(rename = "kubernetes.io", default)]
    kubernetes: Option<Bindings>,
}

/// One, or several (RFC 7519 §4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Bindings {
    namespace: String,
    #[serde(default)]
    pod: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    uid: String,
}

impl KeySet {
    /// From the answer to `/openid/v1/jwks` (RFC 7517). Keys that we cannot use are passed over.
    pub(super) fn parse(issuer: String, jwks: &str) -> Result<Self, String> {
        let set: JwkSet = serde_json::from_str(jwks).map_err(|error| error.to_string())?;
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            let Some(id) = jwk.common.key_id.clone() else {
                continue;
            };
            if jwk
                .common
                .public_key_use
                .as_ref()
                .is_some_and(|usage| *usage != PublicKeyUse::Signature)
            {
                continue;
            }
            let algorithms = match &jwk.algorithm {
                AlgorithmParameters::RSA(_) => vec![Algorithm::RS256, Algorithm::RS384, Algorithm::RS512],
                AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                    vec![Algorithm::ES256]
                }
                AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P384 => {
                    vec![Algorithm::ES384]
                }
                _ => {
                    tracing::warn!(
                        key = id,
                        "the API server signs tokens with a key of a kind that is not supported"
                    );
                    continue;
                }
            };
            let key = DecodingKey::from_jwk(jwk).map_err(|error| format!("key {}: {error}", quoted(&id)))?;
            keys.insert(id, Key { key, algorithms });
        }
        if keys.is_empty() {
            return Err("there is no usable key in it".to_owned());
        }
        Ok(Self { issuer, keys })
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Which pod `token` is bound to.
    pub(super) fn verify(&self, token: &str, now: Timestamp) -> Result<BoundPod, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::Malformed(format!("it is longer than {MAX_TOKEN} bytes")));
        }
        let header = decode_header(token).map_err(|error| malformed(&error))?;
        let id = header
            .kid
            .ok_or_else(|| Refusal::Malformed("its header names no key".to_owned()))?;
        let key = self
            .keys
            .get(&id)
            .ok_or_else(|| Refusal::UnknownKey(quoted(&id)))?;
        if !key.algorithms.contains(&header.alg) {
            return Err(Refusal::Algorithm(format!("{:?}", header.alg)));
        }
        let mut validation = Validation::new(header.alg);
        // What the claims say is checked below, with the clock that was passed in.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let claims = decode::<Claims>(token, &key.key, &validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::InvalidSignature => Refusal::Signature,
                _ => malformed(&error),
            })?
            .claims;
        self.judge(claims, now)
    }

    fn judge(&self, claims: Claims, now: Timestamp) -> Result<BoundPod, Refusal> {
        let Claims {
            iss,
            aud,
            exp,
            nbf,
            kubernetes,
        } = claims;
        if iss != self.issuer {
            return Err(Refusal::Issuer {
                is: quoted(&iss),
                expected: self.issuer.clone(),
            });
        }
        let meant_for_us = match &aud {
            Audience::One(one) => one == AUDIENCE,
            Audience::Many(many) => many.iter().any(|one| one == AUDIENCE),
        };
        if !meant_for_us {
            return Err(Refusal::Audience);
        }
        if exp <= now.as_second() {
            return Err(Refusal::Expired);
        }
        if nbf.is_some_and(|nbf| nbf > now.as_second().saturating_add(MAX_AHEAD)) {
            return Err(Refusal::NotYetValid);
        }
        let bindings = kubernetes.ok_or(Refusal::Unbound)?;
        let pod = bindings.pod.ok_or(Refusal::Unbound)?;
        Ok(BoundPod {
            namespace: bindings.namespace,
            name: pod.name,
            uid: pod.uid,
        })
    }
}

/// The library's words, except where they would quote the token.
fn malformed(error: &jsonwebtoken::errors::Error) -> Refusal {
    use jsonwebtoken::errors::ErrorKind;
    Refusal::Malformed(match error.kind() {
        ErrorKind::Json(error) => format!("its JSON is not as expected ({:?} error)", error.classify()),
        ErrorKind::Base64(_) | ErrorKind::Utf8(_) => "it is not base64url".to_owned(),
        kind => format!("{kind:?}"),
    })
}

#[cfg(test)]
pub(super) mod tests;
