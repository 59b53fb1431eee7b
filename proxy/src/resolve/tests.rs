use std::time::{Duration, Instant};

use hickory_proto::rr::{Name, RecordType};

use super::upstream::Upstream;
use super::*;
use crate::testing::dns::{DnsServer, Mood};
use crate::testing::eventually;

const SECOND: Duration = Duration::from_secs(1);

const CLAMP: Clamp = Clamp {
    min_ttl: SECOND,
    max_ttl: Duration::from_secs(30),
};

fn question(server: &DnsServer, name: &str, kind: RecordKind) -> Question {
    Question {
        name: name.to_owned(),
        kind,
        nameservers: vec![server.address],
    }
}

fn addresses(lookup: &Lookup) -> Vec<String> {
    let answer = lookup.answer.as_ref().expect("an answer");
    let texts = answer.records.iter().map(|record| match record {
        Record::Address(address) => address.to_string(),
        Record::Srv { target, .. } => target.clone(),
    });
    texts.collect()
}

async fn next(subscription: &mut Subscription) -> std::sync::Arc<Lookup> {
    tokio::time::timeout(Duration::from_secs(10), subscription.next())
        .await
        .expect("news within 10 s")
}

#[tokio::test]
async fn many_subscribers_cause_one_query_per_ttl_and_hear_of_a_change_within_it() {
    let server = DnsServer::start().await;
    server.set_a("db.example.", 1, &["192.0.2.1"]).await;
    let resolver = Resolver::start();
    let asked = question(&server, "db.example", RecordKind::A);
    let mut subscriptions: Vec<_> = (0..50)
        .map(|_| resolver.subscribe(asked.clone(), CLAMP))
        .collect();
    for subscription in &mut subscriptions {
        assert_eq!(addresses(&*next(subscription).await), ["192.0.2.1"]);
    }
    assert_eq!(resolver.questions(), 1);
    assert_eq!(server.queries("db.example.", RecordType::A), 1);

    let begun = Instant::now();
    for round in 0_u32..3 {
        let address = format!("192.0.2.{}", 10 + round);
        server.set_a("db.example.", 1, &[&address]).await;
        let changed = Instant::now();
        // The first query after the change brings it to all.
        for subscription in &mut subscriptions {
            assert_eq!(addresses(&*next(subscription).await), [address.as_str()]);
        }
        assert!(
            changed.elapsed() < SECOND + Duration::from_millis(200),
            "{:?}",
            changed.elapsed()
        );
    }
    // refreshed at 0.9 to 1 s, once more at the beginning, once more at the end
    let most = 2.0 + begun.elapsed().as_secs_f64() / 0.9;
    let queries = server.queries("db.example.", RecordType::A) as f64;
    assert!(queries <= most, "{queries} queries, {most} at most");

    drop(subscriptions);
    assert_eq!(resolver.questions(), 0);
    let after = server.queries("db.example.", RecordType::A);
    tokio::time::sleep(SECOND * 2).await; // the absence of queries can only be waited for
    assert_eq!(server.queries("db.example.", RecordType::A), after);
    resolver.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn the_tightest_clamp_of_all_subscribers_counts() {
    let server = DnsServer::start().await;
    server.set_a("long.example.", 3600, &["192.0.2.1"]).await;
    server.set_a("zero.example.", 0, &["192.0.2.1"]).await;
    let resolver = Resolver::start();
    let long = question(&server, "long.example", RecordKind::A);
    let mut patient = resolver.subscribe(long.clone(), CLAMP);
    assert_eq!(
        next(&mut patient).await.answer.as_ref().unwrap().ttl,
        SECOND * 3600
    );
    let quick = Clamp {
        min_ttl: SECOND,
        max_ttl: SECOND,
    };
    let mut hasty = resolver.subscribe(long, quick);
    let begun = Instant::now();
    next(&mut hasty).await; // what is known already
    next(&mut hasty).await;
    assert!(
        begun.elapsed() < Duration::from_millis(1300),
        "{:?}",
        begun.elapsed()
    );

    // Before it is asked: when the first answer came, nobody here knows that exactly.
    let begun = Instant::now();
    let mut zero = resolver.subscribe(question(&server, "zero.example", RecordKind::A), CLAMP);
    next(&mut zero).await;
    next(&mut zero).await;
    assert!(
        begun.elapsed() > Duration::from_millis(850),
        "a TTL of 0 counts as the smallest"
    );
    resolver.stop().await;
}

#[tokio::test]
async fn the_smallest_ttl_of_a_cname_chain_counts() {
    let server = DnsServer::start().await;
    server.set_cname("a.example.", 300, "b.example.").await;
    server.set_cname("b.example.", 7, "c.example.").await;
    server.set_a("c.example.", 90, &["192.0.2.2", "192.0.2.1"]).await;
    let resolver = Resolver::start();
    let mut chain = resolver.subscribe(question(&server, "A.example", RecordKind::A), CLAMP);
    let lookup = next(&mut chain).await;
    assert_eq!(addresses(&lookup), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(lookup.answer.as_ref().unwrap().ttl, SECOND * 7);
    server.set_cname("dangling.example.", 7, "nowhere.example.").await;
    let mut dangling = resolver.subscribe(question(&server, "dangling.example", RecordKind::A), CLAMP);
    assert_eq!(
        next(&mut dangling).await.failure.as_ref().unwrap().kind,
        FailureKind::NxDomain
    );
    resolver.stop().await;
}

#[tokio::test]
async fn failures_are_told_apart_counted_in_runs_and_leave_the_last_answer() {
    let server = DnsServer::start().await;
    server.set_a("db.example.", 1, &["192.0.2.1"]).await;
    let resolver = Resolver::start();
    let mut db = resolver.subscribe(question(&server, "db.example", RecordKind::A), CLAMP);
    assert_eq!(next(&mut db).await.failure, None);

    server.mood(Mood::ServFail);
    let first = next(&mut db).await.failure.clone().unwrap();
    assert_eq!((first.kind, first.in_a_row), (FailureKind::Server, 1));
    assert!(
        first.text.contains("Server Failure") && first.text.contains(&server.address.to_string()),
        "{first:?}"
    );
    let second = next(&mut db).await;
    let failure = second.failure.clone().unwrap();
    assert_eq!((failure.in_a_row, failure.since), (2, first.since));
    assert_eq!(addresses(&second), ["192.0.2.1"]);

    server.mood(Mood::Refused);
    let failure = next(&mut db).await.failure.clone().unwrap();
    assert_eq!((failure.kind, failure.since), (FailureKind::Server, first.since));
    assert!(failure.text.contains("Refused"), "{failure:?}");

    server.mood(Mood::Silent);
    let failure = next(&mut db).await.failure.clone().unwrap();
    assert_eq!((failure.kind, failure.in_a_row), (FailureKind::Unreachable, 1));
    assert!(failure.text.contains("did not answer within 2s"), "{failure:?}");

    server.mood(Mood::Answer);
    server.remove("db.example.", RecordType::A).await;
    let failure = next(&mut db).await.failure.clone().unwrap();
    assert_eq!((failure.kind, failure.in_a_row), (FailureKind::NxDomain, 1));

    server.set_aaaa("db.example.", 1, &["2001:db8::1"]).await;
    let failure = loop {
        let failure = next(&mut db).await.failure.clone().unwrap();
        if failure.kind != FailureKind::NxDomain {
            break failure;
        }
    };
    assert_eq!((failure.kind, failure.in_a_row), (FailureKind::Empty, 1));

    server.set_a("db.example.", 1, &["192.0.2.9"]).await;
    let lookup = loop {
        let lookup = next(&mut db).await;
        if lookup.failure.is_none() {
            break lookup;
        }
    };
    assert_eq!(addresses(&lookup), ["192.0.2.9"]);
    resolver.stop().await;
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_over_tcp() {
    let server = DnsServer::start().await;
    let many: Vec<String> = (0..200).map(|i| format!("192.0.2.{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    server.set_a("many.example.", 5, &many).await;
    let resolver = Resolver::start();
    let mut wide = resolver.subscribe(question(&server, "many.example", RecordKind::A), CLAMP);
    assert_eq!(addresses(&*next(&mut wide).await).len(), 200);
    assert_eq!(server.queries_over_tcp(), 1);
    resolver.stop().await;
}

#[tokio::test]
async fn srv_targets_are_absolute_lower_case_and_never_the_root() {
    let server = DnsServer::start().await;
    server
        .set_srv(
            "_sync._tcp.example.",
            5,
            &[(10, 5, 1650, "CMS-2.Example."), (0, 1, 1651, "cms-1.example.")],
        )
        .await;
    server.set_srv("_gone._tcp.example.", 5, &[(0, 0, 0, ".")]).await;
    let resolver = Resolver::start();
    let mut srv = resolver.subscribe(question(&server, "_sync._tcp.example", RecordKind::Srv), CLAMP);
    let lookup = next(&mut srv).await;
    assert_eq!(addresses(&lookup), ["cms-1.example.", "cms-2.example."]);
    assert_eq!(
        lookup.answer.as_ref().unwrap().records[1],
        Record::Srv {
            priority: 10,
            weight: 5,
            port: 1650,
            target: "cms-2.example.".into()
        }
    );
    let mut gone = resolver.subscribe(question(&server, "_gone._tcp.example", RecordKind::Srv), CLAMP);
    assert_eq!(
        next(&mut gone).await.failure.as_ref().unwrap().kind,
        FailureKind::Empty
    );
    resolver.stop().await;
}

#[tokio::test]
async fn a_silent_nameserver_costs_little_and_is_then_left_alone() {
    let silent = DnsServer::start().await;
    silent.mood(Mood::Silent);
    let good = DnsServer::start().await;
    good.set_a("db.example.", 1, &["192.0.2.1"]).await;
    let resolver = Resolver::start();
    let mut asked = question(&silent, "db.example", RecordKind::A);
    asked.nameservers.push(good.address);
    let mut db = resolver.subscribe(asked, CLAMP);
    let begun = Instant::now();
    assert_eq!(addresses(&*next(&mut db).await), ["192.0.2.1"]);
    assert!(
        begun.elapsed() < Duration::from_millis(700),
        "the silent one was waited for until its time was over: {:?}",
        begun.elapsed()
    );
    let asked_silent = silent.queries("db.example.", RecordType::A);
    next(&mut db).await;
    assert_eq!(silent.queries("db.example.", RecordType::A), asked_silent);
    // and the other way round: who fails loses its turn at once
    silent.set_a("db.example.", 1, &["192.0.2.1"]).await;
    silent.mood(Mood::Answer);
    good.mood(Mood::ServFail);
    assert_eq!(next(&mut db).await.failure, None);
    resolver.stop().await;
}

#[tokio::test]
async fn the_search_list_is_gone_through_once_and_the_form_remembered() {
    let server = DnsServer::start().await;
    server.set_a("db.corp.example.", 1, &["192.0.2.1"]).await;
    let search = ["none.example.", "corp.example."].map(|name| Name::from_ascii(name).unwrap());
    let upstream = Upstream::new(&[server.address], search.to_vec(), std::sync::Arc::default()).unwrap();
    let mut form = None;
    let asked = question(&server, "db", RecordKind::A);
    for _ in 0..3 {
        assert_eq!(upstream.ask(&asked, &mut form).await.unwrap().records.len(), 1);
    }
    assert_eq!(server.queries("db.none.example.", RecordType::A), 1);
    assert_eq!(server.queries("db.corp.example.", RecordType::A), 3);
    server.remove("db.corp.example.", RecordType::A).await;
    server.set_a("db.none.example.", 1, &["192.0.2.2"]).await;
    assert!(
        upstream.ask(&asked, &mut form).await.is_ok(),
        "the other form is found again"
    );
}

#[tokio::test]
async fn the_system_configuration_is_read_again_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let files = SystemFiles {
        resolv_conf: dir.path().join("resolv.conf"),
        hosts: dir.path().join("hosts"),
    };
    let resolver = Resolver::with_system_files(files.clone());
    let asked = Question {
        name: "static.example".into(),
        kind: RecordKind::A,
        nameservers: Vec::new(),
    };
    let mut name = resolver.subscribe(asked, CLAMP);
    let failure = next(&mut name).await.failure.clone().unwrap();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(failure.text.contains("cannot read"), "{failure:?}");
    std::fs::write(&files.resolv_conf, "nameserver 127.0.0.1\nsearch corp.example\n").unwrap();
    std::fs::write(&files.hosts, "192.0.2.77 static.example\n").unwrap();
    let current = || name.current().answer.is_some();
    eventually("hosts entry", Duration::from_secs(5), current).await;
    assert_eq!(addresses(&name.current()), ["192.0.2.77"]);
    resolver.stop().await;
}
