//! An authoritative DNS server on loopback. In: a name's addresses, changed at will; stop and start. Out: real answers
//! over UDP and TCP with a TTL of one second.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType, RrKey};
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

/// Seconds: what every record of the zone carries.
const TTL: u32 = 1;
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
const TCP_RESPONSE_BUFFER: usize = 4096;

/// A zone and, while it runs, the server that answers for it.
pub struct Dns {
    zone: Arc<InMemoryZoneHandler>,
    origin: Name,
    address: SocketAddr,
    serial: u32,
    server: Option<Server<Catalog>>,
}

impl Dns {
    /// Serves `origin` (a fully qualified name) on a free loopback port.
    pub async fn start(origin: &str) -> io::Result<Self> {
        let origin: Name = origin.parse().map_err(io::Error::other)?;
        let zone = InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
        let soa = SOA::new(origin.clone(), origin.clone(), 1, 3600, 600, 86_400, TTL);
        zone.upsert(Record::from_rdata(origin.clone(), TTL, RData::SOA(soa)), 1)
            .await;
        // Not 127.0.0.1: clients of the demo connect from there, and might hold the port while the server is stopped.
        let loopback = SocketAddr::from((loopback(53, 1), 0));
        let mut dns = Self {
            zone: Arc::new(zone),
            origin,
            address: loopback,
            serial: 1,
            server: None,
        };
        dns.resume().await?;
        Ok(dns)
    }

    /// Where it listens, also while it is stopped.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `name` (relative to the origin) has exactly these addresses.
    pub async fn set(&mut self, name: &str, addresses: &[Ipv4Addr]) -> io::Result<()> {
        let name = Name::from_ascii(name)
            .and_then(|name| name.append_domain(&self.origin))
            .map_err(io::Error::other)?;
        self.serial += 1;
        self.zone
            .records_mut()
            .await
            .remove(&RrKey::new(LowerName::new(&name), RecordType::A));
        for address in addresses {
            let record = Record::from_rdata(name.clone(), TTL, RData::A(A(*address)));
            self.zone.upsert(record, self.serial).await;
        }
        Ok(())
    }

    /// Binds again, where it was before.
    pub async fn resume(&mut self) -> io::Result<()> {
        let udp = UdpSocket::bind(self.address).await?;
        self.address = udp.local_addr()?;
        let tcp = TcpListener::bind(self.address).await?;
        let mut catalog = Catalog::new();
        let zone: Arc<dyn ZoneHandler> = Arc::clone(&self.zone) as _;
        catalog.upsert(LowerName::new(&self.origin), vec![zone]);
        let mut server = Server::new(catalog);
        server.register_socket(udp);
        server.register_listener(tcp, TCP_TIMEOUT, TCP_RESPONSE_BUFFER);
        self.server = Some(server);
        Ok(())
    }

    /// Closes its sockets: queries get no answer.
    pub async fn stop(&mut self) -> io::Result<()> {
        match self.server.take() {
            Some(mut server) => server.shutdown_gracefully().await.map_err(io::Error::other),
            None => Ok(()),
        }
    }
}

/// The demo's addresses are IPv4 throughout.
pub const fn loopback(c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, c, d)
}
