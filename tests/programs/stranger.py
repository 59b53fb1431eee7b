"""Somebody who has no key, but has overheard datagrams: sends to a proxy what it has, and what it makes of it. Arguments: address,
port, file with overheard datagrams (JSON, a line each), how many random ones, seed. Says how many of each it sent, as JSON.

Overheard ones are sent as they are, from here and in the name of who sent them first; cut short; with one bit changed."""
import json
import random
import socket
import struct
import sys
import time

address, port, file, count, seed = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
chance = random.Random(seed)
with open(file) as lines:
    overheard = [json.loads(line) for line in lines if line.startswith("{")]
# The first ones: later there are also our own among them.
overheard = [(one["from"], bytes.fromhex(one["bytes"])) for one in overheard if one["what"] == "udp"][:400]
plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
sent = {}


def send(what, payload, source=None):
    if source is None:
        plain.sendto(payload, (address, port))
    else:
        # RFC 768: a checksum of 0 means that there is none. The kernel fills in the length and the checksum of the head.
        udp = struct.pack("!HHHH", port, port, 8 + len(payload), 0) + payload
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0,
                           socket.inet_aton(source), socket.inet_aton(address))
        raw.sendto(head + udp, (address, 0))
    sent[what] = sent.get(what, 0) + 1
    if sum(sent.values()) % 50 == 0:
        time.sleep(0.005)  # a receive buffer holds only so many


for source, payload in overheard:
    send("replayed", payload)
    send("replayed", payload, source)
for source, payload in overheard[:40]:
    for length in chance.sample(range(len(payload)), min(20, len(payload))):
        send("truncated", payload[:length], source)
    for _ in range(20):
        changed = bytearray(payload)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        send("changed", bytes(changed), source)
for _ in range(count):
    send("random", chance.randbytes(chance.randrange(1, 1400)))
for size in (0, 1, 1472, 9000, 65000):
    send("odd", chance.randbytes(size))
print(json.dumps(sent))
