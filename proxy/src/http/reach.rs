//! The way to an endpoint. In: a request's search. Out: a connection that takes the request now: one that was kept, one that
//! others share, or a new one.

use std::future::poll_fn;
use std::task::Poll;

use switchyard_snapshot::{HttpVersion, SendProxy};

use super::Visit;
use super::answer::Answer;
use super::exchange::{Exchange, Stop};
use super::life::{Life, Over};
use super::open::{self, Opened};
use super::pool::Taken;
use super::reply::Reply;
use crate::chain::view::Via;
use crate::connect::{Found, Hunt, Reached};
use crate::endpoint::Place;
use crate::listener::Refused;
use crate::listener::gate::Pass;
use crate::session::end::Refusal;

impl Exchange<'_> {
    /// A connection to an endpoint, and whether it is a new one.
    pub(super) async fn reach(&mut self, hunt: &mut Hunt<'_>) -> Result<(Taken, Reached, bool), Stop> {
        let visit = self.visit;
        let pool = &visit.worker().pool;
        loop {
            let mut shared = None;
            let found = hunt.kept(|place, via| {
                let taken = kept(visit, place, via);
                if taken.is_none() && via.http == HttpVersion::Http2 && via.send_proxy == SendProxy::None {
                    shared = Some(place.endpoint().id);
                }
                taken
            });
            if let Some((taken, reached)) = found {
                return Ok((taken, reached, false));
            }
            let Some(done) = shared.and_then(|endpoint| pool.being_opened(endpoint)) else {
                let _opening = shared.map(|endpoint| pool.opens(endpoint));
                // Boxed: what seldom happens shall not make every request large.
                return Box::pin(self.reach_anew(hunt)).await;
            };
            unless_gone(&mut self.reply, self.life, done.notified()).await?;
        }
    }

    async fn reach_anew(&mut self, hunt: &mut Hunt<'_>) -> Result<(Taken, Reached, bool), Stop> {
        let visit = self.visit;
        let life = self.life;
        loop {
            // How long that may take is limited by the chain's own times.
            let found = Box::pin(hunt.next(|place, via| kept(visit, place, via)));
            let found = unless_gone(&mut self.reply, life, found).await?;
            let connected = match found.map_err(|refused| {
                self.entry.attempts = refused.attempts;
                Answer::refused(&refused)
            })? {
                Found::Kept(taken, reached) => return Ok((taken, reached, false)),
                Found::New(connected) => connected,
            };
            self.entry.connect = Some(connected.took);
            let Some(pass) = self.descriptor() else {
                let refused = Refused::because(Refusal::OutOfResources, "no descriptors are left");
                return Err(Answer::refused(&refused).into());
            };
            let opening = Box::pin(open::open(visit, pass, connected));
            match unless_gone(&mut self.reply, life, opening).await? {
                Ok(Opened { taken, reached }) => return Ok((taken, reached, true)),
                Err(unusable) => {
                    let (reached, error, text) = *unusable;
                    hunt.failed(reached, error, &text);
                }
            }
        }
    }

    /// Room for one more connection; those that wait for requests make it.
    fn descriptor(&self) -> Option<Pass> {
        let worker = self.visit.worker();
        let (gate, limit) = (&worker.shared.descriptors, worker.shared.descriptor_limit);
        gate.enter(1, limit).or_else(|| {
            worker.pool.clear_idle();
            gate.enter(1, limit)
        })
    }
}

/// A connection of the pool's to an endpoint.
fn kept(visit: &Visit, place: &Place, via: Via) -> Option<Taken> {
    // A header that names one client must not speak for another.
    if via.send_proxy != SendProxy::None {
        return None;
    }
    let http2 = via.http == HttpVersion::Http2;
    visit.worker().pool.take(place.endpoint().id, http2)
}

/// What `future` gives, unless the client takes its request back first.
async fn unless_gone<T>(reply: &mut Reply, life: &Life, future: impl Future<Output = T>) -> Result<T, Stop> {
    let mut future = std::pin::pin!(future);
    let both = poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        reply.poll_gone(cx).map(|why| Err(Stop::Client(why)))
    });
    match life.unless_over(both).await {
        Ok(output) => output,
        Err(Over) => Err(Answer::gateway_timeout().into()),
    }
}
