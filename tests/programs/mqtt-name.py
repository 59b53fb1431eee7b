"""Has the broker on this machine keep its name where clients look for it. Arguments: port, name."""
import sys

import paho.mqtt.publish

paho.mqtt.publish.single("whoami", sys.argv[2], qos=1, retain=True, hostname="127.0.0.1", port=int(sys.argv[1]))
