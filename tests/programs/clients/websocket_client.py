"""WebSocket clients (the package websockets), which follow redirects of the handshake by their own rules. Arguments: URL, seconds
between two messages, the source address of each client. Each message comes back.

A session that ends is opened anew at once; an attempt that fails is followed by the next after 0.1 s. Each is told."""
import asyncio
import sys
import time

import websockets

from tell import tell, words

url, period, sources = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
PATIENCE = 10


async def client(number, source):
    while True:
        begun = time.time()
        stood = False
        try:
            connect = websockets.connect(
                url, local_addr=(source, 0), open_timeout=PATIENCE, ping_interval=None, compression=None
            )
            async with connect as socket:
                stood = True
                by = socket.response_headers.get("X-Served-By")
                where = "%s:%s" % socket.remote_address[:2]
                while True:
                    asked = time.time()
                    text = f"{number}/{asked}"
                    await socket.send(text)
                    if await asyncio.wait_for(socket.recv(), PATIENCE) != text:
                        tell(number, "failed", how="a message came back otherwise")
                    tell(number, "served", by=by, at_address=where, took=time.time() - asked)
                    # A message that nobody asked for does not come: this ends with the session, or when it is time.
                    try:
                        await asyncio.wait_for(socket.recv(), period)
                        tell(number, "failed", how="a message that nobody asked for")
                    except asyncio.TimeoutError:
                        pass
        except Exception as error:
            tell(number, "lost" if stood else "failed", how=words(error), took=time.time() - begun)
        if time.time() - begun < 0.1 or not stood:
            await asyncio.sleep(0.1)


async def main():
    await asyncio.gather(*(client(number, source) for number, source in enumerate(sources)))


asyncio.run(main())
