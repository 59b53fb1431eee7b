//! Certificates and authorities change; connections stay.

use std::time::Duration;

use jiff::Timestamp;
use switchyard_discovery::identity::Authority;
use tokio_util::sync::CancellationToken;

use super::rig::{PATIENCE, Rig, calm, dial, own_ring, who_am_i};
use crate::identity::Lifetimes;
use crate::identity::ring::{Given, Ring};
use crate::lease::Leadership;

#[tokio::test]
async fn the_operators_certificate_changes_and_no_connection_notices() {
    let minutes = Duration::from_mins;
    // Two thirds of six minutes are fewer than certificates are dated back: the clock that judges them is the real one.
    let rig = Rig::start(Lifetimes {
        ca: minutes(24 * 60),
        propagation: minutes(60),
        certificate: minutes(6),
    })
    .await;
    let proxy = rig.proxy("dmz-0", "u1");
    proxy.ready().await;
    let channel = proxy.connect(rig.guarded).await.unwrap();
    who_am_i(&channel).await.unwrap();
    let accepted = rig.accepted();
    let before = rig.identity.shared.live.borrow().clone();

    let now = Timestamp::now();
    rig.identity.put_to_use(None, now).unwrap();
    assert!(
        !rig.identity.shared.live.borrow().differs_at_the_door(&before),
        "it is still good"
    );
    rig.identity
        .put_to_use(None, now + Duration::from_secs(4 * 60 + 1))
        .unwrap();
    assert!(
        rig.identity.shared.live.borrow().differs_at_the_door(&before),
        "two thirds of its life have passed"
    );

    who_am_i(&channel).await.unwrap();
    assert_eq!(rig.accepted(), accepted, "on the same connection");
    let again = proxy.connect(rig.guarded).await.unwrap();
    who_am_i(&again).await.unwrap();
    assert_eq!(rig.accepted(), accepted + 1);
    proxy.stop().await;
}

/// A request to it takes longer than the certificate lives: nothing may wait for its answer.
#[tokio::test]
async fn the_operators_certificate_is_renewed_in_time_while_the_api_server_is_silent() {
    let seconds = Duration::from_secs;
    let rig = Rig::start(Lifetimes {
        ca: seconds(3600),
        propagation: seconds(60),
        certificate: seconds(9),
    })
    .await;
    rig.api.fall_silent();
    let mut credential = rig.identity.credential();
    let renewed = async {
        for _ in 0..2 {
            let until = credential.borrow_and_update().validity.until;
            let changed = tokio::time::timeout(PATIENCE, credential.changed()).await;
            changed.expect("it is renewed").unwrap();
            let late = Timestamp::now() > until;
            assert!(!late, "renewed at {}, valid until {until}", Timestamp::now());
        }
    };
    tokio::select! {
        () = rig.identity.run(Leadership::alone(), CancellationToken::new()) => panic!("nobody has told it to stop"),
        () = renewed => {}
    }
}

#[tokio::test]
async fn the_ca_is_rotated_while_one_stays_connected_and_another_comes_back() {
    let seconds = |seconds| Duration::from_secs(seconds);
    let lifetimes = Lifetimes {
        ca: seconds(24 * 3600),
        propagation: seconds(240),
        // `stays` is asked again after the first renewal, at two thirds of it, and before its own certificate ends.
        certificate: seconds(15),
    };
    let rig = Rig::start(lifetimes).await;
    let old_bundle = rig.identity.bundle().borrow().clone();
    let proxy = rig.proxy("dmz-0", "u1");
    proxy.ready().await;
    let stays = proxy.connect(rig.guarded).await.unwrap();
    who_am_i(&stays).await.unwrap();

    // The next authority is trusted, and does not sign yet.
    let now = Timestamp::now();
    let ring = rig.identity.shared.live.borrow().ring.clone();
    let next = Given::from_pem(Authority::create(now, lifetimes.ca).unwrap()).unwrap();
    let plan = ring.plan(now, &next, &lifetimes);
    assert_eq!(plan.add, Some(now + lifetimes.propagation));
    let ring = ring.apply(&plan, now, &next, &lifetimes).unwrap();
    let mut published = rig.identity.bundle();
    published.mark_unchanged();
    rig.identity.put_to_use(Some(ring.clone()), now).unwrap();
    assert!(published.has_changed().unwrap());
    assert_eq!(published.borrow_and_update().iter().count(), 2);
    rig.identity.put_to_use(Some(ring), now).unwrap();
    assert!(!published.has_changed().unwrap(), "an equal bundle wakes nobody");
    dial(rig.guarded, &old_bundle, None)
        .await
        .expect("the old one still signs for the operator");

    // The proxy hears of it when it renews, although its file is never written again.
    let heard = proxy.client.freshness().borrow().renewed;
    proxy.until(|freshness| freshness.renewed > heard).await;
    let accepted = rig.accepted();
    rig.identity
        .put_to_use(None, now + lifetimes.propagation)
        .unwrap();
    let ignorant = dial(rig.guarded, &old_bundle, None)
        .await
        .expect_err("who missed it all cannot know it");
    assert!(ignorant.contains("invalid peer certificate"), "{ignorant}");

    who_am_i(&stays)
        .await
        .expect("who stays connected notices nothing");
    assert_eq!(rig.accepted(), accepted);
    let back = proxy
        .connect(rig.guarded)
        .await
        .expect("who comes back trusts the new one, and is still trusted");
    who_am_i(&back).await.unwrap();

    // From now on the new one signs for proxies too.
    let renewed = proxy.client.freshness().borrow().renewed;
    proxy.until(|freshness| freshness.renewed > renewed).await;
    let back = proxy.connect(rig.guarded).await.unwrap();
    who_am_i(&back).await.unwrap();
    assert_eq!(proxy.client.freshness().borrow().failures, 0);
    proxy.stop().await;
}

#[test]
fn a_ring_survives_being_written_and_what_is_broken_is_refused_without_telling_keys() {
    let lifetimes = calm();
    let ring = own_ring(&lifetimes);
    let json = ring.to_json().unwrap();
    let read = Ring::from_json(&json).unwrap();
    assert_eq!(read.bundle(), ring.bundle());
    assert!(read.signer(Timestamp::now()).is_some());
    assert_eq!(read.to_json().unwrap(), json);
    assert!(
        read.plan(Timestamp::now(), &Given::Nobody, &lifetimes).is_empty(),
        "read again, nothing changes"
    );

    let text = String::from_utf8(json).unwrap();
    let key = text
        .split("BEGIN PRIVATE KEY")
        .nth(1)
        .unwrap()
        .split("\\n")
        .nth(1)
        .unwrap();
    let other = String::from_utf8(own_ring(&lifetimes).to_json().unwrap()).unwrap();
    let other_key = other
        .split("\"key\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let own_key = text
        .split("\"key\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    for (name, broken) in [
        ("no JSON", text[..text.len() / 2].to_owned()),
        ("something else", "[\"authorities\"]".to_owned()),
        ("the key of another", text.replace(own_key, other_key)),
        (
            "a key as a time",
            text.replace("\"signsFrom\":\"", &format!("\"signsFrom\":\"{key}")),
        ),
    ] {
        let error = Ring::from_json(broken.as_bytes())
            .err()
            .unwrap_or_else(|| panic!("{name} is taken"));
        assert!(!error.to_string().contains(key), "{name}: {error}");
    }
}

/// Somebody has deleted the Secret: the operator has another CA, and knows nothing of the one before.
#[tokio::test]
async fn who_holds_a_certificate_of_a_lost_ca_comes_back_by_its_token() {
    let rig = Rig::start(calm()).await;
    let proxy = rig.proxy("dmz-0", "u1");
    proxy.ready().await;
    let renewed = proxy.client.freshness().borrow().renewed;
    rig.identity
        .put_to_use(Some(own_ring(&calm())), Timestamp::now())
        .unwrap();
    rig.write_bundle(&rig.identity.bundle().borrow().clone());

    if let Ok(channel) = proxy.connect(rig.guarded).await {
        who_am_i(&channel)
            .await
            .expect_err("the certificate is of a CA that is not known");
    }
    proxy.until(|freshness| freshness.renewed > renewed).await;
    let channel = proxy.connect(rig.guarded).await.unwrap();
    assert_eq!(
        who_am_i(&channel).await.unwrap(),
        "switchyard://edge/pool/dmz/pod/dmz-0/u1"
    );
    proxy.stop().await;
}

/// Certificates are dated back, by more than these authorities live: that must not make them look old.
#[test]
fn a_short_lived_authority_is_not_replaced_before_its_time() {
    let seconds = Duration::from_secs;
    let lifetimes = Lifetimes::new(seconds(24), seconds(4), seconds(4)).unwrap();
    let now = Timestamp::now();
    let first = Ring::default();
    let plan = first.plan(now, &Given::Nobody, &lifetimes);
    let ring = first.apply(&plan, now, &Given::Nobody, &lifetimes).unwrap();
    let changes = |after: u64| {
        !ring
            .plan(now + seconds(after), &Given::Nobody, &lifetimes)
            .is_empty()
    };
    let planned: Vec<u64> = (0..24).filter(|after| changes(*after)).collect();
    // two thirds of 24 s, counted from a tenth of it before the making
    assert!(matches!(planned.first(), Some(14..=16)), "{planned:?}");
}
