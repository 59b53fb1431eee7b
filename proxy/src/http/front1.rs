//! Clients that speak HTTP/1. In: their connection. Out: one request after the other, and a connection that ends in order.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::answer::Answer;
use super::body::Source;
use super::conn::Conn;
use super::exchange::{After, Exchange};
use super::head::{self, Bad, RequestHead};
use super::life::{Life, Over, Phase};
use super::log::Entry;
use super::reply::Reply;
use super::request::Request;
use super::{Visit, rewrite, tunnel};
use crate::relay::Relay;

/// How long a client whose connection we end may take to read what we said last, with whatever it still sends before.
const LINGER: Duration = Duration::from_secs(30);

/// How long an idle connection stays open once the proxy drains: a request that is on its way when it is closed would be lost. One
/// that comes in this time is served, and its response says that the connection ends.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// What came next on a connection.
enum Next {
    Request(RequestHead),
    /// Nothing: it is over.
    End,
    /// Nothing, and we end it.
    Leave,
    /// Something that is no request, or not in time.
    Refuse(Answer),
}

/// Serves requests until the connection ends, or belongs to an endpoint.
pub(super) async fn serve(mut visit: Visit, conn: Conn) -> Option<Relay> {
    let conn = Rc::new(conn);
    let after = {
        let worker = Rc::clone(visit.worker());
        let route = visit.listener.route();
        let limits = route.listener();
        let member = worker
            .lives
            .join(Phase::Head, limits.idle_timeout, limits.handshake_timeout);
        drop(route);
        visit.connection = Some(Rc::clone(&member.life));
        let after = requests(&visit, &conn, &member.life).await;
        if matches!(after, After::Close) {
            let lingered = worker
                .alarms
                .within(LINGER, conn.linger(&worker.buffers, &worker.alarms))
                .await;
            drop(lingered);
        }
        after
    };
    match after {
        After::Tunnel(lease) => tunnel::relay(*lease, conn, visit),
        After::Keep | After::Close | After::Drop | After::Gone => None,
    }
}

async fn requests(visit: &Visit, conn: &Rc<Conn>, life: &Life) -> After {
    loop {
        let route = visit.listener.route();
        let listener = route.listener();
        life.limit(listener.idle_timeout, listener.handshake_timeout);
        let limit = listener.http.max_head_bytes as usize;
        drop(route);
        let head = match next(visit, conn, life, limit).await {
            Next::Request(head) => head,
            Next::End => return After::Drop,
            Next::Leave => return After::Close,
            Next::Refuse(answer) => return refuse(visit, conn, life, answer).await,
        };
        let mut reply = Reply::H1 {
            conn: Rc::clone(conn),
            is_10: head.is_10,
            keeps: stays(&head) && !visit.worker().lives.is_leaving(),
            head: head.method == http::Method::HEAD,
        };
        let body = Source::h1(conn, head.framing);
        let request = match Request::from_h1(head) {
            Ok(request) => request,
            Err(bad) => {
                reply.close_after();
                return refuse(visit, conn, life, Answer::bad(bad)).await;
            }
        };
        let exchange = Exchange {
            visit,
            life,
            entry: Entry::new(&request),
            request,
            reply,
        };
        // Boxed: while a connection waits for its next request it shall be small.
        match Box::pin(exchange.run(body)).await {
            After::Keep => conn.rest(),
            after => return after,
        }
    }
}

/// Waits for a request's head.
async fn next(visit: &Visit, conn: &Conn, life: &Life, limit: usize) -> Next {
    let worker = visit.worker();
    loop {
        if let Some(next) = take(conn, life, limit) {
            return next;
        }
        if !conn.input.borrow().is_empty() {
            let time = visit.listener.route().listener().handshake_timeout;
            let rest = rest_of_head(visit, conn, life, limit);
            let rest = worker.alarms.within(time, rest).await;
            return rest.unwrap_or_else(|_| Next::Refuse(Answer::too_slow()));
        }
        let leaving = worker.lives.is_leaving();
        let read = life.unless_over(poll_fn(|cx| {
            if let Poll::Ready(read) = conn.poll_fill(cx, &worker.buffers) {
                return Poll::Ready(Some(read));
            }
            // Whoever has not begun a request when we begin to leave gets the time for one.
            if (!leaving && worker.lives.is_leaving()) || life.is_leaving() {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        }));
        let read = if leaving {
            worker.alarms.within(LAST_CHANCE, read).await.unwrap_or(Err(Over))
        } else {
            read.await
        };
        match read {
            Ok(None) if life.is_leaving() => return Next::Leave,
            Ok(None) => {}
            Ok(Some(Ok(count))) if count > 0 => life.moves(),
            // Who has said nothing is told nothing.
            Ok(Some(_)) | Err(Over) => return Next::End,
        }
    }
}

/// What has been read already; none: no whole head.
fn take(conn: &Conn, life: &Life, limit: usize) -> Option<Next> {
    match head::take_request(&mut conn.input.borrow_mut(), limit) {
        Ok(Some(head)) => {
            life.enter(Phase::Open);
            life.moves();
            Some(Next::Request(head))
        }
        Ok(None) => None,
        Err(bad) => Some(Next::Refuse(Answer::bad(bad))),
    }
}

/// Reads what is missing of a head that has begun; the caller limits the time.
async fn rest_of_head(visit: &Visit, conn: &Conn, life: &Life, limit: usize) -> Next {
    let buffers = &visit.worker().buffers;
    life.enter(Phase::Open);
    loop {
        let read = life.unless_over(poll_fn(|cx| conn.poll_fill(cx, buffers))).await;
        match read {
            Ok(Ok(count)) if count > 0 => life.moves(),
            Ok(Ok(_)) => return Next::Refuse(Answer::bad(Bad::request("it ends in the middle of a head"))),
            Err(Over) => return Next::Refuse(Answer::too_slow()),
            Ok(Err(_)) => return Next::End,
        }
        if let Some(next) = take(conn, life, limit) {
            return next;
        }
    }
}

/// Whether the client wants to ask more on this connection (RFC 9112 §9.3).
fn stays(head: &RequestHead) -> bool {
    let says = |token: &[u8]| rewrite::lists(&head.headers, &http::header::CONNECTION, token);
    if head.is_10 {
        says(b"keep-alive") && !says(b"close")
    } else {
        !says(b"close")
    }
}

/// Answers what is no request, then ends the connection: where the next one begins is not known.
async fn refuse(visit: &Visit, conn: &Rc<Conn>, life: &Life, answer: Answer) -> After {
    let mut reply = Reply::H1 {
        conn: Rc::clone(conn),
        is_10: false,
        keeps: false,
        head: false,
    };
    visit.note_refused(&answer);
    if reply.say(&answer, life, &visit.worker().buffers).await {
        After::Close
    } else {
        After::Drop
    }
}
