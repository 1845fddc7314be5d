/** A certificate authority as a company's TLS-inspecting proxy has one, and servers whose certificates it signed. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer, type Server } from 'node:tls';

export interface CompanyCa {
  /** PEM file with its certificate alone. */
  readonly path: string;
  /** Part of the certificate that no other holds. */
  readonly needle: string;
  readonly server: { readonly key: Buffer; readonly cert: Buffer };
}

export function makeCompanyCa(directory: string): CompanyCa {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...key,
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-days',
    '2',
    '-subj',
    '/CN=Company Test CA',
    '-addext',
    'keyUsage=critical,keyCertSign,cRLSign',
  );
  openssl('req', ...key, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=localhost');
  writeFileSync(
    join(directory, 'server.ext'),
    'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n',
  );
  openssl(
    'x509',
    '-req',
    '-in',
    'server.csr',
    '-CA',
    'ca.pem',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    'server.ext',
    '-out',
    'server.pem',
  );
  const path = join(directory, 'ca.pem');
  return {
    path,
    needle: readFileSync(path, 'utf8').split('\n')[3] ?? '',
    server: {
      key: readFileSync(join(directory, 'server.key')),
      cert: readFileSync(join(directory, 'server.pem')),
    },
  };
}

export interface Listening extends AsyncDisposable {
  readonly port: number;
}

/** Answers every request with a text. */
export function serveText(ca: CompanyCa, text: string): Promise<Listening> {
  return listen(createHttpsServer(ca.server, (_request, response) => response.end(text)));
}

/** TLS in front of a server that speaks plain HTTP on this machine. */
export function serveTls(ca: CompanyCa, toPort: number): Promise<Listening> {
  return listen(
    createTlsServer(ca.server, (socket) => {
      const inner = connect(toPort, '127.0.0.1');
      inner.pipe(socket).pipe(inner);
      inner.on('error', () => socket.destroy());
      socket.on('error', () => inner.destroy());
    }),
  );
}

async function listen(server: Server): Promise<Listening> {
  const sockets = new Set<{ destroy(): unknown }>();
  server.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) {
        socket.destroy();
      }
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
