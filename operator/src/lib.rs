//! Kubernetes resources to workloads and snapshots.
