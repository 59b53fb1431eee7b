//! The controller of pools on the shared control plane, under the role that the chart gives it and nothing more. In: a namespace
//! of a test. Out: a running controller, what it tells of each pool, and its writes by the audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::runtime::events::{Recorder, Reporter};
use switchyard_operator::FIELD_MANAGER;
use switchyard_operator::context::Context;
use switchyard_operator::controller::proxypool::outcome::Outcome;
use switchyard_operator::controller::{Counters, Parts, run};
use switchyard_operator::lease::Leadership;
use switchyard_operator::scope::Scope;
use switchyard_snapshot::PoolId;
use switchyard_tests::apiserver::{Entry, Mark, User};
use switchyard_tests::eventually::eventually;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::rights;
use crate::shared::{SOON, Space};

/// The account of the operator, and the role it is bound to.
const ACCOUNT: &str = "switchyard-operator";
/// Nothing is written for so long: everything has come to rest.
const REST: Duration = Duration::from_secs(2);

/// The newest outcome of each pool; none: the pool is gone.
pub type Outcomes = BTreeMap<String, Option<Outcome>>;

/// A running controller of one namespace; it stops when it is dropped.
pub struct Controller<'a> {
    space: &'a Space,
    user: User,
    since: Mark,
    told: Arc<Mutex<Outcomes>>,
    bundle: watch::Sender<Option<Arc<str>>>,
    cancelled: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl<'a> Controller<'a> {
    /// Gives it an account, the role, and starts it.
    pub fn start(space: &'a Space) -> Self {
        let plane = &space.plane;
        plane.start_controllers();
        let role = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("charts/switchyard/files/role.yaml");
        space.kubectl(&["apply", "--server-side", "-f", &role.to_string_lossy()]);
        space.kubectl(&["create", "serviceaccount", ACCOUNT]);
        let account = format!("--serviceaccount={}:{ACCOUNT}", space.namespace);
        // A RoleBinding: the rules of the ClusterRole, in this namespace alone.
        space.kubectl(&[
            "create",
            "rolebinding",
            ACCOUNT,
            &format!("--clusterrole={ACCOUNT}"),
            &account,
        ]);
        let user = User::service_account(&space.namespace, ACCOUNT);
        let (watched, _) = rights::rules();
        rights::await_rules(space, &user, Some(&space.namespace), &watched);
        let since = plane.audit().mark();
        let bundle = watch::Sender::new(Some("a bundle\n".into()));
        let mut controller = Self {
            user,
            space,
            since,
            told: Arc::default(),
            bundle,
            cancelled: CancellationToken::new(),
            task: None,
        };
        controller.go();
        controller
    }

    fn go(&mut self) {
        let client = self.space.plane.client(&self.user);
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: None,
        };
        let told = Arc::clone(&self.told);
        let parts = Parts {
            context: Context {
                recorder: Recorder::new(client.clone(), reporter),
                client,
                field_manager: FIELD_MANAGER,
                namespace: self.space.namespace.clone(),
                scope: Scope::Namespaces(BTreeSet::from([self.space.namespace.clone()])),
                leadership: Leadership::alone(),
                proxy_image: "switchyard:test".to_owned(),
                discovery_address: "switchyard-operator.test.svc:17010".to_owned(),
            },
            ca_bundle: self.bundle.subscribe(),
            told: Arc::new(move |pool: PoolId, outcome| {
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                told.insert(pool.name, outcome);
            }),
            counters: Counters::default(),
        };
        self.cancelled = CancellationToken::new();
        let running = run(parts, self.cancelled.clone());
        let task = async move {
            let Ok(()) = running.await;
        };
        self.task = Some(self.space.plane.spawn(task));
    }

    fn stop(&mut self) {
        self.cancelled.cancel();
        if let Some(task) = self.task.take() {
            self.space.plane.block_on(task).unwrap();
        }
    }

    /// Another process takes over: it knows nothing but what is in the cluster.
    pub fn restart(&mut self) {
        self.stop();
        self.told().clear();
        self.go();
    }

    /// Proxies shall trust other CAs.
    pub fn trust(&self, bundle: &str) {
        self.bundle.send_replace(Some(bundle.into()));
    }

    /// What was told of each pool.
    pub fn told(&self) -> MutexGuard<'_, Outcomes> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Awaits what is told of a pool.
    #[track_caller]
    pub fn await_told(&self, pool: &str, what: &str, check: impl Fn(&Outcome) -> bool) {
        eventually(what, SOON, || {
            let told = self.told();
            match told.get(pool) {
                Some(Some(outcome)) if check(outcome) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// Awaits that all of these pools are as they should be: before that, nothing written for a while may be an API server that
    /// is slow to answer.
    #[track_caller]
    pub fn await_applied(&self, pools: &[&str]) {
        for pool in pools {
            self.await_told(pool, &format!("{pool} is applied"), |outcome| {
                outcome.failed.is_none() && outcome.refused.is_empty()
            });
        }
    }

    /// Its writes since a mark, each in a line.
    pub fn writes(&self, since: Mark) -> Vec<String> {
        let audit = self.space.plane.audit();
        audit
            .writes(&self.user.name(), since)
            .iter()
            .map(Entry::line)
            .collect()
    }

    /// A place in the audit log.
    pub fn mark(&self) -> Mark {
        self.space.plane.audit().mark()
    }

    /// Awaits that it has written nothing for a while.
    #[track_caller]
    pub fn await_rest(&self) {
        let mut mark = (self.mark(), std::time::Instant::now());
        eventually("the controller comes to rest", SOON, || {
            let writes = self.writes(mark.0);
            if !writes.is_empty() {
                mark = (self.mark(), std::time::Instant::now());
                return Err(format!("{writes:#?}"));
            }
            (mark.1.elapsed() >= REST)
                .then_some(())
                .ok_or_else(|| "not for long enough".to_owned())
        });
    }
}

impl Drop for Controller<'_> {
    fn drop(&mut self) {
        self.stop();
        if !std::thread::panicking() {
            // The role is enough: whatever a test did, nothing was forbidden.
            let forbidden = self.space.plane.audit().forbidden(&self.user.name(), self.since);
            let lines: Vec<_> = forbidden.iter().map(Entry::line).collect();
            assert!(lines.is_empty(), "{lines:#?}");
        }
    }
}
