"""Sessions over TCP or TLS that stay open and ask again and again. Arguments: address, seconds between two questions, the CA's
file or "-", the name asked for, the source address of each client. Without TLS a question is a line, and so is the answer,
which says the server's name; with TLS both are HTTP/1.1 on one connection.

A session that ends is opened anew at once; an attempt that fails is followed by the next after 0.1 s. Each is told."""
import asyncio
import json
import ssl
import sys
import time

from tell import tell, words

address, period, ca, name, sources = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:]
host, port = address.rsplit(":", 1)
PATIENCE = 10


def secure():
    if ca == "-":
        return {}
    return {"ssl": ssl.create_default_context(cafile=ca), "server_hostname": name}


def question():
    return b"who are you?\n" if ca == "-" else f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()


async def answer(first, reader):
    """Who answered; `first` is the answer's first line, already read."""
    if ca == "-":
        return json.loads(first)["name"]
    length = 0
    while (line := await reader.readline()).strip():
        field, value = line.decode().split(":", 1)
        if field.lower() == "content-length":
            length = int(value)
    return (await reader.readexactly(length)).decode().strip()


async def converse(number, reader, writer, shown):
    line = asyncio.ensure_future(reader.readline())
    try:
        while True:
            asked = time.time()
            writer.write(question())
            first = await asyncio.wait_for(asyncio.shield(line), PATIENCE)
            if not first:
                return "while it waited for an answer"
            by = await asyncio.wait_for(answer(first, reader), PATIENCE)
            tell(number, "served", by=by, took=time.time() - asked, shown=shown)
            line = asyncio.ensure_future(reader.readline())
            done, _ = await asyncio.wait({line}, timeout=period)
            if done:
                return "idle" if not line.result() else "idle, with bytes nobody asked for"
    finally:
        line.cancel()


def certificate(writer):
    """The first DNS name of the certificate that was shown."""
    shown = (writer.get_extra_info("peercert") or {}).get("subjectAltName") or [(None, None)]
    return shown[0][1]


async def client(number, source):
    while True:
        begun = time.time()
        try:
            opening = asyncio.open_connection(host, int(port), local_addr=(source, 0), **secure())
            reader, writer = await asyncio.wait_for(opening, PATIENCE)
        except Exception as error:
            tell(number, "failed", how=words(error), took=time.time() - begun)
            await asyncio.sleep(0.1)
            continue
        try:
            how = await converse(number, reader, writer, certificate(writer))
        except Exception as error:
            how = words(error)
        finally:
            writer.close()
        tell(number, "lost", how=how, took=time.time() - begun)
        if time.time() - begun < 0.1:
            await asyncio.sleep(0.1)


async def main():
    await asyncio.gather(*(client(number, source) for number, source in enumerate(sources)))


asyncio.run(main())
