/** Repositories made by the test, and real servers of them: smart HTTP by git's own CGI, and git's daemon. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';

const AUTHOR = { name: 'T', email: 't@h.example', date: '2015-10-21T07:28:00Z' };
/** When every commit of a test is made. */
export const COMMIT_SECONDS = 1_445_412_480;

export function git(cwd: string, ...args: string[]): string {
  return execFileSync('git', args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      HOME: '/dev/null',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_AUTHOR_NAME: AUTHOR.name,
      GIT_AUTHOR_EMAIL: AUTHOR.email,
      GIT_AUTHOR_DATE: AUTHOR.date,
      GIT_COMMITTER_NAME: AUTHOR.name,
      GIT_COMMITTER_EMAIL: AUTHOR.email,
      GIT_COMMITTER_DATE: AUTHOR.date,
      GIT_ALLOW_PROTOCOL: 'file',
    },
  }).trim();
}

/** A work tree below `root` with an empty history; servers of `root` serve it as `/NAME`. */
export function makeRepository(root: string, name: string): string {
  const path = join(root, name);
  mkdirSync(path, { recursive: true });
  git(path, 'init', '--quiet', '--initial-branch=main', '.');
  git(path, 'config', 'http.receivepack', 'false');
  return path;
}

/** Writes the files and commits them. @returns The commit's id. */
export function commit(repository: string, files: Readonly<Record<string, string>>): string {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(repository, path)), { recursive: true });
    writeFileSync(join(repository, path), content);
  }
  git(repository, 'add', '--all');
  git(repository, 'commit', '--quiet', '--allow-empty', '--message=m');
  return git(repository, 'rev-parse', 'HEAD');
}

export interface GitServer extends AsyncDisposable {
  /** `http://127.0.0.1:1234` or `git://127.0.0.1:1234`. */
  readonly origin: string;
  readonly requests: readonly { readonly url: string; readonly authorization: string | undefined }[];
}

export interface GitHttpOptions {
  /** The only Authorization header that is let in. */
  readonly authorization?: string;
  /** Speak the protocol in which servers give only what they advertise. */
  readonly oldProtocol?: boolean;
  /** Where everything is redirected to. */
  readonly redirectTo?: string;
  /** Serve the files of the repositories instead of speaking git's protocol. */
  readonly dumb?: boolean;
}

export async function serveGitHttp(root: string, options: GitHttpOptions = {}): Promise<GitServer> {
  const requests: { url: string; authorization: string | undefined }[] = [];
  const server = createHttpServer((request, response) => {
    const url = request.url ?? '';
    requests.push({ url, authorization: request.headers.authorization });
    if (options.redirectTo !== undefined) {
      response.writeHead(302, { location: `${options.redirectTo}${url}` }).end();
    } else if (
      options.authorization !== undefined &&
      request.headers.authorization !== options.authorization
    ) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end();
    } else {
      backend(root, request, response, options);
    }
  });
  return { origin: `http://127.0.0.1:${await listen(server)}`, requests, ...closing(server) };
}

/** RFC 3875, as far as git-http-backend(1) uses it. */
function backend(
  root: string,
  request: IncomingMessage,
  response: ServerResponse,
  { oldProtocol, dumb }: GitHttpOptions,
): void {
  const url = new URL(request.url ?? '', 'http://h');
  const version = oldProtocol === true ? undefined : request.headers['git-protocol'];
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      REQUEST_METHOD: request.method,
      PATH_INFO: decodeURIComponent(url.pathname),
      QUERY_STRING: dumb === true ? '' : url.search.slice(1),
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      ...(request.headers['content-encoding'] === undefined
        ? {}
        : { HTTP_CONTENT_ENCODING: request.headers['content-encoding'] }),
      ...(version === undefined ? {} : { GIT_PROTOCOL: String(version) }),
      GIT_CONFIG_NOSYSTEM: '1',
      HOME: '/dev/null',
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin.on('error', () => undefined);
  request.pipe(child.stdin);
  let head: Buffer | undefined = Buffer.alloc(0);
  child.stdout.on('data', (chunk: Buffer) => {
    if (head === undefined) {
      response.write(chunk);
      return;
    }
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end >= 0) {
      const headers = head.subarray(0, end).toString('latin1').split('\r\n');
      let status = 200;
      for (const line of headers) {
        const [name = '', value = ''] = line.split(/:\s*/, 2);
        if (name === 'Status') {
          status = Number.parseInt(value, 10);
        } else {
          response.setHeader(name, value);
        }
      }
      response.writeHead(status);
      response.write(head.subarray(end + 4));
      head = undefined;
    }
  });
  child.stdout.on('end', () => response.end());
}

/** git's daemon, one for each connection. */
export async function serveGitDaemon(root: string): Promise<GitServer> {
  const server = createTcpServer((socket) => {
    const child = spawn(
      'git',
      ['-c', 'safe.directory=*', 'daemon', '--inetd', '--export-all', `--base-path=${root}`],
      {
        stdio: ['pipe', 'pipe', 'ignore'],
        env: { PATH: process.env.PATH, HOME: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' },
      },
    );
    child.stdin.on('error', () => undefined);
    socket.on('error', () => child.kill());
    socket.pipe(child.stdin);
    child.stdout.pipe(socket);
  });
  return { origin: `git://127.0.0.1:${await listen(server)}`, requests: [], ...closing(server) };
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

function closing(server: Server): AsyncDisposable {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return {
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) {
          socket.destroy();
        }
      }),
  };
}
