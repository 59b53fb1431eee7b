"""Real WebSocket clients (the package websockets). Arguments: URL, the address to connect to, the CA's file or "-", how
many clients, how many messages each. Each message must come back. With all open at once it says "open" and waits for a
line before it closes them."""
import asyncio
import ssl
import sys
import urllib.parse

import websockets

url, address, ca, clients, messages = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
host, port = address.rsplit(":", 1)
secure = {} if ca == "-" else {
    "ssl": ssl.create_default_context(cafile=ca), "server_hostname": urllib.parse.urlsplit(url).hostname
}


async def client(number, opened, close):
    async with websockets.connect(
        url, host=host, port=int(port), open_timeout=60, ping_interval=None, compression=None, **secure
    ) as socket:
        for message in range(messages):
            text = f"{number}/{message}/" + "x" * (message * 500)
            await socket.send(text)
            if await asyncio.wait_for(socket.recv(), 60) != text:
                sys.exit(f"client {number}: message {message} came back otherwise")
        opened.release()
        await close.wait()
        await socket.send("bye")
        if await asyncio.wait_for(socket.recv(), 60) != "bye":
            sys.exit(f"client {number}: the last message came back otherwise")


async def main():
    opened, close = asyncio.Semaphore(0), asyncio.Event()
    tasks = [asyncio.ensure_future(client(number, opened, close)) for number in range(clients)]
    everybody = asyncio.ensure_future(asyncio.gather(*tasks))
    for _ in range(clients):
        waiting = asyncio.ensure_future(opened.acquire())
        await asyncio.wait([waiting, everybody], return_when=asyncio.FIRST_COMPLETED)
        if everybody.done():
            await everybody
    print("open", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    close.set()
    await everybody
    print(clients, "clients")


asyncio.run(main())
