//! Chains beyond this cluster. In: the group members that the snapshot says are remote. Out: which of them live, by probes of
//! our own: nobody gossips for them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use switchyard_snapshot::{ChainId, GroupPlace, Monitor, Snapshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Running;
use crate::monitor::track::{Standing, Track};
use crate::monitor::{Target, knock, probe};
use crate::redirect::table::Remotes;
use crate::resolve::{Clamp, Question, Record, RecordKind, Resolver, Subscription};

/// As `health` has them where it says nothing.
const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
const RISE: u32 = 2;
const FALL: u32 = 2;
/// As `resolution` has them where it says nothing.
const CLAMP: Clamp = Clamp {
    min_ttl: Duration::from_secs(1),
    max_ttl: Duration::from_secs(30),
};

/// Which remote chains live, or why not, in words.
pub type Alive = Arc<Remotes>;

/// One remote chain.
struct Remote {
    addresses: Vec<String>,
    places: Vec<Place>,
    monitors: Vec<Monitor>,
    track: Track,
}

/// `host:port`.
struct Place {
    host: String,
    port: u16,
    /// None: the host is an address.
    names: Vec<Subscription>,
}

/// Probes remote chains until it is cancelled.
pub(super) async fn keep(running: Arc<Running>, ended: CancellationToken) {
    let alive = running.tell_remotes();
    let mut standing = running.changes();
    let mut remotes = BTreeMap::new();
    loop {
        let snapshot = standing.borrow_and_update().snapshot.clone();
        if let Some(snapshot) = &snapshot {
            follow(&mut remotes, snapshot, running.resolver());
        }
        let probes = remotes.values_mut().map(Remote::probe);
        tokio::select! {
            _ = join_all(probes) => {}
            () = ended.cancelled() => return,
        }
        let now: Remotes = remotes
            .iter()
            .map(|(id, remote)| (id.clone(), remote.verdict()))
            .collect();
        alive.send_if_modified(|known| {
            let differs = **known != now;
            if differs {
                *known = Arc::new(now);
            }
            differs
        });
        tokio::select! {
            () = sleep(INTERVAL), if !remotes.is_empty() => {}
            _ = standing.changed() => {}
            () = ended.cancelled() => return,
        }
    }
}

/// Those of the snapshot, and no others; what is known of one that has not changed stays.
fn follow(remotes: &mut BTreeMap<ChainId, Remote>, snapshot: &Snapshot, resolver: &Resolver) {
    let groups = snapshot.chains.iter().filter_map(|chain| chain.group.as_ref());
    let mut wanted = BTreeMap::new();
    for member in groups.flat_map(|group| &group.members) {
        if let GroupPlace::Remote { addresses, monitors } = &member.at {
            wanted.insert(member.chain.clone(), (addresses, monitors));
        }
    }
    remotes.retain(|id, remote| {
        wanted.get(id).is_some_and(|(addresses, monitors)| {
            **addresses == remote.addresses && **monitors == remote.monitors
        })
    });
    for (id, (addresses, monitors)) in wanted {
        remotes.entry(id).or_insert_with(|| Remote {
            addresses: addresses.clone(),
            places: addresses
                .iter()
                .filter_map(|text| Place::new(text, resolver))
                .collect(),
            monitors: monitors.clone(),
            track: Track::new(),
        });
    }
}

impl Place {
    fn new(text: &str, resolver: &Resolver) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let ask = |kind| {
            let question = Question {
                name: host.to_lowercase(),
                kind,
                nameservers: Vec::new(),
            };
            resolver.subscribe(question, CLAMP)
        };
        let names = match host.parse::<IpAddr>() {
            Ok(_) => Vec::new(),
            Err(_) => [RecordKind::A, RecordKind::Aaaa].map(ask).into(),
        };
        Some(Self {
            port: port.parse().ok()?,
            names,
            host,
        })
    }

    /// Where it is now.
    fn targets(&self) -> Vec<Target> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return vec![Target {
                address: SocketAddr::new(ip, self.port),
                host: None,
            }];
        }
        let answers = self.names.iter().filter_map(|name| name.current().answer.clone());
        let records = answers.flat_map(|answer| answer.records);
        let targets = records.filter_map(|record| match record {
            Record::Address(ip) => Some(Target {
                address: SocketAddr::new(ip, self.port),
                host: Some(self.host.clone()),
            }),
            Record::Srv { .. } => None,
        });
        targets.collect()
    }
}

impl Remote {
    fn verdict(&self) -> Result<(), String> {
        match self.track.standing() {
            Standing::Passing => Ok(()),
            Standing::Unknown => Err("it has not been reached yet".to_owned()),
            Standing::Failing => Err(self.track.why().to_owned()),
        }
    }

    /// It lives where one of its addresses passes all monitors.
    async fn probe(&mut self) {
        let targets: Vec<Target> = self.places.iter().flat_map(Place::targets).collect();
        let monitors = &self.monitors;
        let results = join_all(targets.iter().map(|target| all_pass(target, monitors))).await;
        let passed = results.iter().any(Result::is_ok);
        let why = results.into_iter().find_map(Result::err);
        let result = if passed {
            Ok(())
        } else {
            Err(why.unwrap_or_else(|| "none of its names resolves".to_owned()))
        };
        self.track.record(result, RISE, FALL);
    }
}

async fn all_pass(target: &Target, monitors: &[Monitor]) -> Result<(), String> {
    if monitors.is_empty() {
        return knock(target.address, TIMEOUT)
            .await
            .map_err(|fault| fault.to_string());
    }
    for monitor in monitors {
        let passed = probe(target, monitor, TIMEOUT).await;
        passed.map_err(|fault| fault.to_string())?;
    }
    Ok(())
}
