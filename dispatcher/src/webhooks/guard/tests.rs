use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::sync::Mutex;

use super::*;

fn strict() -> Guard {
    Guard::new(&WebhooksConfig::default()).unwrap()
}

fn local(allow: &[&str]) -> Guard {
    let allow = allow.iter().map(|a| (*a).to_owned()).collect();
    Guard::new(&WebhooksConfig { allow, http: true, ports: Vec::new() }).unwrap()
}

#[test]
fn only_addresses_of_the_public_internet_are_permitted() {
    let public = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.112.255",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2a00:1450:4001:80e::200e",
        "2400:cb00::1",
    ];
    let refused = [
        // This host, private, shared (CGNAT), loopback, link-local with the metadata services of clouds.
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.0",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.0",
        "192.168.255.255",
        // Protocol assignments, documentation, relays, benchmarks.
        "192.0.0.8",
        "192.0.0.170",
        "192.0.2.1",
        "192.31.196.1",
        "192.52.193.1",
        "192.88.99.1",
        "192.175.48.1",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.7",
        // Multicast, reserved, broadcast.
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        // Unspecified, loopback, IPv4-compatible, IPv4-mapped, translated.
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:1.1.1.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        // Discard-only, Teredo, ORCHID, benchmarks, documentation, 6to4, AS112, segment routing.
        "100::1",
        "2001::1",
        "2001:2::1",
        "2001:20::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2620:4f:8000::1",
        "3fff::1",
        "3fff:fff::1",
        "5f00::1",
        // Unique local with the metadata service, link-local, site-local, multicast.
        "fc00::1",
        "fd00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        // Not assigned.
        "4000::1",
        "8000::1",
    ];
    let guard = strict();
    for address in public {
        assert!(guard.reach.permits(address.parse().unwrap()), "{address} is public");
    }
    for address in refused {
        assert!(!guard.reach.permits(address.parse().unwrap()), "{address} is not public");
    }
}

#[test]
fn only_plain_https_urls_pass() {
    let guard = strict();
    for url in
        ["https://example.org/hook", "https://example.org:8443/hook?x=1", "https://1.1.1.1/", "https://[2606:4700::1]/"]
    {
        assert!(guard.check(url).is_ok(), "{url}");
    }
    let refusals = [
        ("example.org", Refused::Unreadable),
        ("https://", Refused::Unreadable),
        ("http://example.org/", Refused::Scheme),
        ("file:///etc/passwd", Refused::Scheme),
        ("gopher://example.org:70/", Refused::Scheme),
        ("ftp://example.org/", Refused::Scheme),
        ("https://user@example.org/", Refused::Credentials),
        ("https://:secret@example.org/", Refused::Credentials),
        ("https://example.org:22/", Refused::Port(22)),
        ("https://example.org:6379/", Refused::Port(6379)),
        ("https://example.org:0/", Refused::Port(0)),
        ("https://127.0.0.1/", Refused::Address),
        // Every way to write an address is the same address.
        ("https://2130706433/", Refused::Address),
        ("https://0x7f.1/", Refused::Address),
        ("https://0177.0.0.1/", Refused::Address),
        ("https://127.1/", Refused::Address),
        ("https://１２７.0.0.1/", Refused::Address),
        ("https://169.254.169.254/latest/meta-data/", Refused::Address),
        ("https://[::1]/", Refused::Address),
        ("https://[::ffff:7f00:1]/", Refused::Address),
        ("https://[fd00:ec2::254]/", Refused::Address),
    ];
    for (url, refusal) in refusals {
        assert_eq!(guard.check(url), Err(refusal), "{url}");
    }
}

#[test]
fn what_the_configuration_allows_is_permitted_and_nothing_beside_it() {
    let guard = local(&["127.0.0.0/8", "10.2.0.0/16", "fd12::/16"]);
    assert!(guard.check("http://127.0.0.1:9000/hook").is_ok());
    for (address, permitted) in
        [("10.2.3.4", true), ("10.3.0.1", false), ("fd12:1::1", true), ("fd13::1", false), ("::1", false)]
    {
        assert_eq!(guard.reach.permits(address.parse().unwrap()), permitted, "{address}");
    }
    let wrong = WebhooksConfig { allow: vec!["10.0.0.0".to_owned()], ..WebhooksConfig::default() };
    assert!(Guard::new(&wrong).is_err());
}

/// Gives one answer after the other.
struct Scripted(Mutex<VecDeque<Vec<SocketAddr>>>);

impl Resolve for Scripted {
    fn resolve(&self, _: Name) -> Resolving {
        let next = self.0.lock().unwrap().pop_front().unwrap();
        Box::pin(async move { Ok(Box::new(next.into_iter()) as Addrs) })
    }
}

fn scripted(guard: Guard, answers: &[&[&str]]) -> GuardedResolver {
    let answers =
        answers.iter().map(|one| one.iter().map(|a| SocketAddr::new(a.parse().unwrap(), 0)).collect()).collect();
    GuardedResolver::over(Arc::new(guard), Arc::new(Scripted(Mutex::new(answers))))
}

async fn ask(resolver: &GuardedResolver) -> Result<Vec<String>, String> {
    let answer = resolver.resolve("rebinding.example".parse().unwrap()).await;
    answer.map(|a| a.map(|s| s.ip().to_string()).collect()).map_err(|e| e.to_string())
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_the_second_time_is_refused_then() {
    let resolver = scripted(strict(), &[&["1.1.1.1"], &["127.0.0.1"], &["10.0.0.1", "fe80::1"]]);
    assert_eq!(ask(&resolver).await.unwrap(), ["1.1.1.1"]);
    for _ in 0..2 {
        assert_eq!(ask(&resolver).await.unwrap_err(), Refused::Address.to_string());
    }
}

#[tokio::test]
async fn of_several_addresses_only_public_ones_are_used() {
    let resolver = scripted(strict(), &[&["127.0.0.1", "1.1.1.1", "::1", "169.254.169.254"]]);
    assert_eq!(ask(&resolver).await.unwrap(), ["1.1.1.1"]);
}

#[tokio::test]
async fn a_request_after_a_rebinding_makes_no_connection() {
    // 127.0.0.1 stands for a public server, 127.0.0.2 for what must not be reached, at the same port.
    let (public, private) = loop {
        let public = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = public.local_addr().unwrap().port();
        if let Ok(private) = TcpListener::bind(("127.0.0.2", port)) {
            break (public, private);
        }
    };
    let port = public.local_addr().unwrap().port();
    public.set_nonblocking(true).unwrap();
    private.set_nonblocking(true).unwrap();
    let server = tokio::net::TcpListener::from_std(public).unwrap();
    let routes = axum::Router::new().route("/", axum::routing::post(async || [("connection", "close")]));
    let server = tokio::spawn(async move { axum::serve(server, routes).await });
    let resolver = scripted(local(&["127.0.0.1/32"]), &[&["127.0.0.1"], &["127.0.0.2"]]);
    let client = reqwest::Client::builder().no_proxy().dns_resolver(resolver).build().unwrap();
    let url = format!("http://rebinding.example:{port}/");
    assert!(client.post(&url).send().await.unwrap().status().is_success());
    let refusal = client.post(&url).send().await.unwrap_err();
    assert!(refusal.is_connect(), "{refusal:?}");
    assert_eq!(private.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody came");
    server.abort();
}
