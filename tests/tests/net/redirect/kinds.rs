//! Every kind of client, each real, at three sites of two proxies: the servers of site 1 die, all clients are served by site 2, each
//! in its protocol's own way; the servers come back, and when prime time starts all go home, paced.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;
use switchyard_tests::eventually::let_pass;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::suite::Suite;
use switchyard_tests::tool;

use super::clients::{Clients, Event, curl, wall};
use super::servers::{Servers, TLS_NAME};
use super::sites::{self, Kind, MQTT, SOON, Sites, TCP, TLS, WEB, Wanted, XMPP, access_of, crowd};

pub fn add(suite: &mut Suite) {
    suite.alone("redirect::kinds::every_client_goes_and_comes_back", every_kind);
}

const KINDS: [Kind; 5] = [WEB, XMPP, MQTT, TLS, TCP];
/// Sessions of each kind.
const SESSIONS: u8 = 8;
/// Guests that go back per second, chain and proxy.
const PACE: u32 = 2;
/// From the proxies' start to prime time: everything before takes about half of it.
const AHEAD: Duration = Duration::from_secs(50);
/// The body of a POST.
const BODY: usize = 10 << 20;

fn every_kind(lab: &Lab) {
    let mut scene = Scene::start(lab);
    for clients in scene.all() {
        clients.await_served_by("site-1", 0.0, SOON);
    }
    let killed = wall();
    scene.servers[0].kill();
    scene.must_be_served_elsewhere(lab, killed);
    scene.must_follow_in_their_protocols(lab, killed);
    scene.visits(lab);
    let revived = wall();
    scene.servers[0].revive();
    for kind in KINDS {
        scene
            .sites
            .site(1)
            .await_serving(kind, &[scene.hosts[0].at(kind.server)]);
    }
    let longest = scene.requests.await_served_by("site-1", revived, SOON);
    lab.say(format!(
        "site 1 lives again: who comes by itself is served there {:.1} s after its servers were started",
        longest[0]
    ));
    scene.must_stay_until_prime_time(lab, revived);
    scene.must_come_home(lab);
    let (_, table, _) = scene.sites.site(2).proxies[0].command(&["table", "--admin", "127.0.0.1:17000"]);
    lab.say(format!("the table of site-2-a at the end\n{table}"));
}

struct Scene {
    hosts: [Host; 3],
    servers: [Servers; 3],
    sites: Sites,
    /// When prime time starts, in seconds since the epoch.
    prime: f64,
    requests: Clients,
    sessions: Vec<Clients>,
    visitor: Host,
    addresses: Vec<IpAddr>,
}

impl Scene {
    fn start(lab: &Lab) -> Self {
        let hosts = [1, 2, 3].map(|site| sites::servers(lab, site));
        let servers = hosts.each_ref().map(Servers::start);
        lab.say(Servers::versions());
        let now = Timestamp::now().round(jiff::Unit::Second).expect("a second");
        let prime = now + AHEAD;
        let local = prime.to_zoned(TimeZone::UTC);
        let schedule = format!(
            "schedule: {{timeZone: UTC, starts: [{{days: [{}], at: \"{}\"}}]}}\nfailover: {{pace: {PACE}}}",
            local.strftime("%a"),
            local.strftime("%H:%M:%S")
        );
        let sites = Sites::start(
            lab,
            &Wanted {
                kinds: &KINDS,
                chain: &schedule,
                redirect: "minStay: 1s, grace: 60s",
                workers: 2,
                ..Wanted::default()
            },
        );
        for (site, host) in sites.sites.iter().zip(&hosts) {
            for kind in KINDS {
                site.await_serving(kind, &[host.at(kind.server)]);
            }
        }
        let trusted = trust(&servers);
        let (visitor, addresses) = crowd(&sites, lab, "visitor", 150, 20);
        let (requests, sessions) = clients(&sites, lab, &trusted);
        Self {
            hosts,
            servers,
            sites,
            prime: prime.as_second() as f64,
            requests,
            sessions,
            visitor,
            addresses,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Clients> {
        self.sessions.iter().chain([&self.requests])
    }

    fn must_be_served_elsewhere(&self, lab: &Lab, killed: f64) {
        lab.say("site 1's servers are killed; without service, from the kill to the first answer of site 2:");
        for clients in self.all() {
            let mut after = clients.await_served_by("site-2", killed, Duration::from_secs(30));
            after.sort_by(f64::total_cmp);
            let events = clients.events();
            let failed: Vec<&Event> = events
                .iter()
                .filter(|e| e.at >= killed && e.what == "failed")
                .collect();
            let mut line = format!(
                "  {}: {:.2} s (shortest), {:.2} s (longest) of {}; {} attempts failed",
                clients.name(),
                after[0],
                after[after.len() - 1],
                after.len(),
                failed.len()
            );
            if let Some(one) = failed.first() {
                let _ = write!(
                    line,
                    ", such as after {:.2} s: {}",
                    one.at - killed,
                    one.how.as_deref().unwrap_or("")
                );
            }
            lab.say(line);
        }
    }

    /// Each protocol has moved its clients in its own way.
    fn must_follow_in_their_protocols(&self, lab: &Lab, killed: f64) {
        let hosts = &self.sites.site(2).hosts;
        let direct = |kind: Kind| -> Vec<String> {
            hosts
                .iter()
                .map(|host| host.at(kind.direct).to_string())
                .collect()
        };
        for clients in &self.sessions {
            let events: Vec<Event> = clients.events().into_iter().filter(|e| e.at >= killed).collect();
            let mut natively = 0;
            for client in 0..usize::from(SESSIONS) {
                let mine = || events.iter().filter(move |e| e.client == client);
                let served = mine().find(|e| e.by.as_deref() == Some("site-2"));
                let served = served.expect("it was served by site 2");
                let told: Vec<&Event> = mine()
                    .filter(|e| e.at <= served.at && e.what == "redirected")
                    .collect();
                let sent_to = |kind: Kind| {
                    told.iter()
                        .any(|e| e.to.as_ref().is_some_and(|to| direct(kind).contains(to)))
                };
                natively += usize::from(match clients.name() {
                    "websockets" => direct(WEB)
                        .iter()
                        .any(|at| served.at_address.as_ref() == Some(at)),
                    "slixmpp" => sent_to(XMPP),
                    // Use another server (MQTT 5, reason 0x9C); the next attempt is relayed.
                    "paho" => sent_to(MQTT) && told.iter().all(|e| e.code == Some(0x9C)),
                    "TLS" => served.shown.as_deref() == Some("site-2.example.test"),
                    _ => true,
                });
                assert!(
                    told.len() <= 2,
                    "{}: client {client} was bounced: {told:?}",
                    clients.name()
                );
            }
            lab.say(format!(
                "  {}: {natively} of {SESSIONS} were moved as their protocol has it",
                clients.name()
            ));
            assert_eq!(natively, usize::from(SESSIONS), "{}", clients.name());
        }
    }

    /// Clients that come once, while site 1 is dead: each is sent to site 2 with a 307, and follows it by its own rules.
    fn visits(&self, lab: &Lab) {
        let url = format!("http://{}/visit", access_of(1, WEB));
        let (gets, rest) = self.addresses.split_at(3);
        let (posts, rest) = rest.split_at(2);
        let visit = |name: &str, method: &str, size: usize, sources: &[IpAddr]| {
            let arguments = [&*url, "once", method, &size.to_string()];
            let events =
                Clients::start(&self.visitor, name, "http_client.py", &arguments, sources).finish(SOON);
            assert_eq!(events.len(), sources.len());
            for event in events {
                assert_eq!(event.by.as_deref(), Some("site-2"), "{event:?}");
                assert_eq!(event.hops.len(), 1, "one redirect: {event:?}");
                assert_eq!(event.hops[0].0, 307, "{event:?}");
                assert_eq!(event.whole, Some(true), "{event:?}");
                lab.say(format!(
                    "  requests {method} of {size} bytes: 307 to {}, served by site-2; Authorization there: {}",
                    event.hops[0].1.as_deref().unwrap_or(""),
                    event.authorization.as_deref().unwrap_or("none (requests takes it off when the host changes)")
                ));
            }
        };
        visit("get", "GET", 0, gets);
        visit("post", "POST", BODY, posts);
        self.curls(lab, &url, rest);
    }

    fn curls(&self, lab: &Lab, url: &str, addresses: &[IpAddr]) {
        let file = self.visitor.directory("curl").join("body");
        fs::write(&file, vec![b'x'; BODY]).expect("a file");
        let sum = tool::output(std::process::Command::new("sha256sum").arg(&file));
        let visit = |what: &str, source: IpAddr, arguments: &[&str], body: Option<&Path>| -> Value {
            let from = source.to_string();
            let mut all = vec![
                "--interface",
                &from,
                "-H",
                "Authorization: Bearer secret",
                "-w",
                "\n%{num_redirects}",
            ];
            all.extend(arguments);
            all.push(url);
            let said = curl(&self.visitor, &all, body).unwrap_or_else(|why| panic!("{what}: {why}"));
            let (answer, redirects) = said.rsplit_once('\n').expect("curl writes what it was asked for");
            let answer: Value =
                serde_json::from_str(answer).unwrap_or_else(|e| panic!("{what}: {e}: {said}"));
            assert_eq!(answer["name"], "site-2", "{what}");
            assert_eq!(redirects, "1", "{what}: redirects");
            if body.is_some() {
                assert_eq!(answer["method"], "POST", "{what}");
                assert!(
                    sum.starts_with(answer["sha256"].as_str().expect("a sum")),
                    "{what}: {answer}"
                );
            }
            lab.say(format!(
                "  {what}: one 307, served by site-2; Authorization there: {}",
                answer["headers"]["authorization"]
                    .as_str()
                    .unwrap_or("none (curl takes it off when the host changes)")
            ));
            answer
        };
        visit("curl -L", addresses[0], &["-L"], None);
        let trusted = visit(
            "curl --location-trusted",
            addresses[1],
            &["--location-trusted"],
            None,
        );
        assert_eq!(trusted["headers"]["authorization"], "Bearer secret");
        visit("curl -L, POST of 10 MB", addresses[2], &["-L"], Some(&file));
        visit(
            "curl -L, POST of 10 MB, no Expect",
            addresses[3],
            &["-L", "-H", "Expect:"],
            Some(&file),
        );
    }

    /// Nobody's session ends before prime time, though site 1 lives again.
    fn must_stay_until_prime_time(&self, lab: &Lab, revived: f64) {
        let left = self.prime - wall();
        assert!(
            left >= 3.0,
            "the machine was too slow: {left:.1} s left until prime time"
        );
        let_pass(Duration::from_secs_f64(left));
        for clients in &self.sessions {
            let events = clients.events();
            let moved: Vec<&Event> = events
                .iter()
                .filter(|e| e.at >= revived && e.at < self.prime && e.what != "served")
                .collect();
            assert!(
                moved.is_empty(),
                "{} before prime time: {moved:?}",
                clients.name()
            );
        }
        lab.say(format!("no session moved in the {left:.1} s before prime time"));
    }

    /// Every guest leaves once, at the set pace, and is then served at home; no attempt fails.
    fn must_come_home(&self, lab: &Lab) {
        lab.say("prime time; from its start to the first answer at home:");
        let begun = Instant::now();
        for clients in &self.sessions {
            let mut after = clients.await_served_by("site-1", self.prime, Duration::from_mins(1));
            after.sort_by(f64::total_cmp);
            let events: Vec<Event> = clients
                .events()
                .into_iter()
                .filter(|e| e.at >= self.prime)
                .collect();
            let mut left: Vec<f64> = (0..usize::from(SESSIONS))
                .map(|client| leaves_once(clients.name(), &events, client))
                .collect();
            left.sort_by(f64::total_cmp);
            lab.say(format!(
                "  {}: {:.2} s (first), {:.2} s (last) of {}; left from {:.2} s to {:.2} s",
                clients.name(),
                after[0],
                after[after.len() - 1],
                after.len(),
                left[0] - self.prime,
                left[left.len() - 1] - self.prime
            ));
            // The pace holds for each of the two proxies that have guests.
            let allowed = 2.0 * f64::from(2 * PACE) * 1.1 + 2.0;
            let most = left
                .iter()
                .map(|at| left.iter().filter(|t| **t >= *at && **t < at + 2.0).count())
                .max();
            let most = most.unwrap_or_default();
            assert!(
                most as f64 <= allowed,
                "{}: {most} left within two seconds",
                clients.name()
            );
        }
        lab.say(format!(
            "all are home {:.1?} after prime time was seen to have begun",
            begun.elapsed()
        ));
    }
}

/// That this client's session ended once, and nothing failed on its way; when it ended.
fn leaves_once(name: &str, events: &[Event], client: usize) -> f64 {
    let mine: Vec<&Event> = events.iter().filter(|e| e.client == client).collect();
    let failed: Vec<&&Event> = mine
        .iter()
        .filter(|e| e.what == "failed" || e.what == "ended")
        .collect();
    assert!(failed.is_empty(), "{name}, on the way home: {failed:?}");
    let left: Vec<f64> = mine
        .iter()
        .filter(|e| e.what == "lost" || e.what == "redirected")
        .map(|e| e.at)
        .collect();
    assert_eq!(
        left.len(),
        1,
        "{name}: client {client} left so often; it saw {mine:?}"
    );
    left[0]
}

/// One file with what clients of TLS trust: the servers of every site.
fn trust(servers: &[Servers; 3]) -> String {
    let all: String = servers
        .iter()
        .map(|servers| fs::read_to_string(&servers.certificate().file).expect("a certificate"))
        .collect();
    let path = servers[0].certificate().file.with_file_name("all.pem");
    fs::write(&path, all).expect("a file");
    path.display().to_string()
}

/// Every program of clients: requests that come one by one, and sessions.
fn clients(sites: &Sites, lab: &Lab, trusted: &str) -> (Clients, Vec<Clients>) {
    let web = access_of(1, WEB);
    let at = |kind: Kind| access_of(1, kind).to_string();
    let (host, addresses) = crowd(sites, lab, "http", 151, 1);
    let url = format!("http://{web}/again");
    let requests = Clients::start(
        &host,
        "requests",
        "http_client.py",
        &[&url, "0.2", "GET", "0"],
        &addresses,
    );
    let sessions = [
        (
            "websockets",
            "websocket_client.py",
            vec![format!("ws://{web}/"), "0.5".to_owned()],
        ),
        ("slixmpp", "xmpp_client.py", vec![at(XMPP), "0.5".to_owned()]),
        ("paho", "mqtt_client.py", vec![at(MQTT), "0.5".to_owned()]),
        (
            "TLS",
            "line_client.py",
            vec![at(TLS), "0.5".to_owned(), trusted.to_owned(), TLS_NAME.to_owned()],
        ),
        (
            "TCP",
            "line_client.py",
            vec![at(TCP), "0.5".to_owned(), "-".to_owned(), "-".to_owned()],
        ),
    ];
    let start = |(number, (name, script, arguments)): (u8, (&str, &str, Vec<String>))| {
        let (host, addresses) = crowd(sites, lab, name, number, SESSIONS);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Clients::start(&host, name, script, &arguments, &addresses)
    };
    (requests, (152..).zip(sessions).map(start).collect())
}
