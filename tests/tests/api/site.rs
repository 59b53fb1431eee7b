//! What end-to-end tests have in common: an operator under the chart's role, a
//! pool, proxies in pods that the test speaks for, and backends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::PostParams;
use serde_json::{Value, json};
use switchyard_crds::ProxyChain;
use switchyard_tests::apiserver::pods::SpokenFor;
use switchyard_tests::apiserver::{Entry, Mark, User};
use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::Wire;
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::member::{self, Member};
use switchyard_tests::operator::{self, Operator};

use crate::rights;
use crate::shared::{SOON, Space, manifest};

/// What backends listen on.
pub const PORT: u16 = 1650;

/// An operator and its namespace.
pub struct Site<'a> {
    pub lab: &'a Lab,
    pub space: Space,
    pub operator: Operator,
    begun: Mark,
}

impl<'a> Site<'a> {
    /// One operator that watches this namespace alone.
    pub fn new(lab: &'a Lab, space: Space) -> Self {
        Self::with(lab, space, |plan| plan)
    }

    /// As [`Site::new`], with other settings.
    pub fn with(lab: &'a Lab, space: Space, change: impl Fn(operator::Plan) -> operator::Plan) -> Self {
        let user = rights::operator(&space, "operator-1");
        let plan = change(operator::Plan::new(&user, &space.namespace).short_lease());
        let begun = space.plane.audit().mark();
        let operator = Operator::start(&lab.host("operator-1", 10), &space.plane, plan);
        Self {
            lab,
            space,
            operator,
            begun,
        }
    }

    /// The end of the audit log before the operator was started.
    pub fn begun(&self) -> Mark {
        self.begun
    }

    /// A pool `edge` with TCP listeners of these names on port 8001 and the
    /// ports after it. Of the workload that its kind gets nothing runs: pods
    /// come from [`Site::member`].
    pub fn pool(&self, listeners: &[&str]) {
        let listeners: Vec<Value> = listeners
            .iter()
            .enumerate()
            .map(|(number, name)| json!({"name": name, "port": 8001 + number, "protocol": "TCP"}))
            .collect();
        self.apply("ProxyPool", "edge", &json!({"listeners": listeners}));
    }

    /// A chain on the listener of its own name, to these backends, tier by tier.
    pub fn chain(&self, name: &str, backends: &[&Backend]) {
        self.apply("ProxyChain", name, &chain_spec(name, backends));
    }

    /// Applies one of ours.
    pub fn apply(&self, kind: &str, name: &str, spec: &Value) {
        self.space.apply(&manifest(kind, name, spec));
    }

    /// Deletes a chain.
    pub fn delete_chain(&self, name: &str) {
        self.space.kubectl(&["delete", "pch", name]);
    }

    /// A pod of the pool `pool`, at 10.77.0.`number`, and its service account.
    pub fn pod(&self, pool: &str, number: u8) -> SpokenFor {
        // The operator makes it with the pool; a test's pod may be faster, and by these labels it is left to the operator.
        let account = format!("{pool}-proxy");
        let labels = json!({
            "app.kubernetes.io/managed-by": "switchyard-operator", "app.kubernetes.io/instance": pool,
            "switchyard.dev/pool": pool,
        });
        let object = json!({"metadata": {"name": account, "labels": labels}});
        let object: ServiceAccount = serde_json::from_value(object).unwrap();
        let accounts = self.space.all::<ServiceAccount>();
        let made = self
            .space
            .plane
            .block_on(accounts.create(&PostParams::default(), &object));
        drop(made); // it may be there from the pod before
        let name = format!("{pool}-{number}");
        let labels = [("switchyard.dev/pool", pool)];
        self.space.plane.pod(
            (&self.space.namespace, &name),
            &account,
            &labels,
            &format!("10.77.0.{number}"),
        )
    }

    /// Whom proxies of the pool are told to trust.
    pub fn authorities(&self, pool: &str) -> String {
        let name = format!("{pool}-bootstrap");
        self.space
            .await_object(&name, "has the authorities", SOON, |map: &ConfigMap| {
                let data = map.data.as_ref().and_then(|data| data.get("ca.crt"));
                data.filter(|pem| pem.contains("BEGIN CERTIFICATE"))
                    .cloned()
                    .ok_or_else(|| format!("{map:?}"))
            })
    }

    /// How a proxy in this pod of the pool `pool` is run.
    pub fn plan(&self, pod: &SpokenFor, pool: &str) -> member::Plan {
        let authorities = self.authorities(pool);
        member::Plan::new(
            &self.space.plane,
            pod,
            pool,
            &self.operator.discovery(),
            &authorities,
        )
    }

    /// A proxy of the pool `edge` at 10.77.0.`number`, running.
    pub fn member(&self, number: u8) -> Member {
        self.member_of("edge", number)
    }

    /// A proxy of this pool at 10.77.0.`number`, running.
    pub fn member_of(&self, pool: &str, number: u8) -> Member {
        let pod = self.pod(pool, number);
        let plan = self.plan(&pod, pool);
        Member::start(&self.lab.host(&format!("proxy-{number}"), number), plan)
    }

    /// A backend that says its name, at 10.77.0.`number`.
    pub fn backend(&self, name: &str, number: u8) -> Backend {
        Backend::start(&self.lab.host(name, number), PORT, Mode::ClientFirst)
    }

    /// Awaits a condition of a chain, and returns its reason and message.
    #[track_caller]
    pub fn await_chain(
        &self,
        name: &str,
        condition: &str,
        status: &str,
        within: Duration,
    ) -> (String, String) {
        self.await_chain_saying(name, (condition, status), "", within)
    }

    /// As [`Site::await_chain`], with `words` in its message.
    #[track_caller]
    pub fn await_chain_saying(
        &self,
        name: &str,
        (condition, status): (&str, &str),
        words: &str,
        within: Duration,
    ) -> (String, String) {
        let what = format!("{condition}={status} {words}");
        self.space
            .await_object(name, &what, within, |chain: &ProxyChain| {
                let generation = chain.metadata.generation;
                let told = chain.status.as_ref().map(|s| s.conditions.clone());
                let (reason, message) = judge(&told.unwrap_or_default(), condition, status, generation)?;
                if message.contains(words) {
                    Ok((reason, message))
                } else {
                    Err(message)
                }
            })
    }

    /// An API server that has just started refuses everybody until it has read
    /// the roles: what was refused until now says nothing about the role.
    pub fn forgive(&mut self) {
        self.begun = self.space.plane.audit().mark();
    }
}

/// Every test runs its operator under the one role; what the role does not allow is asked for in none.
impl Drop for Site<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let user = User::service_account(&self.space.namespace, self.operator.name()).name();
        let refused = self.space.plane.audit().forbidden(&user, self.begun);
        let refused: Vec<String> = refused.iter().map(Entry::line).collect();
        assert!(refused.is_empty(), "the role does not allow: {refused:#?}");
    }
}

/// Who serves a client that connects now.
pub fn asked(client: &Host, to: SocketAddr) -> Result<String, String> {
    let mut wire = Wire::connect(client, to).map_err(|end| end.to_string())?;
    let greeting = wire.ask().map_err(|end| end.to_string())?;
    Ok(greeting.name)
}

/// Awaits that `backend` serves a client that connects, and says how long that took.
#[track_caller]
pub fn served_by(client: &Host, to: SocketAddr, backend: &Backend) -> Duration {
    let begun = Instant::now();
    eventually(
        &format!("{} serves at {to}", backend.name()),
        SOON,
        || match asked(client, to)? {
            name if name == backend.name() => Ok(()),
            other => Err(other),
        },
    );
    begun.elapsed()
}

/// A chain on the listener of this name, to these backends, tier by tier, with quick probes.
pub fn chain_spec(listener: &str, backends: &[&Backend]) -> Value {
    let backends: Vec<Value> = backends
        .iter()
        .enumerate()
        .map(|(tier, backend)| {
            let at = backend.address();
            json!({"name": backend.name(), "host": at.ip(), "port": at.port(), "tier": tier})
        })
        .collect();
    json!({
        "poolRef": {"name": "edge", "listener": listener},
        "backends": backends,
        "health": {"interval": "300ms", "timeout": "1s"},
    })
}

fn judge(
    all: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    wanted: &str,
    status: &str,
    generation: Option<i64>,
) -> Result<(String, String), String> {
    let found = all.iter().find(|condition| condition.type_ == wanted);
    match found {
        Some(it) if it.status == status && it.observed_generation == generation => {
            Ok((it.reason.clone(), it.message.clone()))
        }
        _ => Err(format!("generation {generation:?}: {all:#?}")),
    }
}
