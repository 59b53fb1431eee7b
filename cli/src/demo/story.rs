//! The story itself. In: nothing. Out: a row per event, with what the clients saw from the event to the next one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use hyper::Method;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::time::{sleep, sleep_until};

use super::clients::{Clients, Summary};
use super::dns::{Dns, loopback};
use super::manifests::{DELAY, FAILBACKS, Ports, SITES, failback_chain, pools, sites, web_chain};
use super::programs::{Program, backend, switchyard};
use super::sites::Sites;
use super::table::Row;
use crate::admin_client;

const ORIGIN: &str = "demo.example.";
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// Prime time begins this long after the primaries are back.
const PRIME_TIME_IN: Duration = Duration::from_secs(7);
/// How long the primaries' return is watched: past the start of prime time.
const RETURN_WATCHED: Duration = Duration::from_secs(11);
const DNS_OUTAGE: Duration = Duration::from_secs(10);

const PRIMARY: Ipv4Addr = loopback(20, 1);
const STANDBY: Ipv4Addr = loopback(20, 2);

struct Stage {
    folder: tempfile::TempDir,
    ports: Ports,
    dns: Dns,
    web: Vec<Program>,
    primary: Program,
    standby: Program,
    proxies: Program,
    visitors: Clients,
    guests: Vec<Clients>,
    sites: Sites,
}

/// Sets the stage, plays every event, and takes the stage down.
pub async fn tell() -> io::Result<Vec<Row>> {
    println!("Setting up: a DNS server, seven backends, four pools …");
    let mut stage = Stage::set().await?;
    let mut rows = Vec::new();
    let played = stage.play(&mut rows).await;
    if played.is_err() {
        let log = std::fs::read_to_string(stage.folder.path().join("switchyard.log")).unwrap_or_default();
        eprintln!("The proxies' log:\n{log}");
    }
    let stopped = stage.take_down().await;
    played.and(stopped).map(|()| rows)
}

impl Stage {
    async fn set() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let ports = free_ports()?;
        let mut dns = Dns::start(ORIGIN).await?;
        let at: Vec<Ipv4Addr> = (1..=3).map(|d| loopback(10, d)).collect();
        dns.set("web", &at).await?;
        dns.set("primary", &[PRIMARY]).await?;
        dns.set("standby", &[STANDBY]).await?;
        let mut web = Vec::new();
        for (number, address) in (1..).zip(&at) {
            web.push(backend(&format!("web-{number}"), *address, ports.backend).await?);
        }
        let primary = backend("primary", PRIMARY, ports.backend).await?;
        let standby = backend("standby", STANDBY, ports.backend).await?;
        let sites = Sites::set(&mut dns, &ports).await?;
        write_manifests(folder.path(), &ports, dns.address(), "00:00:00")?;
        let mut proxies = switchyard(folder.path())?;
        for pool in 1..=4 {
            await_ready(loopback(pool, 1), &mut proxies).await?;
        }
        let visitors = Clients::start((loopback(1, 1), ports.web).into(), 12, 6);
        let guests = ports
            .failback
            .iter()
            .map(|port| Clients::start((loopback(2, 1), *port).into(), 4, 2))
            .collect();
        Ok(Self {
            folder,
            ports,
            dns,
            web,
            primary,
            standby,
            proxies,
            visitors,
            guests,
            sites,
        })
    }

    async fn play(&mut self, rows: &mut Vec<Row>) -> io::Result<()> {
        rows.push(self.all_is_well().await?);
        rows.push(self.kill_one().await?);
        rows.push(self.move_address().await?);
        rows.push(self.stop_dns().await?);
        rows.push(self.kill_primary().await?);
        rows.extend(self.primary_returns().await?);
        rows.push(self.site_dies().await?);
        rows.push(self.site_returns().await?);
        match self.proxies.ended()? {
            Some(ended) => Err(io::Error::other(ended)),
            None => Ok(()),
        }
    }

    async fn all_is_well(&self) -> io::Result<Row> {
        say("42 clients, nothing happens");
        let mark = Instant::now();
        sleep(Duration::from_secs(3)).await;
        let seen = self.visitors.since(mark);
        Ok(Row {
            event: "nothing happens".into(),
            outcome: shares(&seen),
            seen: self.all_since(mark),
        })
    }

    async fn kill_one(&mut self) -> io::Result<Row> {
        say("web-2 is killed");
        let mark = Instant::now();
        self.web[1].kill().await?;
        sleep(Duration::from_secs(4)).await;
        let seen = self.visitors.since(mark);
        say("web-2 comes back");
        self.web[1] = backend("web-2", loopback(10, 2), self.ports.backend).await?;
        let back = Instant::now();
        self.await_server("web-2", back).await?;
        Ok(Row {
            event: "web-2 is killed".into(),
            outcome: shares(&seen),
            seen,
        })
    }

    async fn move_address(&mut self) -> io::Result<Row> {
        say("web-3 leaves DNS, web-4 enters it");
        self.web
            .push(backend("web-4", loopback(10, 4), self.ports.backend).await?);
        let mark = Instant::now();
        self.dns
            .set("web", &[loopback(10, 1), loopback(10, 2), loopback(10, 4)])
            .await?;
        sleep(Duration::from_secs(4)).await;
        let seen = self.visitors.since(mark);
        let last = seen
            .by_server
            .get("web-3")
            .map_or(Duration::ZERO, |served| served.last);
        let outcome = format!(
            "last new connection to web-3 after {} ms; {}",
            last.as_millis(),
            shares(&seen)
        );
        Ok(Row {
            event: "web-3 leaves DNS (TTL 1 s), web-4 enters".into(),
            outcome,
            seen,
        })
    }

    async fn stop_dns(&mut self) -> io::Result<Row> {
        say("the DNS server is stopped for ten seconds");
        let mark = Instant::now();
        self.dns.stop().await?;
        sleep(DNS_OUTAGE).await;
        self.dns.resume().await?;
        sleep(Duration::from_secs(1)).await;
        let seen = self.visitors.since(mark);
        Ok(Row {
            event: "DNS is stopped for 10 s".into(),
            outcome: shares(&seen),
            seen: self.all_since(mark),
        })
    }

    async fn kill_primary(&mut self) -> io::Result<Row> {
        say("the primary of four chains is killed");
        let mark = Instant::now();
        self.primary.kill().await?;
        sleep(Duration::from_secs(3)).await;
        let seen = self.guests_since(mark);
        Ok(Row {
            event: "the primary is killed".into(),
            outcome: shares(&seen),
            seen,
        })
    }

    async fn primary_returns(&mut self) -> io::Result<Vec<Row>> {
        say("the primary comes back, under each failback mode");
        self.primary = backend("primary", PRIMARY, self.ports.backend).await?;
        let mark = Instant::now();
        let start = soon();
        write_manifests(self.folder.path(), &self.ports, self.dns.address(), &start)?;
        sleep_until((mark + RETURN_WATCHED).into()).await;
        let rows = FAILBACKS.iter().zip(&self.guests).map(|(mode, clients)| {
            let seen = clients.since(mark);
            let first = seen.by_server.get("primary").map(|served| served.first);
            let outcome = match (first, clients.newest_server().as_deref()) {
                (Some(first), Some("primary")) => {
                    format!("back on the primary after {} ms", first.as_millis())
                }
                (None, Some(other)) => format!("stays on the {other}"),
                (first, now) => format!("first on the primary: {first:?}, now on {now:?}"),
            };
            let how = match *mode {
                "Delayed" => format!(" by {DELAY} s"),
                "Scheduled" => format!(" for {start}, in {} s", PRIME_TIME_IN.as_secs()),
                _ => String::new(),
            };
            Row {
                event: format!("the primary is back: {mode}{how}"),
                outcome,
                seen,
            }
        });
        Ok(rows.collect())
    }

    async fn site_dies(&mut self) -> io::Result<Row> {
        let [here, there] = SITES;
        self.sites.begin();
        sleep(Duration::from_secs(1)).await;
        self.sites.show_table("before").await?;
        say(&format!("all of {here} dies: its clients are sent to {there}"));
        let mark = Instant::now();
        self.sites.kill_first().await?;
        sleep(Duration::from_secs(4)).await;
        self.sites.show_table("while it is dead").await?;
        let seen = self.sites.since(mark);
        Ok(Row {
            event: format!("{here} dies, {there} lives"),
            outcome: shares(&seen),
            seen,
        })
    }

    async fn site_returns(&mut self) -> io::Result<Row> {
        let [here, _] = SITES;
        say(&format!("{here} comes back; its clients follow at prime time"));
        self.sites.revive_first(&self.ports).await?;
        let mark = Instant::now();
        let start = soon();
        write_manifests(self.folder.path(), &self.ports, self.dns.address(), &start)?;
        sleep_until((mark + RETURN_WATCHED).into()).await;
        self.sites.show_table("after prime time").await?;
        let seen = self.sites.since(mark);
        let back = match self.sites.newest_server().as_deref() {
            Some(server) if server == here => format!("back in {here}; {}", shares(&seen)),
            other => format!("now on {other:?}; {}", shares(&seen)),
        };
        Ok(Row {
            event: format!("{here} is back, prime time at {start}"),
            outcome: back,
            seen,
        })
    }

    async fn await_server(&self, name: &str, since: Instant) -> io::Result<()> {
        let deadline = since + READY_TIMEOUT;
        while !self.visitors.since(since).by_server.contains_key(name) {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "{name} lives, but served nobody within {READY_TIMEOUT:?}"
                )));
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    fn guests_since(&self, mark: Instant) -> Summary {
        let mut seen = Summary::default();
        self.guests
            .iter()
            .for_each(|clients| seen.merge(clients.since(mark)));
        seen
    }

    fn all_since(&self, mark: Instant) -> Summary {
        let mut seen = self.guests_since(mark);
        seen.merge(self.visitors.since(mark));
        seen
    }

    async fn take_down(mut self) -> io::Result<()> {
        self.visitors.stop().await;
        for clients in self.guests {
            clients.stop().await;
        }
        let sites = self.sites.stop().await;
        let stopped = self.proxies.stop().await.and(sites);
        for mut program in self.web.into_iter().chain([self.primary, self.standby]) {
            program.kill().await?;
        }
        self.dns.stop().await?;
        stopped
    }
}

/// When prime time begins next, `HH:MM:SS` in UTC.
fn soon() -> String {
    let start = (Timestamp::now() + PRIME_TIME_IN).to_zoned(TimeZone::UTC);
    start.strftime("%H:%M:%S").to_string()
}

const POLL_INTERVAL: Duration = Duration::from_millis(50);

async fn await_ready(address: Ipv4Addr, proxies: &mut Program) -> io::Result<()> {
    let admin = SocketAddr::from((address, switchyard_proxy::admin::DEFAULT_PORT));
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let answer = admin_client::ask(Method::GET, &admin.to_string(), "/readyz").await;
        if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
        if let Some(ended) = proxies.ended()? {
            return Err(io::Error::other(ended));
        }
        if Instant::now() > deadline {
            return Err(io::Error::other(format!(
                "the proxy at {address} is not ready: {answer:?}"
            )));
        }
        sleep(POLL_INTERVAL).await;
    }
}

fn write_manifests(folder: &Path, ports: &Ports, dns: SocketAddr, prime_time: &str) -> io::Result<()> {
    let folder = folder.join("manifests");
    std::fs::create_dir_all(&folder)?;
    let mut chains = web_chain(ports, dns);
    for mode in FAILBACKS {
        chains += &format!("---\n{}", failback_chain(ports, dns, mode, prime_time));
    }
    let sites = sites(ports, dns, prime_time);
    // In the order of their names, which is the order of the pools' addresses.
    for (name, text) in [
        ("1-pools.yaml", pools(ports)),
        ("2-sites.yaml", sites),
        ("3-chains.yaml", chains),
    ] {
        // Renamed into place, so that whoever watches sees all of it or nothing.
        let draft = folder.join(format!(".{name}.tmp"));
        std::fs::write(&draft, text)?;
        std::fs::rename(draft, folder.join(name))?;
    }
    Ok(())
}

fn free_ports() -> io::Result<Ports> {
    let holders: Vec<TcpListener> = (0..8)
        .map(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))
        .collect::<io::Result<_>>()?;
    let ports: Vec<u16> = holders
        .iter()
        .map(|holder| Ok(holder.local_addr()?.port()))
        .collect::<io::Result<_>>()?;
    Ok(Ports {
        backend: ports[0],
        web: ports[1],
        failback: [ports[2], ports[3], ports[4], ports[5]],
        desk: [ports[6], ports[7]],
    })
}

fn shares(seen: &Summary) -> String {
    let shares: Vec<String> = seen
        .by_server
        .iter()
        .map(|(name, served)| format!("{name} {}", served.count))
        .collect();
    let mut text = format!("new connections: {}", shares.join(", "));
    if let Some(error) = &seen.first_error {
        text += &format!("; first failure: {error}");
    }
    text
}

fn say(event: &str) {
    println!("  {} {event}", Timestamp::now().strftime("%H:%M:%S"));
}
