//! An authoritative server (hickory-server) on loopback, UDP and TCP, whose behaviour a test chooses.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_net::runtime::Time;
use hickory_net::xfer::Protocol;
use hickory_proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, SRV};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordSet, RecordType, RrKey};
use hickory_server::Server;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

/// What the server does with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Mood {
    Answer,
    ServFail,
    Refused,
    Silent,
}

/// Serves the zone `example.`
pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    zone: Arc<InMemoryZoneHandler>,
    seen: Arc<Seen>,
    serial: AtomicU32,
    server: Server<Handler>,
}

#[derive(Default)]
struct Seen {
    mood: AtomicUsize,
    queries: Mutex<BTreeMap<(String, RecordType), usize>>,
    over_tcp: AtomicUsize,
}

struct Handler {
    catalog: Catalog,
    seen: Arc<Seen>,
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// Both transports at one port. Where the system chooses it, it knows of TCP only: the UDP port of that number may be somebody's.
async fn sockets(address: SocketAddr) -> (TcpListener, UdpSocket) {
    // Those that are of no use are kept until one is, so that none is offered twice.
    let mut taken = Vec::new();
    loop {
        let tcp = TcpListener::bind(address).await.unwrap();
        match UdpSocket::bind(tcp.local_addr().unwrap()).await {
            Ok(udp) => return (tcp, udp),
            Err(error) if address.port() == 0 && error.kind() == ErrorKind::AddrInUse => taken.push(tcp),
            Err(error) => panic!("{address}: {error}"),
        }
    }
}

impl DnsServer {
    pub(crate) async fn start() -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_on(address: SocketAddr) -> Self {
        let (tcp, udp) = sockets(address).await;
        let address = tcp.local_addr().unwrap();
        let origin = name("example.");
        let zone = Arc::new(InMemoryZoneHandler::empty(
            origin.clone(),
            ZoneType::Primary,
            AxfrPolicy::Deny,
        ));
        let soa = SOA::new(name("ns.example."), name("root.example."), 1, 60, 60, 60, 60);
        zone.upsert(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1)
            .await;
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::from(&origin), vec![zone.clone()]);
        let seen = Arc::new(Seen::default());
        let mut server = Server::new(Handler {
            catalog,
            seen: Arc::clone(&seen),
        });
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 16);
        let serial = AtomicU32::new(2);
        Self {
            address,
            zone,
            seen,
            serial,
            server,
        }
    }

    pub(crate) async fn stop(mut self) {
        self.server.shutdown_gracefully().await.unwrap();
    }

    pub(crate) fn mood(&self, mood: Mood) {
        self.seen.mood.store(mood as usize, Ordering::Relaxed);
    }

    /// How often a name was asked for; `name` with its trailing dot.
    pub(crate) fn queries(&self, name: &str, kind: RecordType) -> usize {
        let queries = self.seen.queries.lock().unwrap();
        queries.get(&(name.to_owned(), kind)).copied().unwrap_or(0)
    }

    pub(crate) fn queries_over_tcp(&self) -> usize {
        self.seen.over_tcp.load(Ordering::Relaxed)
    }

    /// Replaces all records of one name and type.
    pub(crate) async fn set(&self, owner: &str, ttl: u32, data: Vec<RData>) {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let kind = data[0].record_type();
        let mut set = RecordSet::with_ttl(name(owner), kind, ttl);
        for data in data {
            set.insert(Record::from_rdata(name(owner), ttl, data), serial);
        }
        let key = RrKey::new(LowerName::from(name(owner)), kind);
        self.zone.records_mut().await.insert(key, Arc::new(set));
    }

    pub(crate) async fn remove(&self, owner: &str, kind: RecordType) {
        let key = RrKey::new(LowerName::from(name(owner)), kind);
        self.zone.records_mut().await.remove(&key);
    }

    pub(crate) async fn set_a(&self, owner: &str, ttl: u32, addresses: &[&str]) {
        let data = addresses
            .iter()
            .map(|a| RData::A(A(a.parse().unwrap())))
            .collect();
        self.set(owner, ttl, data).await;
    }

    pub(crate) async fn set_aaaa(&self, owner: &str, ttl: u32, addresses: &[&str]) {
        let data = addresses
            .iter()
            .map(|a| RData::AAAA(AAAA(a.parse().unwrap())))
            .collect();
        self.set(owner, ttl, data).await;
    }

    pub(crate) async fn set_cname(&self, owner: &str, ttl: u32, target: &str) {
        self.set(owner, ttl, vec![RData::CNAME(CNAME(name(target)))])
            .await;
    }

    pub(crate) async fn set_srv(&self, owner: &str, ttl: u32, targets: &[(u16, u16, u16, &str)]) {
        let data = targets
            .iter()
            .map(|&(priority, weight, port, target)| {
                RData::SRV(SRV::new(priority, weight, port, name(target)))
            })
            .collect();
        self.set(owner, ttl, data).await;
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let info = request.request_info().unwrap();
        let key = (info.query.name().to_string(), info.query.query_type());
        *self.seen.queries.lock().unwrap().entry(key).or_default() += 1;
        if request.protocol() == Protocol::Tcp {
            self.seen.over_tcp.fetch_add(1, Ordering::Relaxed);
        }
        let code = match self.seen.mood.load(Ordering::Relaxed) {
            m if m == Mood::ServFail as usize => ResponseCode::ServFail,
            m if m == Mood::Refused as usize => ResponseCode::Refused,
            m if m == Mood::Silent as usize => {
                let metadata = Metadata::response_from_request(&request.metadata);
                let counts = HeaderCounts::default();
                return ResponseInfo::from(Header { metadata, counts });
            }
            _ => return self.catalog.handle_request::<R, T>(request, response).await,
        };
        let message =
            MessageResponseBuilder::from_message_request(request).error_msg(&request.metadata, code);
        response.send_response(message).await.unwrap()
    }
}
