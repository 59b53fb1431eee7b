//! What the operator's tasks share: how to reach the API server, under which name, and what they may look at.

use std::collections::BTreeSet;

use k8s_openapi::NamespaceResourceScope;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client, Resource};

use crate::args::{RunArgs, Settings};
use crate::lease::Leadership;

/// The one field manager of everything the operator applies, and the name under which it reports events.
pub const FIELD_MANAGER: &str = "switchyard-operator";

/// What every task may use.
#[derive(Clone)]
pub struct Context {
    /// Does not repeat requests by itself, and has no timeout of its own for answers: each request needs one.
    pub client: Client,
    /// Clones share one memory, by which repeated events are put together.
    pub recorder: Recorder,
    /// Of server-side apply; at most 128 characters.
    pub field_manager: &'static str,
    /// Namespace of the operator itself.
    pub namespace: String,
    /// Which namespaces are watched.
    pub scope: Scope,
    /// Whether this process leads. Only who leads writes: ask right before each write.
    pub leadership: Leadership,
    /// Image of proxies whose pool names none.
    pub proxy_image: String,
    /// `HOST:PORT` at which proxies reach the operators.
    pub discovery_address: String,
}

impl Context {
    /// Brings together what is known at the start.
    pub fn new(client: Client, args: &RunArgs, settings: Settings, leadership: Leadership) -> Self {
        let Settings {
            namespace,
            identity,
            scope,
            discovery_address,
            timing: _,
            identities: _,
        } = settings;
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: Some(identity),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            field_manager: FIELD_MANAGER,
            namespace,
            scope,
            leadership,
            proxy_image: args.proxy_image.clone(),
            discovery_address,
        }
    }
}

/// Which namespaces are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them, by one watch per kind.
    All,
    /// Those, by one watch per kind and namespace: nothing else is asked for, so nothing else need be allowed.
    Namespaces(BTreeSet<String>),
}

impl Scope {
    /// None named: all of them.
    pub fn of(namespaces: BTreeSet<String>) -> Self {
        if namespaces.is_empty() {
            Self::All
        } else {
            Self::Namespaces(namespaces)
        }
    }

    /// Whether it is watched.
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespaces(all) => all.contains(namespace),
        }
    }

    /// One way in per watch that is needed.
    pub fn apis<K>(&self, client: &Client) -> Vec<Api<K>>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match self {
            Self::All => vec![Api::all(client.clone())],
            Self::Namespaces(all) => all
                .iter()
                .map(|namespace| Api::namespaced(client.clone(), namespace))
                .collect(),
        }
    }
}
