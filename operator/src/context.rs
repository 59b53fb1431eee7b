//! What the operator's tasks share: how to reach the API server, under which name, and what they may look at.

use kube::Client;
use kube::runtime::events::{Recorder, Reporter};

use crate::FIELD_MANAGER;
use crate::args::{RunArgs, Settings};
use crate::lease::Leadership;
use crate::scope::Scope;

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
