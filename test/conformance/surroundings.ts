/** Everything around the builds: bases, a server, contexts; and one build of one case. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { BASE_NAMES, type Base, makeBases } from './bases.ts';
import type { Builder, BuildRequest, NamedContext } from './builders/builder.ts';
import type { Case } from './case.ts';
import { startCaseServer } from './case-server.ts';
import type { Result } from './differences.ts';
import { flatten } from './flatten.ts';
import { makeTree } from './tree.ts';

export interface Surroundings extends AsyncDisposable {
  /** Builds a case in a context of its own. */
  build(builder: Builder, item: Case): Promise<Result>;
}

export async function makeSurroundings(cases: readonly Case[]): Promise<Surroundings> {
  const root = mkdtempSync(join(tmpdir(), 'tsbuild-conformance-'));
  const bases = makeBases(join(root, 'bases'));
  const server = await startCaseServer(cases, join(root, 'served'));
  // Only forwarded and looked at, never spoken to.
  const agent = createServer((socket) => socket.end());
  const agentSocket = join(root, 'agent.sock');
  await new Promise<void>((resolve) => agent.listen(agentSocket, resolve));
  return {
    async build(builder, item) {
      const directory = join(root, builder.name, item.name);
      const request = prepare(directory, item, { bases, serverHost: server.host, agentSocket });
      const { ok, text } = await builder.build(request);
      try {
        if (!ok) {
          return { refused: text };
        }
        const image = await flatten(request.layout, item.directoryTimes ?? false);
        // The port is another one in each run.
        return JSON.parse(JSON.stringify(image).replaceAll(server.host, 'SERVER')) as Result;
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    },
    async [Symbol.asyncDispose]() {
      agent.close();
      await server[Symbol.asyncDispose]();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

interface Around {
  readonly bases: ReadonlyMap<string, Base>;
  readonly serverHost: string;
  readonly agentSocket: string;
}

function prepare(directory: string, item: Case, { bases, serverHost, agentSocket }: Around): BuildRequest {
  const contextDirectory = join(directory, 'context');
  makeTree(contextDirectory, { ...item.context, [item.file]: item.dockerfile }, item.name);
  mkdirSync(join(directory, 'secrets'), { recursive: true });
  const secrets = Object.entries(item.secrets ?? {}).map(([id, value]) => {
    const path = join(directory, 'secrets', id);
    writeFileSync(path, value);
    return [id, path];
  });
  const image = (name: string): NamedContext => {
    const base = bases.get(name);
    if (base === undefined) {
      throw new Error(`${item.name}: there is no base '${name}'`);
    }
    return { kind: 'image', ...base };
  };
  const named = Object.entries(item.contexts ?? {}).map(([name, what]): [string, NamedContext] => {
    if (typeof what === 'string') {
      return [name, image(what)];
    }
    const local = join(directory, 'contexts', name);
    mkdirSync(dirname(local), { recursive: true });
    makeTree(local, what, `${item.name} ${name}`);
    return [name, { kind: 'local', directory: local }];
  });
  const mentioned = BASE_NAMES.filter((name) => item.dockerfile.includes(name));
  const serves = item.serve !== undefined || item.git !== undefined;
  return {
    contextDirectory,
    dockerfilePath: join(contextDirectory, item.file),
    target: item.target,
    platform: item.platform,
    buildArgs: { ...(serves ? { SERVER: `${serverHost}/${item.name}` } : {}), ...item.buildArgs },
    labels: item.labels ?? {},
    secrets: Object.fromEntries(secrets),
    sshSocket: item.ssh === true ? agentSocket : undefined,
    allow: item.allow ?? [],
    contexts: Object.fromEntries([
      ...mentioned.map((name): [string, NamedContext] => [name, image(name)]),
      ...named,
    ]),
    layout: join(directory, 'layout'),
  };
}
