/** What cases fetch: files over http with their validators, and git repositories. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { Case, Commit } from './case.ts';
import { contentOf, makeTree } from './tree.ts';

export interface CaseServer extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
}

const LAST_MODIFIED = 'Sun, 06 Nov 2011 08:49:37 GMT';
const COMMIT_DATE = '2012-03-04T05:06:07Z';

/** Serves what the cases say, each below its own name. Repositories are made below `root`. */
export async function startCaseServer(cases: readonly Case[], root: string): Promise<CaseServer> {
  const files = new Map<string, Buffer>();
  for (const { name, serve = {}, git = {} } of cases) {
    for (const [path, leaf] of Object.entries(serve)) {
      files.set(`/${name}/${path}`, contentOf(leaf));
    }
    for (const [repository, commits] of Object.entries(git)) {
      makeRepository(join(root, name, repository), commits);
    }
  }
  const server = createServer((request, response) => {
    const path = decodeURIComponent((request.url ?? '').split('?')[0] ?? '');
    const content = files.get(path);
    if (content !== undefined) {
      serveFile(request, response, content);
    } else if (/\/(info\/refs|git-upload-pack)$/.test(path)) {
      serveGit(request, response, root);
    } else {
      response.writeHead(404).end('not found\n');
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    host: `127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function serveFile(request: IncomingMessage, response: ServerResponse, content: Buffer): void {
  const etag = `"${content.length}"`;
  if (request.headers['if-none-match'] === etag) {
    response.writeHead(304, { ETag: etag }).end();
    return;
  }
  response.writeHead(200, {
    ETag: etag,
    'Last-Modified': LAST_MODIFIED,
    'Content-Length': content.length,
  });
  response.end(request.method === 'HEAD' ? undefined : content);
}

/** Git's own server, as CGI. */
function serveGit(request: IncomingMessage, response: ServerResponse, root: string): void {
  const [path = '', query = ''] = (request.url ?? '').split('?');
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: path,
      QUERY_STRING: query,
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      GIT_PROTOCOL: request.headers['git-protocol'] as string | undefined,
      // Repositories may be another user's than the one who runs git.
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  request.pipe(child.stdin);
  child.stdin.on('error', () => {});
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.once('close', () => {
    const all = Buffer.concat(output);
    const end = all.indexOf('\r\n\r\n');
    for (const line of all.subarray(0, end).toString('latin1').split('\r\n')) {
      const [name = '', value = ''] = line.split(': ');
      if (name === 'Status') {
        response.statusCode = Number.parseInt(value, 10);
      } else {
        response.setHeader(name, value);
      }
    }
    response.end(all.subarray(end + 4));
  });
}

/** Commits with the same ids everywhere. */
function makeRepository(directory: string, commits: readonly Commit[]): void {
  mkdirSync(directory, { recursive: true });
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', directory, '-c', 'protocol.version=2', ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        PATH: process.env.PATH,
        HOME: '/nonexistent',
        GIT_CONFIG_NOSYSTEM: '1',
        ...Object.fromEntries(
          ['AUTHOR', 'COMMITTER'].flatMap((role) => [
            [`GIT_${role}_NAME`, 'case'],
            [`GIT_${role}_EMAIL`, 'case@example.invalid'],
            [`GIT_${role}_DATE`, COMMIT_DATE],
          ]),
        ),
      },
    });
  git('init', '--quiet', '--initial-branch=main');
  git('config', 'uploadpack.allowAnySHA1InWant', 'true');
  for (const [index, { files, tag, branch }] of commits.entries()) {
    if (branch !== undefined) {
      git('checkout', '--quiet', '-B', branch);
    }
    makeTree(directory, files, `commit ${index}`);
    git('add', '--all');
    git('commit', '--quiet', '--message', 'a commit');
    if (tag !== undefined) {
      git('tag', '--annotate', '--message', 'a tag', tag);
    }
  }
  git('checkout', '--quiet', 'main');
}
