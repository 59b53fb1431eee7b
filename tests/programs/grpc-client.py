"""A real gRPC client (grpcio). Arguments: address, authority, and the CA's file, or "-" for no TLS. Ends with 1, and says
what was wrong, at the first answer that is not as it must be."""
import sys
import time

import grpc

address, authority, ca = sys.argv[1:4]
options = (("grpc.enable_retries", 0),)
if ca == "-":
    channel = grpc.insecure_channel(address, options + (("grpc.default_authority", authority),))
else:
    with open(ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    override = (("grpc.ssl_target_name_override", authority), ("grpc.default_authority", authority))
    channel = grpc.secure_channel(address, credentials, options + override)


def must(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got!r}, not {wanted!r}")


answer, call = channel.unary_unary("/test.Echo/Unary").with_call(b"hello", timeout=10)
name = answer.split(b" ")[0]
must("unary", answer, name + b" hello")
trailers = dict(call.trailing_metadata())
must("trailers", (trailers.get("x-sum"), trailers.get("x-served-by")), ("5", name.decode()))

large = b"x" * 3_000_000
must("a large message", channel.unary_unary("/test.Echo/Unary")(large, timeout=20), name + b" " + large)

got = list(channel.unary_stream("/test.Echo/ServerStream")(b"2000", timeout=20))
must("a stream from the server", got, [str(number).encode() for number in range(2000)])

got = channel.stream_unary("/test.Echo/ClientStream")((b"x" * 1000 for _ in range(2000)), timeout=20)
must("a stream to the server", got, b"2000000")


def questions():
    """The next one is asked when the last one has been answered."""
    for number in range(200):
        while len(answers) < number:
            time.sleep(0.0005)
        yield str(number).encode()


answers = []
for answer in channel.stream_stream("/test.Echo/Both")(questions(), timeout=20):
    answers.append(answer)
must("streams both ways", answers, [name + b" " + str(number).encode() for number in range(200)])

begun = time.monotonic()
try:
    channel.unary_unary("/test.Echo/Slow")(b"", timeout=0.5)
    sys.exit("a deadline that has passed: answered")
except grpc.RpcError as error:
    must("a deadline that has passed", error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
took = time.monotonic() - begun
must("how long that took", 0.4 < took < 3, True)

try:
    channel.unary_unary("/test.Echo/Fail")(b"because", timeout=10)
    sys.exit("a failure: answered")
except grpc.RpcError as error:
    must("a failure", (error.code(), error.details()), (grpc.StatusCode.FAILED_PRECONDITION, "not now: because"))
    must("its trailers", dict(error.trailing_metadata()).get("x-why"), "because")

try:
    channel.unary_unary("/test.Echo/Nothing")(b"", timeout=10)
    sys.exit("a method that is not there: answered")
except grpc.RpcError as error:
    must("a method that is not there", error.code(), grpc.StatusCode.UNIMPLEMENTED)
print(name.decode())
