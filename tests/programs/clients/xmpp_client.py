"""XMPP clients (slixmpp), which follow see-other-host by themselves. Arguments: address, seconds between two questions, the source
address of each client. Each logs in, and asks the server again and again who it is (what items it has).

When a session ends, the client goes back to the address that it was given, at once; when an attempt fails, slixmpp waits and
tries again by its own rules. Each is told."""
import asyncio
import contextvars
import sys
import time

import slixmpp

from tell import tell, words

address, period, sources = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
host, port = address.rsplit(":", 1)
PATIENCE = 10
SOURCE = contextvars.ContextVar("the address that a client connects from")


class Client(slixmpp.ClientXMPP):
    def __init__(self, number, source):
        super().__init__(f"user@example.test/client-{number}", "secret")
        self.number, self.source, self.redirected, self.asking = number, source, False, None
        self.register_plugin("xep_0030")
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("disconnected", self.ended)
        self.add_event_handler("connection_failed", self.failed)
        self.add_event_handler("stream_error", self.refused)

    async def _connect_routine(self):
        SOURCE.set(self.source)
        await super()._connect_routine()

    def begin(self):
        self.begun = time.time()
        # It remembers where it was sent last, and would go there whatever address it is given.
        self.default_domain, self._dns_answers = self.boundjid.host, None
        self.connect((host, int(port)))

    def connect(self, address=None, **_):
        # slixmpp calls this without an address when it follows see-other-host, and would then go to the domain of the JID: the
        # address that it was told stands in self.address.
        address = address or self.address
        # Where it is told an IP address, it takes that, and its port from here.
        self.default_port = address[1]
        super().connect(address, disable_starttls=True, force_starttls=False)

    def started(self, _):
        self._redirect_attempts = 0
        self.asking = asyncio.ensure_future(self.ask())

    async def ask(self):
        while True:
            asked = time.time()
            try:
                items = await self["xep_0030"].get_items(jid="example.test", timeout=PATIENCE)
            except Exception as error:
                tell(self.number, "failed", how=words(error))
                return
            by = next(iter(items["disco_items"]["items"]))[2]
            where = "%s:%s" % self.address
            tell(self.number, "served", by=by, at_address=where, took=time.time() - asked)
            await asyncio.sleep(period)

    def refused(self, error):
        if error["condition"] == "see-other-host":
            self.redirected = True
            tell(self.number, "redirected", to=error["see_other_host"])
        else:
            tell(self.number, "failed", how=error["condition"])

    def failed(self, error):
        tell(self.number, "failed", how=str(error))

    def ended(self, why):
        stood, self.asking = self.asking, None
        if stood:
            stood.cancel()
        if self.redirected:
            self.redirected = False  # slixmpp connects by itself
            return
        tell(self.number, "lost" if stood else "failed", how=f"disconnected: {why}", took=time.time() - self.begun)
        asyncio.get_event_loop().call_later(0.0 if stood else 0.1, self.begin)


loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
connect = loop.create_connection


async def connect_from(*arguments, **named):
    return await connect(*arguments, local_addr=(SOURCE.get(), 0), **named)


loop.create_connection = connect_from
for number, source in enumerate(sources):
    Client(number, source).begin()
loop.run_forever()
