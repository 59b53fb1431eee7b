//! A Lease of the API server, and what an election knows of it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::core::ObjectMeta;

use super::election::{Intent, Record};

/// What a Lease says. Its times are not looked at: other machines' clocks prove nothing.
pub(super) fn of(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: seconds.map(Duration::from_secs),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or_default(),
        acquired: spec.acquire_time.map(|time| time.0),
    }
}

/// The Lease that a candidate wants there to be.
pub(super) fn lease(name: &str, intent: &Intent, now: Timestamp) -> Lease {
    let seconds = intent.duration.as_secs();
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            resource_version: intent.version.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            acquire_time: Some(MicroTime(intent.acquired.unwrap_or(now))),
            // an absent holder would be pruned by nobody and read by some as "never held": the empty name is customary
            holder_identity: Some(intent.holder.clone().unwrap_or_default()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX).max(1)),
            lease_transitions: Some(intent.transitions),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}
