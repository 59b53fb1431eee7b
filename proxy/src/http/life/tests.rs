use std::task::Context;

use super::*;

#[test]
fn whoever_stands_still_is_ended_and_nobody_else() {
    let lives = Lives::default();
    let begun = Instant::now();
    let (idle, handshake) = (Duration::from_mins(1), Duration::from_secs(10));
    let [slow, idle_one, busy] =
        [Phase::Head, Phase::Open, Phase::Open].map(|phase| lives.join(phase, idle, handshake));
    let mut pending = Box::pin(busy.life.unless_over(std::future::pending::<()>()));
    let mut cx = Context::from_waker(Waker::noop());
    for second in 1..=70 {
        busy.life.moves();
        lives.sweep(begun + Duration::from_secs(second));
        assert_eq!(slow.life.over.get(), second > 10, "{second}");
        assert_eq!(idle_one.life.over.get(), second > 60, "{second}");
    }
    assert!(pending.as_mut().poll(&mut cx).is_pending());
    assert_eq!(lives.end_all(), 3);
    assert_eq!(pending.as_mut().poll(&mut cx), Poll::Ready(Err(Over)));
    drop((slow, idle_one));
    assert_eq!(lives.end_all(), 1);
}
