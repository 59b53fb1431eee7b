// A real Node server: HTTP/1.1 with WebSocket on one port, HTTP/2 in the clear with extended CONNECT on the next.
//
// Arguments: name, first port. Every request is answered with what it was, as JSON; WebSocket messages come back.
'use strict';
const crypto = require('crypto');
const http = require('http');
const http2 = require('http2');
const [name, port] = [process.argv[2], Number(process.argv[3])];

function answer(request, response) {
  if (request.url.startsWith('/bytes/')) {
    return stream(response, Number(request.url.slice(7)));
  }
  const hash = crypto.createHash('sha256');
  let length = 0;
  request.on('data', (part) => { length += part.length; hash.update(part); });
  request.on('end', () => {
    const body = JSON.stringify({
      name, method: request.method, url: request.url, version: request.httpVersion,
      headers: request.headers, trailers: request.trailers, length, sha256: hash.digest('hex'),
    });
    response.writeHead(200, {'content-type': 'application/json', 'x-served-by': name, 'x-secret': 'inside'});
    response.end(body);
  });
}

// So many bytes, no faster than they are taken.
function stream(response, count) {
  const block = Buffer.alloc(65536, 'x');
  response.writeHead(200, {'content-length': count});
  const more = () => {
    while (count > 0) {
      const part = count < block.length ? block.subarray(0, count) : block;
      count -= part.length;
      if (!response.write(part)) { return response.once('drain', more); }
    }
    response.end();
  };
  more();
}

// RFC 6455 §5: unmasks and sends back whole messages; answers pings and close.
function echo(socket, rest) {
  let bytes = Buffer.from(rest || []);
  const frame = (opcode, payload) => {
    const length = payload.length;
    const head = length < 126 ? [length] : length < 65536 ? [126, length >> 8, length & 255]
      : [127, 0, 0, 0, 0, (length >>> 24) & 255, (length >> 16) & 255, (length >> 8) & 255, length & 255];
    socket.write(Buffer.concat([Buffer.from([0x80 | opcode, ...head]), payload]));
  };
  const take = () => {
    for (;;) {
      if (bytes.length < 2) { return; }
      const opcode = bytes[0] & 15;
      let length = bytes[1] & 127;
      let at = 2;
      if (length === 126) { if (bytes.length < 4) { return; } length = bytes.readUInt16BE(2); at = 4; }
      else if (length === 127) { if (bytes.length < 10) { return; } length = Number(bytes.readBigUInt64BE(2)); at = 10; }
      if (bytes.length < at + 4 + length) { return; }
      const mask = bytes.subarray(at, at + 4);
      const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + length));
      for (let i = 0; i < payload.length; i += 1) { payload[i] ^= mask[i & 3]; }
      bytes = bytes.subarray(at + 4 + length);
      if (opcode === 8) { frame(8, payload); return void socket.end(); }
      if (opcode === 9) { frame(10, payload); } else { frame(opcode, payload); }
    }
  };
  socket.on('data', (part) => { bytes = Buffer.concat([bytes, part]); take(); });
  socket.on('error', () => {});
  take();
}

const first = http.createServer({keepAliveTimeout: 600000}, answer);
first.on('upgrade', (request, socket, rest) => {
  const accept = crypto.createHash('sha1')
    .update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
    + `Sec-WebSocket-Accept: ${accept}\r\nX-Served-By: ${name}\r\n\r\n`);
  echo(socket, rest);
});
// Thousands come at once: 511, the default, would have the kernel drop some of them for a second or three.
const backlog = 8192;
first.listen({ port, host: '0.0.0.0', backlog });

const second = http2.createServer({settings: {enableConnectProtocol: true}}, (request, response) => {
  if (request.method !== 'CONNECT') { answer(request, response); }
});
second.on('connect', (request, response) => {
  response.writeHead(200);
  echo(response.stream);
});
second.listen({ port: port + 1, host: '0.0.0.0', backlog });
