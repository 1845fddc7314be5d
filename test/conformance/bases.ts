/** Base images of the cases, as OCI layouts, made of nothing but busybox. A Dockerfile that names one gets it as a named context. */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { busyboxPath } from '../support/busybox.ts';
import { type RawEntry, rawTar } from '../support/raw-tar.ts';

export interface Base {
  readonly layout: string;
  /** Of the manifest. */
  readonly digest: string;
}

interface Description {
  readonly layers: readonly (readonly RawEntry[])[];
  /** Member `config` of the image config. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly history?: readonly Readonly<Record<string, unknown>>[];
}

const MTIME_SECONDS = 1_400_000_000;
const CREATED = '2014-05-13T16:53:20Z';

const directory = (name: string, mode = 0o755, uid = 0, gid = 0): RawEntry => ({
  name,
  type: '5',
  mode,
  uid,
  gid,
});
const file = (name: string, content: string, more: Partial<RawEntry> = {}): RawEntry => ({
  name,
  content,
  ...more,
});
const link = (name: string, target: string): RawEntry => ({ name, type: '2', link: target, mode: 0o777 });

/** Debian's static busybox as `/bin/sh`, whose shell finds its own applets. */
const BUSYBOX: readonly RawEntry[] = [
  directory('bin/'),
  { name: 'bin/busybox', content: readFileSync(busyboxPath()), mode: 0o755 },
  link('bin/sh', 'busybox'),
  directory('etc/'),
  file(
    'etc/passwd',
    'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\nother:x:1500:1500::/:/bin/sh\n',
  ),
  file('etc/group', 'root:x:0:\napp:x:1001:\nother:x:1500:\nstaff:x:50:app\nmore:x:2000:app,root\n'),
  directory('root/', 0o700),
  directory('tmp/', 0o1777),
  directory('dev/'),
  directory('proc/'),
  directory('sys/'),
];
const PLAIN_CONFIG = { Env: ['PATH=/usr/bin:/bin'], Cmd: ['sh'] };

const DESCRIPTIONS: Readonly<Record<string, Description>> = {
  'base-busybox': { layers: [BUSYBOX], config: PLAIN_CONFIG },
  /** Everything a config can say, and files with attributes. */
  'base-rich': {
    layers: [
      BUSYBOX,
      [
        directory('srv/', 0o750, 1000, 1001),
        file('srv/setuid', 's', { mode: 0o4755 }),
        file('srv/setgid', 's', { mode: 0o2755, uid: 1000, gid: 1001 }),
        file('srv/attributes', 'x', { pax: { 'SCHILY.xattr.user.note': 'kept' } }),
        file('srv/one', 'linked'),
        { name: 'srv/two', type: '1', link: 'srv/one' },
        directory('real/', 0o711, 1500, 1500),
        file('real/inside', 'inside'),
        link('linked', 'real'),
        link('absolute', '/real'),
        link('dangling', 'nowhere/at/all'),
        link('up', '../../../real'),
      ],
    ],
    config: {
      User: 'app',
      Env: ['PATH=/opt/bin:/bin', 'KEPT=from base'],
      WorkingDir: '/srv',
      Entrypoint: ['/bin/entry'],
      Cmd: ['argument'],
      Labels: { kept: 'yes', replaced: 'no' },
      ExposedPorts: { '80/tcp': {} },
      Volumes: { '/data': {} },
      StopSignal: 'SIGINT',
      Shell: ['/bin/sh', '-e', '-c'],
      Healthcheck: { Test: ['CMD', 'true'], Interval: 5_000_000_000 },
    },
  },
  'base-onbuild': {
    layers: [BUSYBOX],
    config: {
      ...PLAIN_CONFIG,
      OnBuild: ['ENV FIRED=yes', 'COPY seed.txt /onbuild/', 'RUN echo "$FIRED $0" > /onbuild/ran'],
    },
  },
  'base-nopath': { layers: [BUSYBOX], config: { Env: ['HOME=/root'] } },
  /** No directory for what every step has mounted. */
  'base-bare': {
    layers: [BUSYBOX.filter(({ name }) => !/^(dev|proc|sys|etc|tmp)/.test(String(name)))],
    config: PLAIN_CONFIG,
  },
  /** A config and no layer. */
  'base-empty': { layers: [], config: { Env: ['PATH=/bin', 'ONLY=config'], Labels: { empty: 'yes' } } },
  'base-whiteout': {
    layers: [
      BUSYBOX,
      [
        directory('opaque/'),
        file('opaque/lower', 'lower'),
        directory('plain/'),
        file('plain/gone', 'gone'),
        file('plain/kept', 'kept'),
        file('becomes-directory', 'file'),
        directory('becomes-file/'),
        file('becomes-file/inside', 'inside'),
      ],
      [
        directory('opaque/', 0o700),
        file('opaque/.wh..wh..opq', ''),
        file('opaque/upper', 'upper'),
        directory('plain/'),
        file('plain/.wh.gone', ''),
        directory('becomes-directory/'),
        file('becomes-directory/inside', 'inside'),
        file('becomes-file', 'file'),
      ],
    ],
    config: PLAIN_CONFIG,
  },
};

/** Size and digest of the one file that differs from machine to machine. */
export const BUSYBOX_SHA256 = createHash('sha256').update(readFileSync(busyboxPath())).digest('hex');

export const BASE_NAMES: readonly string[] = Object.keys(DESCRIPTIONS);

/** Makes all base images as layouts below `root`. */
export function makeBases(root: string): ReadonlyMap<string, Base> {
  return new Map(
    Object.entries(DESCRIPTIONS).map(([name, description]) => [
      name,
      makeBase(join(root, name), description),
    ]),
  );
}

function makeBase(layout: string, { layers, config, history }: Description): Base {
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
  const put = (bytes: Buffer | string) => {
    const hex = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(layout, 'blobs/sha256', hex), bytes);
    return { digest: `sha256:${hex}`, size: Buffer.byteLength(bytes) };
  };
  const tars = layers.map((entries) =>
    rawTar(entries.map((entry) => ({ mtimeSeconds: MTIME_SECONDS, ...entry }))),
  );
  const diffIds = tars.map((tar) => `sha256:${createHash('sha256').update(tar).digest('hex')}`);
  const document = {
    created: CREATED,
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: diffIds },
    history:
      history ?? layers.map((_, index) => ({ created: CREATED, created_by: `layer ${index} of the base` })),
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...put(JSON.stringify(document)) },
    layers: tars.map((tar) => ({
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
      ...put(gzipSync(tar, { level: 1 })),
    })),
  };
  const descriptor = { mediaType: manifest.mediaType, ...put(JSON.stringify(manifest)) };
  writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(
    join(layout, 'index.json'),
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [{ ...descriptor, annotations: { 'org.opencontainers.image.ref.name': 'latest' } }],
    }),
  );
  return { layout, digest: descriptor.digest };
}
