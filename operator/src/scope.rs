//! What this operator looks at. In: namespaces that it is told, or none. Out: a way in for each watch that is needed.

use std::collections::BTreeSet;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};

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
