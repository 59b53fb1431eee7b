//! Eight thousand guests at two proxies go home at the set pace, and each is served there at its first attempt.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{Load, LoadPlan};
use switchyard_tests::greeting::Greeting;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::suite::Suite;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::sites::{self, SOON, Sites, TCP, Wanted, access_of, crowd};
use crate::scene::PORT;

pub fn add(suite: &mut Suite) {
    suite.alone("redirect::guests::eight_thousand_return", return_home);
}

const HOSTS: u8 = 4;
/// Addresses of each host: where a client is sent depends on its address. All namespaces of a machine share one table of neighbours,
/// which by default holds 1,024.
const ADDRESSES: u8 = 25;
/// Guests of each address.
const EACH: usize = 80;
/// Guests per second and proxy.
const PACE: u32 = 500;
/// Connections that are being opened at the same time, of each host.
const OPENING: usize = 32;
/// For a step of one guest.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than the trial.
const STAY: Duration = Duration::from_mins(3);

fn return_home(lab: &Lab) {
    let servers = [1, 2].map(|site| sites::servers(lab, site));
    let mut lines = servers
        .each_ref()
        .map(|host| Backend::start(host, PORT, Mode::ClientFirst));
    let wanted = Wanted {
        replicas: &[2, 2],
        pool: "guests: {max: 90%}",
        chain: &format!("failover: {{pace: {PACE}}}"),
        redirect: "return: OnDemand, minStay: 1s, grace: 120s",
        workers: 2,
        descriptors: Some(20_000),
        ..Wanted::default()
    };
    let sites = Sites::start(lab, &wanted);
    for (site, host) in sites.sites.iter().zip(&servers) {
        site.await_serving(TCP, &[host.at(PORT)]);
    }
    lines[0].kill();
    sites.site(1).await_serving(TCP, &[]);

    let home = access_of(1, TCP);
    let begun = Instant::now();
    let mut guests = Guests::open(&sites, lab, home);
    let opened = begun.elapsed();
    let by = guests
        .opened
        .iter()
        .fold(BTreeMap::<IpAddr, usize>::new(), |mut by, greeting| {
            assert_eq!(greeting.name, "site-2");
            *by.entry(greeting.peer.ip()).or_default() += 1;
            by
        });
    lab.say(format!(
        "{} guests came in {opened:.1?}; from which proxy: {by:?}",
        guests.opened.len()
    ));
    assert_eq!(by.len(), 2, "both proxies have guests");

    lines[0].revive();
    sites.site(1).await_serving(TCP, &[servers[0].at(PORT)]);
    let visitor = lab.host("visitor", 100);
    sites.open_to(&visitor);
    // A detour is held for a while after its cause is gone: guests that went home too early would only be sent back.
    super::partitions::await_at_home(&visitor, home, "site-1", Duration::from_mins(1));
    let load = Load::start(&visitor, LoadPlan::new(home, 20));
    for proxy in &sites.site(2).proxies {
        let (code, out, err) = proxy.command(&["return", "edge/tcp", "--admin", "127.0.0.1:17000"]);
        assert_eq!(code, Some(0), "{out}{err}");
        lab.say(format!("switchyard return: {}", out.trim()));
    }
    let back = guests.await_home();
    let seen = load.stop();
    lab.say(format!("visitors meanwhile: {seen}"));
    for proxy in by.keys() {
        must_be_paced(lab, *proxy, &back);
    }
    let longest = back.iter().map(|one| one.without).max().unwrap_or_default();
    lab.say(format!(
        "{} are home, each at its first attempt; without service {longest:.1?} at most",
        back.len()
    ));
    seen.must_all_be_served();
}

/// A guest that is home again.
struct Back {
    /// The proxy where it was a guest.
    from: IpAddr,
    left: Instant,
    /// From then until it was served at home.
    without: Duration,
}

struct Guests {
    /// Who greeted each as a guest.
    opened: Vec<Greeting>,
    count: usize,
    home: mpsc::UnboundedReceiver<Result<Back, String>>,
    host: Host,
    _hosts: Vec<Host>,
}

impl Guests {
    /// Opens them all; returns once each has been greeted.
    fn open(sites: &Sites, lab: &Lab, to: SocketAddr) -> Self {
        let (opened, mut all) = mpsc::unbounded_channel();
        let (back, home) = mpsc::unbounded_channel();
        let mut hosts = Vec::new();
        for number in 0..HOSTS {
            let (host, addresses) = crowd(sites, lab, &format!("crowd{number}"), 160 + number, ADDRESSES);
            let (opened, back) = (opened.clone(), back.clone());
            host.spawn(async move {
                let opening = Arc::new(Semaphore::new(OPENING));
                let mut guests = JoinSet::new();
                for from in addresses.iter().flat_map(|address| [*address; EACH]) {
                    let (opening, opened, back) = (Arc::clone(&opening), opened.clone(), back.clone());
                    guests.spawn(async move {
                        let _ = back.send(guest(from, to, &opening, &opened).await);
                    });
                }
                while guests.join_next().await.is_some() {}
            });
            hosts.push(host);
        }
        let count = usize::from(HOSTS) * usize::from(ADDRESSES) * EACH;
        let opened = hosts[0].block_on(async move {
            let mut greetings: Vec<Greeting> = Vec::new();
            while greetings.len() < count {
                match timeout(PATIENCE, all.recv()).await {
                    Ok(Some(Ok(greeting))) => greetings.push(greeting),
                    Ok(Some(Err(why))) => panic!("guest {} did not come in: {why}", greetings.len()),
                    _ => panic!("{} of {count} came in", greetings.len()),
                }
            }
            greetings
        });
        Self {
            opened,
            count,
            home,
            host: hosts[0].clone(),
            _hosts: hosts,
        }
    }

    /// Waits until each is home.
    fn await_home(&mut self) -> Vec<Back> {
        let count = self.count;
        let (_, nobody) = mpsc::unbounded_channel();
        let mut home = std::mem::replace(&mut self.home, nobody);
        self.host.block_on(async move {
            let mut all = Vec::new();
            while all.len() < count {
                match timeout(SOON, home.recv()).await {
                    Ok(Some(Ok(one))) => all.push(one),
                    Ok(Some(Err(why))) => panic!("after {} of {count}: {why}", all.len()),
                    _ => panic!("{} of {count} are home", all.len()),
                }
            }
            all
        })
    }
}

/// One guest: is served away from home, waits until it is sent away, and is served at home at its first attempt.
async fn guest(
    from: IpAddr,
    to: SocketAddr,
    opening: &Semaphore,
    opened: &mpsc::UnboundedSender<Result<Greeting, String>>,
) -> Result<Back, String> {
    let turn = opening.acquire().await;
    let visit = visit(from, to).await;
    drop(turn);
    let (mut stream, greeting) = match visit {
        Ok((stream, greeting)) => {
            let _ = opened.send(Ok(greeting.clone()));
            (stream, greeting)
        }
        Err(why) => {
            let _ = opened.send(Err(why.clone()));
            return Err(why);
        }
    };
    match timeout(STAY, stream.fill_buf()).await {
        Ok(Ok([])) => {}
        Ok(Ok(bytes)) => return Err(format!("{} bytes nobody asked for", bytes.len())),
        Ok(Err(error)) => return Err(format!("its session as a guest ended with {error}")),
        Err(_) => return Err("nobody sent it home".to_owned()),
    }
    let left = Instant::now();
    drop(stream);
    let (_stream, at_home) = self::visit(from, to)
        .await
        .map_err(|why| format!("on its way home: {why}"))?;
    if at_home.name != "site-1" {
        return Err(format!("home, it was served by {}", at_home.name));
    }
    Ok(Back {
        from: greeting.peer.ip(),
        left,
        without: left.elapsed(),
    })
}

async fn visit(from: IpAddr, to: SocketAddr) -> Result<(BufReader<TcpStream>, Greeting), String> {
    let visit = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        let mut stream = BufReader::new(socket.connect(to).await?);
        stream.write_all(b"who are you?\n").await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let greeting = serde_json::from_str(&line)
            .map_err(|error| std::io::Error::other(format!("{error}: {line:?}")))?;
        Ok::<_, std::io::Error>((stream, greeting))
    };
    match timeout(PATIENCE, visit).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

/// Guests of this proxy left at the pace, within 10 %.
fn must_be_paced(lab: &Lab, proxy: IpAddr, all: &[Back]) {
    let mut left: Vec<Instant> = all
        .iter()
        .filter(|one| one.from == proxy)
        .map(|one| one.left)
        .collect();
    left.sort_unstable();
    let took = left[left.len() - 1] - left[0];
    let rate = (left.len() - 1) as f64 / took.as_secs_f64();
    let window = |at: &Instant| {
        left.partition_point(|t| *t < *at + Duration::from_secs(2)) - left.partition_point(|t| *t < *at)
    };
    let most = left.iter().map(window).max().unwrap_or_default();
    lab.say(format!(
        "{} guests left {proxy} in {took:.2?}: {rate:.0} a second, {most} in the two fullest; the pace is {PACE}",
        left.len()
    ));
    let pace = f64::from(PACE);
    assert!(
        (rate / pace - 1.0).abs() <= 0.1,
        "{rate:.0} a second is not {pace} within 10 %"
    );
    assert!(most as f64 <= 2.0 * pace * 1.1 + 1.0, "{most} in two seconds");
}
