"""What a client tells: one JSON object a line, with the wall clock in seconds, the number of the client, and what happened:
"served" (by whom), "redirected" (to where), "lost" (a session that stood has ended), "failed" (an attempt to get one)."""
import json
import sys
import threading
import time

_lock = threading.Lock()


def tell(client, event, **more):
    line = json.dumps({"at": time.time(), "client": client, "event": event, **more})
    with _lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def words(error):
    return f"{type(error).__name__}: {error}"
