//! Tokens of service accounts for the Pods of a node: what is asked for, and when it is asked for again. PURE.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::Pod;

use super::sources::TokenWanted;

/// A token is never kept for longer, as the kubelet.
const LIFE_MAX: Duration = Duration::from_hours(24);
/// Tokens of one node are not all renewed in the same moment, as the kubelet.
const JITTER_MAX: Duration = Duration::from_secs(10);

/// The request for a token that is good as long as the Pod's object is there; `uid` is the object's, at the coordinator.
pub fn request(pod: &Pod, uid: &str, wanted: &TokenWanted) -> TokenRequest {
    let bound = BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        uid: Some(uid.to_owned()),
    };
    let audiences = Some(wanted.audience.clone()).filter(|audience| !audience.is_empty());
    TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: audiences.map(|audience| vec![audience]),
            expiration_seconds: Some(wanted.expiration_seconds),
            bound_object_ref: Some(bound),
        }),
        ..TokenRequest::default()
    }
}

/// Name of the Pod's account.
pub fn account(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    let stated = spec.and_then(|spec| spec.service_account_name.as_deref()).filter(|name| !name.is_empty());
    stated.unwrap_or(crate::api::service_account::DEFAULT_ACCOUNT)
}

/// How long after it was asked for a token is renewed: at 80 % of its life, a little earlier by `drawn`, which is
/// between 0 and 1.
pub fn renew_after(life: Duration, drawn: f64) -> Duration {
    let jitter = JITTER_MAX.min(life / 20).mul_f64(drawn.clamp(0.0, 1.0));
    (life.min(LIFE_MAX) / 5 * 4).saturating_sub(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_at_four_fifths_of_its_life_and_within_a_day() {
        let hour = Duration::from_hours(1);
        assert_eq!(renew_after(hour, 0.0), Duration::from_mins(48));
        assert_eq!(renew_after(hour, 1.0), Duration::from_secs(48 * 60 - 10));
        assert_eq!(renew_after(LIFE_MAX * 30, 0.0), LIFE_MAX / 5 * 4);
        assert_eq!(renew_after(Duration::from_secs(20), 1.0), Duration::from_secs(15));
        assert_eq!(renew_after(Duration::ZERO, 1.0), Duration::ZERO);
    }

    #[test]
    fn a_token_is_asked_for_the_pods_object() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "p", "uid": "local" }, "spec": { "containers": [], "serviceAccountName": "a" },
        }))
        .unwrap();
        let wanted = TokenWanted { audience: "vault".into(), expiration_seconds: 600 };
        let request = serde_json::to_value(request(&pod, "remote", &wanted)).unwrap();
        assert_eq!(
            request["spec"],
            serde_json::json!({
                "audiences": ["vault"], "expirationSeconds": 600,
                "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "remote" },
            })
        );
        assert_eq!(account(&pod), "a");
        assert_eq!(account(&Pod::default()), "default");
    }
}
