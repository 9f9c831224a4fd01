'use strict';

const http = require('node:http');
const { version } = require('./package.json');

const server = http.createServer((request, response) => {
  response.setHeader('Content-Type', 'application/json');
  response.statusCode = request.url === '/health' ? 200 : 404;
  response.end(JSON.stringify({ version, pid: process.pid }));
});

server.listen(Number(process.env.PORT || 8085), '127.0.0.1', () => console.log(`version ${version} listens`));

// `systemctl stop` sends SIGTERM: no new connections, and requests in progress end first.
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections?.();
});
