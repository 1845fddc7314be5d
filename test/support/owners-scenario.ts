/**
 * Run as some user: a base of many owners is added, pulled, changed and written again. Prints the digests of all that, which
 * are the same whoever did it. With `settle`, the store is made with one id and then opened with all that there are.
 */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TsbuildError } from '../../src/errors.ts';
import type { Action, CopyAction } from '../../src/graph/action.ts';
import { ROOT_OWNER } from '../../src/graph/action.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { startWorker } from '../../src/worker/client.ts';
import type { InputFile, StepInput, Worker } from '../../src/worker/protocol.ts';
import { busyboxBase } from './busybox-root.ts';
import { execAction } from './exec-action.ts';
import { rawTar } from './raw-tar.ts';

const [storeDir = '', snapshotter = 'auto', mode = 'auto'] = process.argv.slice(2);
const signal = new AbortController().signal;
const id = (name: string) => name as LayerId;
/** Whatever is made now has this time in the layers. */
const clampMtimeSeconds = 1_000_000_000;
const warnings: string[] = [];

const open = (isolation: 'auto' | 'single-id') =>
  startWorker({
    storeDir,
    isolation,
    snapshotter: snapshotter as 'auto' | 'overlay' | 'copy',
    hostTrust: { proxies: {}, mirrors: {} },
    signal,
  });

const contextDir = join(storeDir, '..', 'context');
const files: InputFile[] = [];
function write(name: string, content: string | Buffer): void {
  writeFileSync(join(contextDir, name), content);
  files.push({ path: `/${name}`, kind: 'file', mode: 0o644, hostPath: join(contextDir, name) });
}
mkdirSync(contextDir);
write('new', 'new');
write(
  'base.tar',
  rawTar([
    { name: 'etc/passwd', content: 'app:x:1000:1001::/:/bin/sh\n' },
    { name: 'etc/group', content: 'app:x:1001:\n' },
    { name: 'etc/shadow', content: 'x', mode: 0o640, gid: 42 },
    { name: 'home', type: '5', mode: 0o755 },
    { name: 'home/app', type: '5', mode: 0o2750, uid: 1000, gid: 1001 },
    { name: 'home/app/f', content: 'f', uid: 1000, gid: 1001 },
    { name: 'home/app/again', type: '1', link: 'home/app/f', uid: 1000, gid: 1001 },
    { name: 'home/app/link', type: '2', link: 'f', mode: 0o777, uid: 1000, gid: 1001 },
    { name: 'home/app/sub', type: '5', mode: 0o700, uid: 7, gid: 8 },
    { name: 'home/app/sub/deep', content: 'deep', uid: 7, gid: 8 },
    { name: 'sudo', content: 'sudo', mode: 0o4755, gid: 27 },
    {
      name: 'ping',
      content: 'ping',
      mode: 0o755,
      gid: 30,
      pax: {
        'SCHILY.xattr.security.capability': Buffer.from('0100000200040000000000000000000000000000', 'hex'),
      },
    },
    { name: 'dev/null', type: '3', mode: 0o666, device: [1, 3] },
    { name: 'dev/disk', type: '4', mode: 0o660, gid: 6, device: [8, 0] },
    { name: 'pipe', type: '6', mode: 0o622, uid: 9, gid: 9 },
    { name: 'gone', type: '5', mode: 0o755, uid: 5, gid: 5 },
    { name: 'gone/inner', content: 'x', uid: 5, gid: 5 },
    { name: 'over', content: 'x', uid: 5, gid: 5 },
  ]),
);
const context: StepInput = { kind: 'files', files };

const copy = (
  input: number,
  source: string,
  destination: string,
  more: Partial<CopyAction> = {},
): Action => ({
  kind: 'copy',
  input,
  source,
  destination,
  owner: { kind: 'keep' },
  modes: 'keep',
  times: 'epoch',
  ...more,
});

async function step(worker: Worker, name: string, parents: readonly string[], actions: readonly Action[]) {
  const from: StepInput =
    parents.length === 0 ? { kind: 'none' } : { kind: 'layers', layers: parents.map(id), name: 'it' };
  const lines: string[] = [];
  await worker.call(
    'step',
    {
      layer: id(name),
      parents: parents.map(id),
      actions,
      inputs: [{ kind: 'none' }, context, from, { kind: 'files', files: busybox.files }],
      secrets: {},
      logPath: join(storeDir, 'logs', `${name}.log`),
      lentEnv: {},
    },
    {
      signal,
      onEvent: (event) => {
        if (event.kind === 'warning') {
          warnings.push(event.code);
        } else if (event.kind === 'log') {
          lines.push(event.text);
        }
      },
    },
  );
  return lines;
}

async function compress(worker: Worker, layer: string, parents: readonly string[]) {
  return await worker.call(
    'compress',
    {
      layer: id(layer),
      parents: parents.map(id),
      output: join(storeDir, 'tmp', `${layer}.tar`),
      compression: 'none',
      level: 1,
      clampMtimeSeconds,
    },
    { signal },
  );
}

async function digests(worker: Worker) {
  const tar = join(storeDir, 'tmp', 'tree.tar');
  await worker.call(
    'exportTree',
    {
      trees: [
        { layers: ['pulled', 'top'].map(id), prefix: 'a' },
        { layers: [id('base')], prefix: 'b' },
      ],
      destination: tar,
      form: 'tar',
      extraFiles: 'keep',
      clampMtimeSeconds,
    },
    { signal },
  );
  const reads = ['/home', '/dev', '/sudo'].map((source) => ({
    source,
    select: { wildcards: false, parents: false, exclude: [] },
  }));
  return {
    base: (await compress(worker, 'base', [])).diffId,
    debian: (await compress(worker, 'debian', [])).diffId,
    top: (await compress(worker, 'top', ['pulled'])).diffId,
    topTree: (await worker.call('treeDigest', { layer: id('top') }, { signal })).digest,
    pulledTree: (await worker.call('treeDigest', { layer: id('pulled') }, { signal })).digest,
    reads: (await worker.call('readsDigest', { layers: ['pulled', 'top'].map(id), reads }, { signal }))
      .digest,
    tree: createHash('sha256').update(readFileSync(tar)).digest('hex'),
    packages: listing('debian').filter((line) => /lib\/(mail|expiry)/.test(line)),
    listing: listing('top'),
  };
}

/** As GNU tar sees what was written last, without times. */
function listing(layer: string): readonly string[] {
  const text = execFileSync('tar', ['--numeric-owner', '-tvf', join(storeDir, 'tmp', `${layer}.tar`)], {
    encoding: 'utf8',
  });
  return text
    .trim()
    .split('\n')
    .map((line) => line.replace(/ +/g, ' ').replace(/ \d{4}-\d\d-\d\d \d\d:\d\d/, ''));
}

/** A package as Debian's are, with files of others behind a link of merged /usr. */
function packageFile(): Buffer {
  const control = [
    'Package: owned',
    'Version: 1',
    'Architecture: all',
    'Maintainer: Nobody <nobody@example.org>',
    'Description: x',
    '',
  ].join('\n');
  const data = rawTar([
    { name: './lib/', type: '5', mode: 0o755 },
    { name: './lib/mail/', type: '5', mode: 0o2775, gid: 8 },
    { name: './lib/mail/box', content: 'x', mode: 0o660, uid: 10, gid: 8 },
    { name: './lib/mail/link', type: '2', link: 'box', mode: 0o777, uid: 10, gid: 8 },
    { name: './lib/mail/again', type: '1', link: './lib/mail/box', uid: 10, gid: 8 },
    { name: './lib/expiry', content: 'setgid', mode: 0o2755, gid: 42 },
  ]);
  const members: readonly (readonly [string, Buffer])[] = [
    ['debian-binary', Buffer.from('2.0\n')],
    ['control.tar', rawTar([{ name: './control', content: control }])],
    ['data.tar', data],
  ];
  const header = (name: string, size: number) =>
    `${name.padEnd(16)}${'0'.padEnd(12)}0     0     100644  ${String(size).padEnd(10)}\x60\n`;
  return Buffer.concat([
    Buffer.from('!<arch>\n'),
    ...members.flatMap(([name, content]) => [Buffer.from(header(name, content.length)), content]),
  ]);
}

async function debian(worker: Worker): Promise<void> {
  const deb = packageFile();
  const sha256 = createHash('sha256').update(deb).digest('hex');
  const path = join(contextDir, 'owned.deb');
  writeFileSync(path, deb);
  await worker.call(
    'assembleDebian',
    {
      layer: id('debian'),
      steps: [
        {
          kind: 'skeleton',
          entries: [
            { path: 'usr', kind: 'directory', mode: 0o755, content: '' },
            { path: 'usr/lib', kind: 'directory', mode: 0o755, content: '' },
            { path: 'lib', kind: 'symlink', mode: 0o777, content: 'usr/lib' },
          ],
        },
        { kind: 'unpack', packages: [{ name: 'owned', sha256, mayDefer: false }] },
        { kind: 'clamp', epochSeconds: 1 },
      ],
      packages: [{ sha256, path }],
      logPath: join(storeDir, 'logs', 'debian.log'),
    },
    { signal },
  );
}

const busybox = busyboxBase();
const worker = await open(mode === 'settle' ? 'single-id' : 'auto');
await step(worker, 'base', [], [copy(1, '/base.tar', '/', { unpack: true })]);
const { diffId } = await compress(worker, 'base', []);
const blobPath = join(storeDir, 'tmp', 'base.tar');
const mediaType = 'application/vnd.oci.image.layer.v1.tar';
await worker.call(
  'unpack',
  { layer: id('pulled'), parents: [], blobPath, digest: diffId, diffId, mediaType },
  { signal },
);
await step(
  worker,
  'top',
  ['pulled'],
  [
    // Into directories of others, which are copied up with what is recorded of them.
    copy(1, '/new', '/home/app/sub/', { owner: { kind: 'names', names: 'app' } }),
    copy(1, '/new', '/home/app/over', { owner: { kind: 'ids', uid: 33, gid: 34 } }),
    copy(1, '/new', '/over'),
    copy(2, '/home/app', '/copied/'),
    copy(2, '/dev', '/copied-dev/'),
    copy(2, '/sudo', '/'),
    { kind: 'mkdir', path: '/made/here', mode: 0o711, owner: { kind: 'names', names: 'app' } },
    { kind: 'rm', path: '/gone', allowMissing: false },
    { kind: 'mkdir', path: '/gone', mode: 0o755, owner: ROOT_OWNER },
    { kind: 'rm', path: '/etc/shadow', allowMissing: false },
  ],
);
await debian(worker);
const made = await digests(worker);
let settled: unknown;
if (mode === 'settle') {
  const whileInUse = await open('auto').then(
    async (early) => await early.close(),
    (error: TsbuildError) => `${error.code}: ${error.message}`,
  );
  await worker.close();
  const later = await open('auto');
  const owners = (layer: string) => existsSync(join(storeDir, 'snapshots', layer, 'owners'));
  const after = await digests(later);
  await step(
    later,
    'busybox',
    [],
    busybox.actions.map((action) =>
      action.kind === 'copy' && action.input === 1 ? { ...action, input: 3 } : action,
    ),
  );
  const seen = await step(
    later,
    'seen',
    ['busybox', 'pulled', 'top'],
    [
      execAction(
        [
          '/bin/sh',
          '-c',
          'stat -c "%n %u:%g %a" /home/app /home/app/* /made/here /sudo /copied/sub/deep; ls -A /gone',
        ],
        { network: 'none' },
      ),
    ],
  );
  await later.close();
  const fewer = await open('single-id').then(
    async (early) => await early.close(),
    (error: TsbuildError) => error.code,
  );
  const idMap = join(storeDir, 'idmap.json');
  const map = readFileSync(idMap, 'utf8');
  // As it is when the one that settles is killed.
  writeFileSync(idMap, JSON.stringify({ ...JSON.parse(map), settling: true }));
  const last = await open('auto');
  const again = { isSettled: readFileSync(idMap, 'utf8') === map, digests: await digests(last) };
  await last.close();
  settled = {
    fewer,
    again,
    whileInUse,
    after,
    seen,
    mode: later.hello.idMode,
    devices: owners('pulled'),
    made: owners('seen'),
  };
} else {
  await worker.close();
}
console.log(JSON.stringify({ mode: worker.hello.idMode, made, settled, warnings }));
