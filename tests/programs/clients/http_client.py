"""HTTP clients (the package requests), which follow redirects by their own rules. Arguments: URL, how often ("once", or seconds
between two requests), method, bytes of the body, the source address of each client: they take turns.

Each request has a connection, and an Authorization, of its own, and is told: by whom it was answered, how often it was
redirected, and what the server saw of the request. None is repeated."""
import hashlib
import itertools
import sys
import time

import requests
from requests.adapters import HTTPAdapter

from tell import tell, words

url, every, method, size, sources = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:]
BODY = bytes(range(256)) * (size // 256) if size else None


class From(HTTPAdapter):
    """Connects from one address."""

    def __init__(self, source):
        self.source = source
        super().__init__()

    def init_poolmanager(self, *arguments, **named):
        super().init_poolmanager(*arguments, source_address=(self.source, 0), **named)


def ask(number, source):
    begun = time.time()
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", From(source))
        try:
            headers = {"Authorization": "Bearer secret"}
            answer = session.request(method, url, headers=headers, data=BODY, timeout=10)
        except requests.RequestException as error:
            tell(number, "failed", how=words(error), took=time.time() - begun)
            return
    hops = [(one.status_code, one.headers.get("Location")) for one in answer.history]
    if answer.status_code != 200:
        how = f"{answer.status_code} {answer.text.strip()}"
        tell(number, "failed", how=how, took=time.time() - begun, hops=hops)
        return
    seen = answer.json() if answer.headers["Content-Type"].startswith("application/json") else {"name": answer.text.strip()}
    whole = BODY is None or seen.get("sha256") == hashlib.sha256(BODY).hexdigest()
    tell(
        number, "served", by=seen["name"], took=time.time() - begun, hops=hops, whole=whole,
        authorization=seen.get("headers", {}).get("authorization"),
    )


if every == "once":
    for number, source in enumerate(sources):
        ask(number, source)
else:
    for number, source in itertools.cycle(enumerate(sources)):
        begun = time.time()
        ask(number, source)
        time.sleep(max(0.0, begun + float(every) - time.time()))
