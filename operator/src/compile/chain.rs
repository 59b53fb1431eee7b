//! One chain by itself: every field that needs no other object.

use switchyard_crds::proxychain::{
    Balance as BalanceSpec, DrainVanished, Failback, HeaderChanges as ChangesSpec, HeaderField as FieldSpec,
    Headers,
};
use switchyard_crds::{ProxyChain, ProxyChainSpec};
use switchyard_snapshot::{Balance, Chain, ChainId, HeaderChanges, HeaderField, HeaderRules};

use super::faults::Faults;
use super::group::Groups;
use super::tls::Vault;
use super::{FieldPath, ObjectKey, Resources, backend, failover, health, redirect};

/// The chain, but for the listener that it hangs on, which is left empty here.
pub fn compile(
    key: &ObjectKey,
    object: &ProxyChain,
    groups: &Groups,
    resources: &Resources,
    faults: &mut Faults<'_>,
) -> Chain {
    let lookup = backend::Lookup {
        namespace: &key.namespace,
        services: resources.services.as_ref(),
        vault: Vault {
            namespace: &key.namespace,
            secrets: &resources.secrets,
        },
    };
    let path = FieldPath::spec();
    let ProxyChainSpec {
        pool_ref: _, // `route`
        hostnames,
        server_first,
        backends,
        resolution,
        balance,
        slow_start,
        health,
        connect,
        failover,
        schedule,
        group,
        priority: _, // `group`
        redirect,
        drain_vanished,
        headers,
        suspend,
        remote,
    } = &object.spec;
    let backends_path = path.key("backends");
    let compiled_backends = match remote {
        // It is only a place in its group: `group`.
        Some(_) => Vec::new(),
        None => backend::compile_all(backends, &backends_path, lookup, faults),
    };
    if failover.failback == Failback::Scheduled && schedule.is_none() {
        faults.invalid(
            path.key("failover").key("failback"),
            "Scheduled needs a schedule: add spec.schedule",
        );
    }
    let id = ChainId {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    };
    let of_group = |name: &String| groups.schedule(&key.namespace, name).is_some();
    let scheduled = schedule.is_some() || group.as_ref().is_some_and(of_group);
    Chain {
        generation: object.metadata.generation.unwrap_or_default(),
        listener: String::new(),
        hostnames: compile_hostnames(hostnames),
        server_first: *server_first,
        backends: compiled_backends,
        resolution: backend::compile_resolution(resolution, &path.key("resolution"), faults),
        balance: compile_balance(*balance),
        slow_start: slow_start.get(),
        health: health::compile(health, &path.key("health"), faults),
        connect: backend::compile_connect(connect, &path.key("connect"), faults),
        failover: failover::compile(failover, backends, &path.key("failover"), faults),
        schedule: schedule
            .as_ref()
            .map(|schedule| failover::compile_schedule(schedule, &path.key("schedule"), faults)),
        drain_vanished: drain_vanished.as_ref().map(|DrainVanished { after }| after.get()),
        suspend: *suspend,
        headers: headers.as_ref().map(compile_headers).unwrap_or_default(),
        group: group.as_ref().and_then(|name| groups.of(&id, name, faults)),
        redirect: redirect::compile(redirect, scheduled, &path.key("redirect"), faults),
        id,
    }
}

fn compile_balance(spec: BalanceSpec) -> Balance {
    match spec {
        BalanceSpec::RoundRobin => Balance::RoundRobin,
        BalanceSpec::LeastConnections => Balance::LeastConnections,
        BalanceSpec::Random => Balance::Random,
        BalanceSpec::SourceHash => Balance::SourceHash,
    }
}

fn compile_headers(spec: &Headers) -> HeaderRules {
    let Headers { request, response } = spec;
    let changes = |spec: &Option<ChangesSpec>| spec.as_ref().map(compile_changes).unwrap_or_default();
    HeaderRules {
        request: changes(request),
        response: changes(response),
    }
}

/// Names of headers do not know case (RFC 9110 §5.1).
fn compile_changes(spec: &ChangesSpec) -> HeaderChanges {
    let ChangesSpec { set, add, remove } = spec;
    let field = |FieldSpec { name, value }: &FieldSpec| HeaderField {
        name: name.to_ascii_lowercase(),
        value: value.clone(),
    };
    HeaderChanges {
        set: set.iter().map(field).collect(),
        add: add.iter().map(field).collect(),
        remove: remove.iter().map(|name| name.to_ascii_lowercase()).collect(),
    }
}

/// DNS names do not know case (RFC 4343). The order is the user's: a backend sees the first.
fn compile_hostnames(hostnames: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(hostnames.len());
    for name in hostnames {
        let name = name.to_lowercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
