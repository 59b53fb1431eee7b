//! The second act: two sites that stand in for each other. In: a DNS server, ports. Out: clients of the first site, what they
//! saw, and its redirect table as `switchyard table` shows it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use super::clients::{Clients, Summary};
use super::dns::{Dns, loopback};
use super::manifests::{Ports, SITES};
use super::programs::{Program, backend};
use crate::proxies::Proxy;
use crate::table;

/// The backends of the sites.
const BACKENDS: [Ipv4Addr; 2] = [loopback(30, 1), loopback(30, 2)];
/// The one proxy of the first site: the third pool of the files.
const FIRST: Ipv4Addr = loopback(3, 1);

/// Both sites.
pub struct Sites {
    backends: [Program; 2],
    access_point: SocketAddr,
    clients: Option<Clients>,
}

impl Sites {
    /// Starts a backend at each.
    pub async fn set(dns: &mut Dns, ports: &Ports) -> io::Result<Self> {
        for (site, address) in SITES.iter().zip(BACKENDS) {
            dns.set(site, &[address]).await?;
        }
        Ok(Self {
            backends: [
                backend(SITES[0], BACKENDS[0], ports.backend).await?,
                backend(SITES[1], BACKENDS[1], ports.backend).await?,
            ],
            access_point: (FIRST, ports.desk[0]).into(),
            clients: None,
        })
    }

    /// Its clients come.
    pub fn begin(&mut self) {
        self.clients = Some(Clients::start(self.access_point, 6, 6));
    }

    /// Everything at the first site dies but its proxy.
    pub async fn kill_first(&mut self) -> io::Result<()> {
        self.backends[0].kill().await
    }

    /// It is back.
    pub async fn revive_first(&mut self, ports: &Ports) -> io::Result<()> {
        self.backends[0] = backend(SITES[0], BACKENDS[0], ports.backend).await?;
        Ok(())
    }

    /// What its clients saw in requests that ended after `mark`.
    pub fn since(&self, mark: Instant) -> Summary {
        let seen = self.clients.as_ref().map(|clients| clients.since(mark));
        seen.unwrap_or_default()
    }

    /// Who served the newest connection.
    pub fn newest_server(&self) -> Option<String> {
        self.clients.as_ref().and_then(Clients::newest_server)
    }

    /// Prints the first site's redirect table.
    pub async fn show_table(&self, when: &str) -> io::Result<()> {
        let admin = SocketAddr::from((FIRST, switchyard_proxy::admin::DEFAULT_PORT)).to_string();
        let page = Proxy::At(admin.clone()).page("/table").await;
        let page = page.map_err(io::Error::other)?;
        println!("\n  $ switchyard table --admin {admin}      # {when}");
        for line in table::drawn(&page).trim_end().lines() {
            println!("  {line}");
        }
        println!();
        Ok(())
    }

    /// Takes everything down.
    pub async fn stop(self) -> io::Result<()> {
        if let Some(clients) = self.clients {
            clients.stop().await;
        }
        for mut program in self.backends {
            program.kill().await?;
        }
        Ok(())
    }
}
