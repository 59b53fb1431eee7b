"""MQTT 5 clients (paho). Arguments: address, seconds between two messages, the source address of each client. Each subscribes to
"whoami", where a broker keeps its name, and then publishes with QoS 1: a PUBACK is an answer.

paho does not follow a server reference: it connects again to the address that it was given, after 1 s, then 2 s and so on,
by its own rules. Every answer to a CONNECT, and every end, is told."""
import sys
import threading
import time

import paho.mqtt.client as mqtt

from tell import tell

address, period, sources = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
host, port = address.rsplit(":", 1)


class Client:
    def __init__(self, number, source):
        self.number, self.source, self.by, self.sent = number, source, None, {}
        self.client = mqtt.Client(client_id=f"client-{number}", protocol=mqtt.MQTTv5)
        self.client.on_connect = self.connected
        self.client.on_disconnect = self.ended
        self.client.on_message = self.told
        self.client.on_publish = self.acknowledged

    def begin(self):
        self.client.connect_async(host, int(port), bind_address=self.source)
        threading.Thread(target=self.client.loop_forever, kwargs={"retry_first_connection": True}, daemon=True).start()
        threading.Thread(target=self.publish, daemon=True).start()

    def connected(self, _client, _data, _flags, reason, properties):
        if reason.value == 0:
            tell(self.number, "accepted")
            self.client.subscribe("whoami", qos=1)
        else:
            tell(self.number, "redirected", code=reason.value, to=getattr(properties, "ServerReference", None))

    def ended(self, _client, _data, reason, properties=None):
        stood, self.by = self.by, None
        reference = getattr(properties, "ServerReference", None)
        tell(self.number, "lost" if stood else "ended", how=str(reason), to=reference)

    def told(self, _client, _data, message):
        self.by = message.payload.decode()
        tell(self.number, "served", by=self.by, took=0)

    def publish(self):
        while True:
            time.sleep(period)
            if self.by:
                _, number = self.client.publish(f"from/{self.number}", b"x", qos=1)
                self.sent[number] = time.time()

    def acknowledged(self, _client, _data, number):
        sent = self.sent.pop(number, None)
        if self.by and sent:
            tell(self.number, "served", by=self.by, took=time.time() - sent)


for number, source in enumerate(sources):
    Client(number, source).begin()
threading.Event().wait()
