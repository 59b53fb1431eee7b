//! Who is redirected natively, and who cannot be: clients outside the networks of a direct address, and names that no certificate
//! covers. They are relayed.

use std::net::IpAddr;

use switchyard_tests::backend::Nginx;
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::tls::Certificate;

use super::clients::curl;
use super::sites::{self, Kind, SOON, Sites, WEB, Wanted, access_of, crowd};

pub fn add(suite: &mut Suite) {
    suite.test("redirect::reach::networks_of_a_direct_address", networks);
    suite.test("redirect::reach::names_of_a_certificate", certificates);
}

/// HTTP, and HTTP after TLS that ends at the proxies.
const SECURE: Kind = Kind {
    name: "secure",
    port: 8444,
    direct: 18444,
    listener: "protocol: HTTPS, tls: {certificateRefs: [{name: secure}]}",
    server: 3000,
    dialects: "HTTP",
};

/// Starts two sites whose servers answer with their names, and kills site 1's.
fn start(lab: &Lab, kind: Kind, addresses: &str, secrets: &str) -> (Sites, Vec<Nginx>) {
    let servers = [1, 2].map(|site| sites::servers(lab, site));
    let mut webs: Vec<Nginx> = servers
        .iter()
        .map(|host| Nginx::start(host, kind.server))
        .collect();
    let wanted = Wanted {
        replicas: &[2, 2],
        kinds: &[kind],
        addresses,
        pool: "workload: {kind: StatefulSet}", // a template with {proxy} needs it
        redirect: "return: OnDemand",
        more: secrets,
        ..Wanted::default()
    };
    let sites = Sites::start(lab, &wanted);
    for (site, host) in sites.sites.iter().zip(&servers) {
        site.await_serving(kind, &[host.at(kind.server)]);
    }
    drop(webs.remove(0));
    sites.site(1).await_serving(kind, &[]);
    (sites, webs)
}

/// What curl got, how often it was redirected, and where it ended.
fn visit(host: &Host, from: IpAddr, url: &str, more: &[&str]) -> (String, usize, String) {
    let from = from.to_string();
    let mut arguments = vec![
        "-L",
        "--interface",
        &from,
        "-w",
        "\n%{num_redirects} %{url_effective}",
    ];
    arguments.extend(more);
    arguments.push(url);
    let said = curl(host, &arguments, None).unwrap_or_else(|why| panic!("{why}"));
    let (answer, rest) = said.rsplit_once('\n').expect("curl writes what it was asked for");
    let (redirects, end) = rest.split_once(' ').expect("two words");
    (
        answer.trim().to_owned(),
        redirects.parse().expect("a number"),
        end.to_owned(),
    )
}

/// Of two clients one is in the networks of the direct addresses.
fn networks(lab: &Lab) {
    let (sites, _webs) = start(lab, WEB, "[{type: PodIP, networks: [10.77.150.0/24]}]", "");
    let (near, near_at) = crowd(&sites, lab, "near", 150, 1);
    let (far, far_at) = crowd(&sites, lab, "far", 151, 1);
    let url = format!("http://{}/", access_of(1, WEB));
    let first = visit(&near, near_at[0], &url, &[]);
    let second = visit(&far, far_at[0], &url, &[]);
    lab.say(format!(
        "who can reach direct addresses: {first:?}; who cannot: {second:?}"
    ));
    assert_eq!((first.0.as_str(), first.1), ("site-2", 1));
    assert_eq!((second.0.as_str(), second.1), ("site-2", 0));
    // The proxies' logs are written after the end.
    eventually("the relayed visit is in the logs", SOON, || {
        let hops = sites.hops();
        let relayed = hops.contains(&2);
        relayed.then_some(()).ok_or_else(|| format!("{hops:?}"))
    });
}

/// The certificate covers the direct name of one of two proxies; clients that would be sent to the other are relayed. Both kinds are
/// served, and every client has seen a certificate that it trusts.
fn certificates(lab: &Lab) {
    let maker = lab.host("maker", 99);
    let names = ["sync.example.test", "site-2-a.example.test"];
    let certificate = Certificate::make(&maker.directory("tls"), &names);
    let (sites, _webs) = start(
        lab,
        SECURE,
        "[{type: Hostname, template: \"{proxy}.example.test\"}]",
        &manifest::tls_secret("secure", &certificate),
    );
    let (client, from) = crowd(&sites, lab, "client", 150, 12);
    let trusted = certificate.file.display().to_string();
    let resolve = |name: &str, port: u16, ip: IpAddr| format!("{name}:{port}:{ip}");
    let mut names = vec![resolve("sync.example.test", SECURE.port, sites::access(1))];
    for host in &sites.site(2).hosts {
        names.push(resolve(
            &format!("{}.example.test", host.name()),
            SECURE.direct,
            host.ip(),
        ));
    }
    let mut more = vec!["--cacert", &trusted];
    more.extend(names.iter().flat_map(|name| ["--resolve", name]));
    let url = format!("https://sync.example.test:{}/", SECURE.port);
    let mut redirected = 0;
    for from in &from {
        let (server, redirects, end) = visit(&client, *from, &url, &more);
        assert_eq!(server, "site-2");
        match redirects {
            0 => assert_eq!(end, url),
            1 => {
                redirected += 1;
                assert_eq!(end, format!("https://site-2-a.example.test:{}/", SECURE.direct));
            }
            more => panic!("{more} redirects, to {end}"),
        }
    }
    lab.say(format!(
        "of {} clients {redirected} were redirected, to the one name that the certificate covers",
        from.len()
    ));
    assert!(redirected > 0, "nobody was redirected");
}
