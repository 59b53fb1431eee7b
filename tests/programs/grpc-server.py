"""A real gRPC server (grpcio), without generated code: messages are bytes. Arguments: name, port."""
import sys
import time
from concurrent import futures

import grpc

NAME = sys.argv[1].encode()


def unary(request, context):
    context.set_trailing_metadata((("x-sum", str(len(request))), ("x-served-by", NAME.decode())))
    return NAME + b" " + request


def server_stream(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def client_stream(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def both(requests, context):
    for request in requests:
        yield NAME + b" " + request


def slow(request, context):
    while context.is_active():
        time.sleep(0.01)
    return b"too late"


def fail(request, context):
    context.set_trailing_metadata((("x-why", request.decode()),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: " + request.decode())


class Service(grpc.GenericRpcHandler):
    def service(self, call):
        return {
            "/test.Echo/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/test.Echo/ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
            "/test.Echo/ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
            "/test.Echo/Both": grpc.stream_stream_rpc_method_handler(both),
            "/test.Echo/Slow": grpc.unary_unary_rpc_method_handler(slow),
            "/test.Echo/Fail": grpc.unary_unary_rpc_method_handler(fail),
        }.get(call.method)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
server.add_generic_rpc_handlers((Service(),))
server.add_insecure_port(f"0.0.0.0:{sys.argv[2]}")
server.start()
server.wait_for_termination()
