/** Run as some user with a store and a snapshotter: does every copy of `copy-cases.ts` and writes what the trees are as tar files. */

import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { TsbuildError } from '../../src/errors.ts';
import type { Action, MkdirAction } from '../../src/graph/action.ts';
import { ROOT_OWNER } from '../../src/graph/action.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { InputFile, StepInput, StepParams } from '../../src/worker/protocol.ts';
import { busyboxBase } from './busybox-root.ts';
import { GOOD, hostileArchives, SPECIAL } from './copy-archives.ts';
import { COPY_CASES, IMAGE_SCRIPT, OWNED, TIME } from './copy-cases.ts';
import { execAction } from './exec-action.ts';
import { rawTar } from './raw-tar.ts';

const [storeDir = '', snapshotter = 'auto'] = process.argv.slice(2);
const out = join(storeDir, '..', 'out');
mkdirSync(out);
const contextDir = join(storeDir, '..', 'context');
const signal = new AbortController().signal;
const worker = await startWorker({
  storeDir,
  snapshotter: snapshotter as 'auto' | 'overlay' | 'copy',
  hostTrust: { proxies: {}, mirrors: {} },
  signal,
});
const warnings: string[] = [];

async function step(name: string, params: Partial<StepParams>): Promise<LayerId> {
  const layer = name as LayerId;
  await worker.call(
    'step',
    {
      layer,
      parents: [],
      actions: [],
      inputs: [{ kind: 'none' }],
      secrets: {},
      logPath: join(storeDir, 'logs', `${name}.log`),
      lentEnv: {},
      ...params,
    },
    {
      signal,
      onEvent: (event) => {
        if (event.kind === 'warning') {
          warnings.push(event.code);
        }
      },
    },
  );
  return layer;
}

const base = busyboxBase();
const busybox = await step('busybox', {
  actions: base.actions,
  inputs: [{ kind: 'none' }, { kind: 'files', files: base.files }],
});
const socket = createServer();
const context: StepInput = { kind: 'files', files: await makeContext(), name: "'the context'" };
const source = await step('source', {
  parents: [busybox],
  inputs: [{ kind: 'none' }, { kind: 'none' }, context],
  actions: [
    {
      kind: 'copy',
      input: 2,
      source: '/special.tar',
      destination: '/special/',
      owner: { kind: 'keep' },
      modes: 'keep',
      times: 'epoch',
      unpack: true,
    },
    execAction(['/bin/sh', '-c', IMAGE_SCRIPT], { network: 'none' }),
    {
      kind: 'copy',
      input: 2,
      source: '/owned-source.tar',
      destination: '/',
      owner: { kind: 'keep' },
      modes: 'keep',
      times: 'epoch',
      unpack: true,
    },
  ],
});

const inputs: StepInput[] = [
  { kind: 'none' },
  { kind: 'layers', layers: [busybox, source], name: "'FROM source'" },
  context,
];
const table = (path: string, content: string): Action => ({
  kind: 'mkfile',
  path,
  mode: 0o644,
  owner: ROOT_OWNER,
  data: Buffer.from(content).toString('base64'),
});
const target = await step('target', {
  actions: [table('/etc/passwd', 'app:x:1000:1000::/:/bin/sh\n'), table('/etc/group', 'app:x:1000:\n')],
});

const results: Record<string, unknown> = {};
for (const [index, { name, before = [], actions }] of COPY_CASES.entries()) {
  const prepared = await step(`before-${index}`, { parents: [target], actions: before, inputs });
  try {
    const layer = await step(`case-${index}`, { parents: [target, prepared], actions, inputs });
    const layers = [target, prepared, layer];
    await worker.call(
      'exportTree',
      {
        trees: [{ layers, prefix: '' }],
        destination: join(out, `${index}.tar`),
        form: 'tar',
        extraFiles: 'keep',
      },
      { signal },
    );
    results[name] = { tar: join(out, `${index}.tar`) };
  } catch (error) {
    const { name: kind, code, message } = error as TsbuildError;
    results[name] = { error: { name: kind, code, message } };
  }
}

// A layer that was made on nothing, below and above others.
const linked = await step('linked', {
  actions: [
    {
      kind: 'copy',
      input: 1,
      source: '/src/sub',
      destination: '/lib/d',
      owner: ROOT_OWNER,
      modes: 'keep',
      times: 'keep',
    },
  ],
  inputs,
});
const merged = await step('merged', {
  actions: [
    {
      kind: 'mkdir',
      path: '/usr/lib',
      mode: 0o755,
      owner: ROOT_OWNER,
      mtimeSeconds: 7,
    } satisfies MkdirAction,
    table('/usr/lib/hidden', 'x'),
    {
      kind: 'copy',
      input: 2,
      source: '/links',
      destination: '/',
      owner: ROOT_OWNER,
      modes: 'keep',
      times: 'epoch',
      select: { wildcards: false, parents: false, exclude: ['*', '!lib'] },
    },
  ],
  inputs,
});
await worker.call(
  'exportTree',
  {
    trees: [{ layers: [target, merged, linked], prefix: '' }],
    destination: join(out, 'linked.tar'),
    form: 'tar',
    extraFiles: 'keep',
  },
  { signal },
);
const compressed = async (parents: readonly LayerId[], name: string) =>
  await worker.call(
    'compress',
    { layer: linked, parents, output: join(storeDir, 'tmp', name), compression: 'none', level: 1 },
    { signal },
  );
results.linked = {
  tar: join(out, 'linked.tar'),
  alone: (await compressed([], 'alone')).diffId,
  tree: (await worker.call('treeDigest', { layer: linked }, { signal })).digest,
};
await worker.close();
socket.close();
console.log(JSON.stringify({ hello: worker.hello, results, warnings }));

async function makeContext(): Promise<InputFile[]> {
  const path = (name: string) => join(contextDir, name);
  mkdirSync(path('dir'), { recursive: true });
  const files: InputFile[] = [];
  const write = (name: string, content: string | Buffer, mode = 0o644) => {
    writeFileSync(path(name), content, { mode });
    // Node's own call is not exact to the nanosecond.
    execFileSync('touch', ['-d', `@${TIME.context}.123456789`, path(name)]);
    files.push({
      path: `/${name}`,
      kind: 'file',
      mode,
      hostPath: path(name),
      expect: expectation(path(name)),
    });
  };
  write('plain', 'plain', 0o604);
  write('dir/tool', 'tool', 0o755);
  const mtimeNs = `${TIME.context}123456789`;
  symlinkSync('../plain', path('dir/link'));
  files.push({ path: '/dir/link', kind: 'symlink', link: '../plain', mode: 0o777, mtimeNs });
  files.push({ path: '/dir', kind: 'directory', mode: 0o700, hostPath: path('dir'), mtimeNs });
  files.push({ path: '/socket', kind: 'file', mode: 0o600 });
  const links = {
    out: '/etc',
    up: '../../../../../../etc',
    dangling: 'd/e',
    'to-file': 'file',
    deep: 'real',
    lib: 'usr/lib',
  };
  for (const [name, link] of Object.entries(links)) {
    files.push({ path: `/links/${name}`, kind: 'symlink', link, mode: 0o777 });
  }
  write('changed', 'before');
  writeFileSync(path('changed'), 'after that');
  write('text.tar.gz', 'not an archive');
  write('empty.tar', rawTar([]));
  const good = rawTar(GOOD);
  write('good.tar', good);
  write('good.tar.gz', gzipSync(good));
  write('good.tar.zst', zstdCompressSync(good));
  write('good.tar.bz2', execFileSync('bzip2', { input: good }));
  write('good.tar.xz', execFileSync('xz', { input: good }));
  write('special.tar', rawTar(SPECIAL));
  write('owned-source.tar', rawTar(OWNED));
  write('owned.tar', rawTar([{ name: 'f', content: 'owned', uid: 1000, gid: 1000 }]));
  for (const [name, archive] of Object.entries(hostileArchives())) {
    write(`hostile-${name}.tar`, archive);
  }
  await new Promise<void>((resolve) => socket.listen(path('real-socket'), resolve));
  files.push({ path: '/real-socket', kind: 'file', mode: 0o600, hostPath: path('real-socket') });
  return files;
}

function expectation(path: string): NonNullable<InputFile['expect']> {
  const { size, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
  return { sizeBytes: Number(size), mtimeNs: `${mtimeNs}`, ctimeNs: `${ctimeNs}` };
}
