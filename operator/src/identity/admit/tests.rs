use super::*;
use crate::identity::pods::{Membership, PodFacts};

fn identity(pool: &str, pod: &str, uid: &str) -> PeerIdentity {
    PeerIdentity {
        pool: PoolId {
            namespace: "edge".to_owned(),
            name: pool.to_owned(),
        },
        pod: pod.to_owned(),
        uid: uid.to_owned(),
    }
}

fn token(pod: &str, uid: &str) -> Proof {
    Proof::Token(BoundPod {
        namespace: "edge".to_owned(),
        name: pod.to_owned(),
        uid: uid.to_owned(),
    })
}

fn present(uid: &str, pool: Option<&str>, terminating: bool) -> PodAnswer {
    let membership = match pool {
        Some(pool) => Membership::Member(pool.to_owned()),
        None => Membership::NotThere("dmz".to_owned()),
    };
    PodAnswer::Present(PodFacts {
        uid: uid.to_owned(),
        membership,
        terminating,
    })
}

fn stranger() -> PodAnswer {
    let membership = Membership::Stranger {
        pool: "dmz".to_owned(),
        why: "it runs as somebody else".to_owned(),
    };
    PodAnswer::Present(PodFacts {
        uid: "u1".to_owned(),
        membership,
        terminating: false,
    })
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn who_is_let_in_and_who_is_not() {
    let me = identity("dmz", "dmz-0", "u1");
    let by_token = || token("dmz-0", "u1");
    let by_certificate = || Proof::Certificate(me.clone());
    let good = || present("u1", Some("dmz"), false);
    let cases = [
        ("token", by_token(), good(), &me, None),
        ("certificate", by_certificate(), good(), &me, None),
        (
            "token before the watch",
            by_token(),
            PodAnswer::NotSynced,
            &me,
            Some("NotReady"),
        ),
        (
            "certificate before the watch",
            by_certificate(),
            PodAnswer::NotSynced,
            &me,
            None,
        ),
        (
            "token of no pod",
            by_token(),
            PodAnswer::Absent,
            &me,
            Some("UnknownPod"),
        ),
        (
            "certificate of no pod",
            by_certificate(),
            PodAnswer::Absent,
            &me,
            Some("UnknownPod"),
        ),
        (
            "token of its predecessor",
            by_token(),
            present("u2", Some("dmz"), false),
            &me,
            Some("OtherUid"),
        ),
        (
            "certificate of its predecessor",
            by_certificate(),
            present("u2", Some("dmz"), false),
            &me,
            Some("OtherUid"),
        ),
        (
            "token, terminating",
            by_token(),
            present("u1", Some("dmz"), true),
            &me,
            Some("Terminating"),
        ),
        (
            "certificate, terminating",
            by_certificate(),
            present("u1", Some("dmz"), true),
            &me,
            None,
        ),
        (
            "token, no pool",
            by_token(),
            present("u1", None, false),
            &me,
            Some("UnknownPool"),
        ),
        (
            "certificate, a pool that cannot be read any more",
            by_certificate(),
            present("u1", None, false),
            &me,
            None,
        ),
        (
            "token, only labelled",
            by_token(),
            stranger(),
            &me,
            Some("Stranger"),
        ),
        (
            "certificate, only labelled by now",
            by_certificate(),
            stranger(),
            &me,
            Some("Stranger"),
        ),
        (
            "token, other pool",
            by_token(),
            present("u1", Some("lan"), false),
            &me,
            Some("OtherPool"),
        ),
        (
            "certificate, other pool by now",
            by_certificate(),
            present("u1", Some("lan"), false),
            &me,
            Some("OtherPool"),
        ),
        (
            "token, asks for another pool",
            by_token(),
            good(),
            &identity("lan", "dmz-0", "u1"),
            Some("OtherPool"),
        ),
        (
            "token, asks for another pod",
            by_token(),
            good(),
            &identity("dmz", "dmz-1", "u7"),
            Some("OtherIdentity"),
        ),
        (
            "certificate before the watch, asks for another pool",
            by_certificate(),
            PodAnswer::NotSynced,
            &identity("lan", "dmz-0", "u1"),
            Some("OtherPool"),
        ),
    ];
    for (name, proof, answer, asked, refused) in cases {
        let verdict = admit(&proof, answer, asked);
        assert_eq!(
            verdict.as_ref().err().map(Refusal::reason),
            refused,
            "{name}: {verdict:?}"
        );
        if refused.is_none() {
            assert_eq!(verdict.as_ref(), Ok(&me), "{name}");
        }
    }
}

#[test]
fn a_namespace_is_the_tokens_and_nobody_elses_to_choose() {
    let mut asked = identity("dmz", "dmz-0", "u1");
    asked.pool.namespace = "other".to_owned();
    let refusal = admit(&token("dmz-0", "u1"), present("u1", Some("dmz"), false), &asked).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "pod dmz-0 belongs to pool edge/dmz, not to other/dmz"
    );
}
