//! One request. In: a request, its body, the way back to its client. Out: a response that was forwarded or made here, and
//! whether the client's connection may take another request.
//!
//! Who may be asked again is asked again: at another endpoint if one cannot be reached, or breaks before it has said
//! anything, as long as nothing of the body is gone and the request does no harm when it is done twice (RFC 9110 §9.2.2).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use http::StatusCode;
use http::header;
use switchyard_snapshot::Chain;

use super::answer::Answer;
use super::body::{Broken, Pump, Sink, Size, Source};
use super::lease::Lease;
use super::life::{Life, Over};
use super::link::{self, Failed, Link, Manner, Pending, Response};
use super::log::Entry;
use super::reply::{Begin, Reply};
use super::request::Request;
use super::{Visit, rewrite, tunnel};
use crate::connect::{Announce, Caller, Hunt};
use crate::listener::{ChainLocal, LocalRoute};
use crate::session::end::ConnectError;
use crate::tls::Inside;

/// Kept connections that may prove dead under one request; they are no attempts to connect.
const MAX_STALE: u32 = 8;

/// What becomes of the client's connection.
#[derive(Debug)]
pub(super) enum After {
    /// It may take another request.
    Keep,
    /// It ends, once what was said has arrived.
    Close,
    /// It ends at once.
    Drop,
    /// The client took its request back.
    Gone,
    /// It belongs to an endpoint from now on.
    Tunnel(Box<Lease>),
}

/// Why a request is not forwarded to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The client is told so.
    Answer(Box<Answer>),
    /// The client has gone, or what it sends cannot be trusted any more.
    Client(String),
    /// The response broke off.
    Backend(String),
}

impl From<Answer> for Stop {
    fn from(answer: Answer) -> Self {
        Self::Answer(Box::new(answer))
    }
}

/// A request under way.
pub(super) struct Exchange<'a> {
    pub(super) visit: &'a Visit,
    pub(super) life: &'a Life,
    pub(super) request: Request,
    pub(super) reply: Reply,
    pub(super) entry: Entry,
}

/// An attempt that did not come to a response.
struct Miss {
    failed: Failed,
    source: Source,
    touched: bool,
}

/// An endpoint that has begun to answer.
struct Answering {
    response: Response,
    upload: Upload,
    pending: Pending,
}

/// The request's body on its way.
struct Upload {
    pump: Pump,
    outcome: Option<Result<(), Broken>>,
}

impl Upload {
    fn is_complete(&self) -> bool {
        matches!(self.outcome, Some(Ok(())))
    }
}

impl Exchange<'_> {
    /// Serves the request.
    pub(super) async fn run(mut self, body: Source) -> After {
        let outcome = self.forward(body).await;
        let after = match outcome {
            Ok(after) => after,
            Err(Stop::Answer(answer)) => Box::pin(self.answer(*answer)).await,
            Err(Stop::Client(why)) => {
                self.entry.ends("clientAborted", Some(why));
                After::Gone
            }
            Err(Stop::Backend(why)) => {
                self.entry.ends("backendReset", Some(why));
                After::Drop
            }
        };
        self.entry.write(self.visit, &self.reply);
        after
    }

    async fn answer(&mut self, answer: Answer) -> After {
        self.entry.status = Some(answer.status);
        self.entry.ends(answer.end, answer.why.clone());
        // What of the request has not been read stands in the way of the next.
        if self.request.size != Size::Empty || self.is_last() {
            self.reply.close_after();
        }
        let buffers = &self.visit.worker().buffers;
        if !self.reply.say(&answer, self.life, buffers).await {
            After::Drop
        } else if self.reply.keeps() {
            After::Keep
        } else {
            After::Close
        }
    }

    async fn forward(&mut self, body: Source) -> Result<After, Stop> {
        let route = self.visit.listener.route();
        let chain = self.find_chain(&route)?;
        self.entry.chain = Some(Rc::clone(&chain));
        let (config, mut detours) = self.stays(&route, &chain)?;
        let limit = route.listener().http.max_body_bytes;
        self.is_not_longer_than(limit)?;
        self.under_its_own_name(&config);
        self.prepare(&config);
        let addresses = self.visit.addresses();
        let relayable = self.visit.tls.is_none() && !self.visit.monitor && self.visit.guest.is_none();
        let caller = Caller {
            worker: self.visit.worker(),
            chain: &chain,
            routing: route.routing(),
            client: None,
            has_spoken: true,
            from: self.visit.from.ip(),
            announce: Announce {
                client: None,
                from: self.visit.from,
                addresses: Some(&addresses),
                name: self.visit.server_name.as_deref(),
            },
            inside: Inside::Http,
            patient: !self.visit.monitor,
            // A detour that begins meanwhile may have something better than a relay for it.
            relayable: relayable && detours,
        };
        let mut hunt = Hunt::new(caller);
        let mut body = body;
        let mut stale = 0;
        loop {
            let (taken, reached, opened) = match self.reach(&mut hunt).await {
                Err(Stop::Answer(answer)) => {
                    // While it was looked for somebody, the chain may have given up.
                    let before = std::mem::replace(&mut detours, self.stays(&route, &chain)?.1);
                    if before || !detours || !relayable {
                        return Err(Stop::Answer(answer));
                    }
                    hunt = Hunt::new(Caller { relayable, ..caller });
                    continue;
                }
                reached => reached?,
            };
            let lease = Lease::new(self.visit, &chain, reached, taken);
            self.entry.reached(&lease);
            match self.ask(&lease, body, limit).await? {
                Ok(answering) => return self.pass_on(answering, lease, &config).await,
                Err(miss) => {
                    stale += u32::from(!opened);
                    let more = if opened {
                        hunt.may_try_again()
                    } else {
                        stale <= MAX_STALE
                    };
                    let again = more && !miss.touched && (miss.failed.unseen || self.request.is_idempotent());
                    let why = miss.failed.why;
                    body = miss.source;
                    let endpoint = lease.place().endpoint().id;
                    self.visit.worker().pool.forget(endpoint);
                    let reached = lease.into_reached();
                    if opened {
                        hunt.failed(reached, ConnectError::Reset, &why);
                    }
                    if !again {
                        return Err(Answer::bad_gateway(why).into());
                    }
                }
            }
        }
    }

    /// Whether the length that the request tells is within the limit.
    fn is_not_longer_than(&self, limit: Option<u64>) -> Result<(), Stop> {
        match (self.request.size, limit) {
            (Size::Exact(length), Some(limit)) if length > limit => Err(Answer::too_long().into()),
            _ => Ok(()),
        }
    }

    fn find_chain(&self, route: &LocalRoute) -> Result<Rc<ChainLocal>, Stop> {
        let Request {
            host, name, target, ..
        } = &self.request;
        let redirect = route.listener().https_redirect;
        if let (Some(port), Some(host), Some(name)) = (redirect, host, name) {
            return Err(Answer::to_https(host, name, target, port).into());
        }
        let chain = match &self.visit.guest {
            None => route.chain(name.as_deref()).cloned(),
            Some(guest) => route.chain_of_guest(guest, name.as_deref()).cloned(),
        };
        if let (Some(guest), Some(chain)) = (&self.visit.guest, &chain) {
            guest.belongs(chain);
        }
        chain.ok_or_else(|| {
            let misdirected =
                self.visit.server_name.is_some() && self.visit.server_name.as_deref() != name.as_deref();
            Answer::no_chain(host.as_ref(), misdirected).into()
        })
    }

    /// Its time was over.
    fn too_late(&self) -> Answer {
        let connection = self.visit.connection.as_deref();
        if connection.is_some_and(Life::is_expelled) {
            Answer::come_again("a guest that stayed for longer than its return may take".to_owned())
        } else {
            Answer::gateway_timeout()
        }
    }

    /// Whether the connection ends after this request.
    fn is_last(&self) -> bool {
        let connection = self.visit.connection.as_deref();
        self.visit.worker().lives.is_leaving() || connection.is_some_and(Life::is_leaving)
    }

    /// What every request gets on its way.
    fn prepare(&mut self, config: &Chain) {
        let visit = self.visit;
        let request = &mut self.request;
        let id = rewrite::id_of(&mut request.headers, || {
            u128::from(visit.worker().random()) << 64 | u128::from(visit.worker().random())
        });
        if visit.worker().shared.access_log.is_some() {
            self.entry.id = id
                .map(|id| String::from_utf8_lossy(&id).into_owned())
                .or_else(|| rewrite::request_id(&request.headers));
        }
        request.marks = Some(rewrite::Marks {
            lines: Rc::clone(&visit.lines),
            id,
        });
        if visit.trusted || !config.headers.request.is_empty() {
            request.settle_marks();
        } else {
            rewrite::remove_claims(&mut request.headers);
        }
        rewrite::change(&mut request.headers, &config.headers.request);
    }

    /// Sends the request, and waits for the response to begin.
    async fn ask(
        &mut self,
        lease: &Lease,
        body: Source,
        limit: Option<u64>,
    ) -> Result<Result<Answering, Miss>, Stop> {
        let link = lease.link();
        let manner = Manner {
            address: lease.place().endpoint().address,
            secure: lease.via().tls,
        };
        if self.request.expects && matches!(link, Link::H2(_)) {
            self.request.expects = false;
            self.reply
                .informational(StatusCode::CONTINUE, http::HeaderMap::new());
        }
        let upgrades = self.request.upgrade.is_some();
        if upgrades
            && let Err(why) = tunnel::prepare(&mut self.request, &link, &self.reply, || {
                self.visit.worker().random()
            })
        {
            return Err(Answer::bad_gateway(why).into());
        }
        let miss = |failed, source, touched| {
            Ok(Err(Miss {
                failed,
                source,
                touched,
            }))
        };
        let sent = match &link {
            Link::H1(conn) => Ok(Ok(link::send_h1(conn, &self.request, manner))),
            Link::H2(shared) => {
                let sending = Box::pin(shared.send(&self.request, manner));
                self.life.unless_over(sending).await
            }
        };
        let (sink, mut pending) = match sent {
            Ok(Ok(sent)) => sent,
            Ok(Err(failed)) => return miss(failed, body, false),
            Err(Over) => return Err(self.too_late().into()),
        };
        // What an upgrade's client says comes after the response.
        let mut upload = Upload {
            pump: Pump::new(body, sink, limit),
            outcome: upgrades.then_some(Ok(())),
        };
        if upgrades {
            self.flush(&mut upload.pump.sink).await?;
        }
        loop {
            let response = match self.next_head(&mut upload, &mut pending).await? {
                Ok(response) => response,
                Err(failed) => {
                    let Upload { pump, .. } = upload;
                    return miss(failed, pump.source, pump.touched);
                }
            };
            self.life.moves();
            if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
                self.reply.informational(response.status, response.headers);
                self.flush_reply().await;
                continue;
            }
            return Ok(Ok(Answering {
                response,
                upload,
                pending,
            }));
        }
    }

    /// The next head, while the body goes up.
    async fn next_head(
        &mut self,
        upload: &mut Upload,
        pending: &mut Pending,
    ) -> Result<Result<Response, Failed>, Stop> {
        let buffers = &self.visit.worker().buffers;
        let (life, reply) = (self.life, &mut self.reply);
        let next = poll_fn(|cx| {
            if upload.outcome.is_none()
                && let Poll::Ready(outcome) = upload.pump.poll(cx, buffers, life)
            {
                match outcome {
                    Err(Broken::Source(why)) => return Poll::Ready(Err(Stop::Client(why))),
                    Err(Broken::TooLong) => return Poll::Ready(Err(Answer::too_long().into())),
                    Err(Broken::Malformed(why)) => {
                        return Poll::Ready(Err(Answer::bad(super::head::Bad::request(why)).into()));
                    }
                    // Whoever reads no more may still have something to say.
                    outcome => upload.outcome = Some(outcome),
                }
            }
            if let Poll::Ready(why) = reply.poll_gone(cx) {
                return Poll::Ready(Err(Stop::Client(why)));
            }
            pending.poll(cx, buffers).map(Ok)
        });
        match life.unless_over(next).await {
            Ok(next) => next,
            Err(Over) => Err(self.too_late().into()),
        }
    }

    /// Passes the response on, and what is left of the request.
    async fn pass_on(&mut self, answering: Answering, lease: Lease, config: &Chain) -> Result<After, Stop> {
        let Answering {
            response,
            mut upload,
            pending,
        } = answering;
        if tunnel::is_accepted(&self.request, &response, &lease.link()) {
            return Box::pin(self.upgrade(response, upload.pump, lease)).await;
        }
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Answer::bad_gateway("it changed the protocol unasked".to_owned()).into());
        }
        let Response {
            status,
            mut headers,
            size,
            told_length,
            body,
            reusable,
        } = response;
        rewrite::change(&mut headers, &config.headers.response);
        self.entry.status = Some(status);
        self.entry.answered();
        if self.is_last()
            || (!upload.is_complete() && self.request.size != Size::Empty && upload.outcome.is_some())
        {
            self.reply.close_after();
        }
        let begin = Begin {
            status,
            headers,
            size,
            told_length,
            upgrade: None,
        };
        let sink = self.reply.begin(begin).map_err(Stop::Client)?;
        let mut download = Pump::new(body, sink, None);
        let outcome = self.drive(&mut upload, &mut download).await;
        (self.entry.up, self.entry.down) = (upload.pump.moved, download.moved);
        drop(pending);
        match outcome {
            Ok(()) => {}
            Err(Broken::Sink(why)) => return Err(Stop::Client(why)),
            Err(Broken::TooLong) => return Err(Stop::Client("the body is longer than allowed".to_owned())),
            Err(Broken::Source(why)) => return Err(self.break_off(&mut download.sink, why).await),
            Err(Broken::Malformed(why)) => {
                return Err(self.break_off(&mut download.sink, why.to_owned()).await);
            }
        }
        if reusable && upload.is_complete() {
            lease.keep();
        }
        Ok(if !upload.is_complete() || !self.reply.keeps() {
            After::Close
        } else {
            After::Keep
        })
    }

    /// Delivers what the endpoint said before it broke, and lets nobody take it for the whole.
    async fn break_off(&self, sink: &mut Sink, why: String) -> Stop {
        self.life.extend();
        let delivered = self.flush(sink).await;
        drop(delivered);
        sink.abort();
        Stop::Backend(why)
    }

    /// Moves both bodies until the response is complete.
    async fn drive(&mut self, upload: &mut Upload, download: &mut Pump) -> Result<(), Broken> {
        let buffers = &self.visit.worker().buffers;
        let life = self.life;
        let both = poll_fn(|cx| {
            if upload.outcome.is_none()
                && let Poll::Ready(outcome) = upload.pump.poll(cx, buffers, life)
            {
                if let Err(Broken::Source(why)) = &outcome {
                    return Poll::Ready(Err(Broken::Sink(why.clone())));
                }
                upload.outcome = Some(outcome);
            }
            download.poll(cx, buffers, life)
        });
        match life.unless_over(both).await {
            Ok(outcome) => outcome,
            Err(Over) => Err(Broken::Source("nothing moved within the idle timeout".to_owned())),
        }
    }

    /// The endpoint speaks another protocol from now on.
    async fn upgrade(&mut self, response: Response, up: Pump, lease: Lease) -> Result<After, Stop> {
        self.entry.status = Some(StatusCode::SWITCHING_PROTOCOLS);
        self.entry.answered();
        let protocol = self
            .request
            .upgrade
            .clone()
            .unwrap_or(header::HeaderValue::from_static("websocket"));
        let mut headers = response.headers;
        tunnel::accept(&mut headers, &self.request, &lease.link(), &self.reply);
        let sink = self
            .reply
            .begin(Begin {
                status: response.status,
                headers,
                size: Size::Unknown,
                told_length: None,
                upgrade: Some(&protocol),
            })
            .map_err(Stop::Client)?;
        let conn = match (&self.reply, lease.link()) {
            (Reply::H1 { conn, .. }, Link::H1(_)) => Rc::clone(conn),
            _ => return self.carry(up, response.body, sink, lease).await,
        };
        conn.flush()
            .await
            .map_err(|error| Stop::Client(error.to_string()))?;
        self.entry.ends("upgraded", None);
        Ok(After::Tunnel(Box::new(lease)))
    }

    /// Carries what follows an upgrade where HTTP/2 is on one side.
    async fn carry(&mut self, up: Pump, down: Source, sink: Sink, lease: Lease) -> Result<After, Stop> {
        let source = match &self.reply {
            Reply::H1 { conn, .. } => Source::h1(conn, super::head::Framing::Close),
            Reply::H2 { .. } => up.source,
        };
        let down = match (down, lease.link()) {
            (_, Link::H1(conn)) => Source::h1(&conn, super::head::Framing::Close),
            (down, Link::H2(_)) => down,
        };
        let sink_up = match lease.link() {
            Link::H1(conn) => Sink::h1(&conn, super::body::Writer::Close),
            Link::H2(_) => up.sink,
        };
        let mut upload = Upload {
            pump: Pump::new(source, sink_up, None),
            outcome: None,
        };
        let mut download = Pump::new(down, sink, None);
        let outcome = self.drive(&mut upload, &mut download).await;
        (self.entry.up, self.entry.down) = (upload.pump.moved, download.moved);
        self.entry
            .ends("upgraded", outcome.err().map(|broken| format!("{broken:?}")));
        Ok(After::Close)
    }

    async fn flush(&self, sink: &mut Sink) -> Result<(), Stop> {
        let flushed = self.life.unless_over(poll_fn(|cx| sink.poll_flush(cx))).await;
        match flushed {
            Ok(_) => Ok(()),
            Err(Over) => Err(self.too_late().into()),
        }
    }

    /// Writes what is gathered for the client; whether that works is found out by the response.
    async fn flush_reply(&self) {
        if let Reply::H1 { conn, .. } = &self.reply {
            let _ = self.life.unless_over(conn.flush()).await;
        }
    }
}
