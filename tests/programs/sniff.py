"""Writes down what arrives at this machine: datagrams of gossip, and what TCP connections to direct ports begin with. Arguments:
UDP port, TCP port. One JSON object a line: "udp" or "tcp", with source, destination and the bytes in hex."""
import json
import socket
import struct
import sys

udp, tcp = int(sys.argv[1]), int(sys.argv[2])
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ETH_P_IP = 0x0800
sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
print("ready", flush=True)
while True:
    packet, (_, _, kind, *_) = sniffer.recvfrom(65535)
    if kind == socket.PACKET_OUTGOING or len(packet) < 28:
        continue
    head = (packet[0] & 15) * 4
    length, = struct.unpack("!H", packet[2:4])
    source, destination = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    port, = struct.unpack("!H", packet[head + 2:head + 4])
    if packet[9] == socket.IPPROTO_UDP and port == udp:
        what, payload = "udp", packet[head + 8:length]
    elif packet[9] == socket.IPPROTO_TCP and port == tcp:
        what, payload = "tcp", packet[head + (packet[head + 12] >> 4) * 4:length]
        if not payload.startswith(SIGNATURE):
            continue
    else:
        continue
    print(json.dumps({"what": what, "from": source, "to": destination, "bytes": payload.hex()}), flush=True)
