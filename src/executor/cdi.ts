/**
 * Devices by their names in the Container Device Interface: which there are on this machine.
 *
 * Source: CDI specification 1.1.0, SPEC.md; "Device annotations" of BuildKit for names that are a class alone.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type CdiDevice, type CdiSpec, parseCdiSpec } from './cdi-spec.ts';

/** Later ones stand over earlier ones. */
export const CDI_DIRS: readonly string[] = ['/etc/cdi', '/var/run/cdi'];

/** @param more - What the user names besides. */
export function cdiDirsOf(more: readonly string[]): readonly string[] {
  return [...CDI_DIRS, ...more];
}

export interface KnownDevice {
  /** Qualified: `vendor.com/class=name`. */
  readonly name: string;
  readonly spec: CdiSpec;
  readonly device: CdiDevice;
}

export interface CdiRegistry {
  /** By qualified name, sorted. */
  readonly devices: ReadonlyMap<string, KnownDevice>;
  /** Files that are used, in the order in which they were read. */
  readonly files: readonly string[];
  /** Files that could not be used, names that two files of one directory have. */
  readonly problems: readonly string[];
}

const CLASS_ANNOTATION = 'org.mobyproject.buildkit.device.class';
/** NVIDIA's are some tens of kilobytes. */
const MAX_SPEC_BYTES = 4 * 1024 * 1024;

/** @param directories - Of specifications; later ones stand over earlier ones. What cannot be used is a problem of its file alone. */
export async function readRegistry(directories: readonly string[]): Promise<CdiRegistry> {
  const devices = new Map<string, KnownDevice>();
  const files: string[] = [];
  const problems: string[] = [];
  for (const directory of directories) {
    const own = new Map<string, KnownDevice>();
    const twice = new Set<string>();
    for (const file of namesIn(directory)) {
      const path = join(directory, file);
      let spec: CdiSpec;
      try {
        spec = parseCdiSpec(await readDocument(path));
      } catch (error) {
        problems.push(`'${path}' is not used: ${(error as Error).message.split('\n')[0]}`);
        continue;
      }
      files.push(path);
      for (const known of devicesOf(spec)) {
        if (own.has(known.name)) {
          twice.add(known.name);
        }
        own.set(known.name, known);
      }
    }
    for (const [name, device] of own) {
      devices.set(name, device);
    }
    for (const name of twice) {
      devices.delete(name);
      problems.push(`'${name}' is in two files of '${directory}'`);
    }
  }
  return { devices: byName([...devices.values()]), files, problems };
}

/** What one specification describes, as a registry of its own. */
export function registryOf(spec: CdiSpec): CdiRegistry['devices'] {
  return byName(devicesOf(spec));
}

function devicesOf(spec: CdiSpec): readonly KnownDevice[] {
  return spec.devices.map((device) => ({ name: `${spec.kind}=${device.name}`, spec, device }));
}

function byName(devices: readonly KnownDevice[]): ReadonlyMap<string, KnownDevice> {
  const sorted = devices.toSorted((left, right) => (left.name < right.name ? -1 : 1));
  return new Map(sorted.map((known) => [known.name, known]));
}

async function readDocument(path: string): Promise<unknown> {
  const stat = statSync(path);
  if (!stat.isFile()) {
    throw new Error('it is not a file');
  }
  if (stat.size > MAX_SPEC_BYTES) {
    throw new Error(`it is larger than ${MAX_SPEC_BYTES} bytes`);
  }
  const text = readFileSync(path, 'utf8');
  if (path.endsWith('.json')) {
    return JSON.parse(text);
  }
  // Few machines have any: it is not worth every worker's time.
  const { parse } = await import('yaml');
  return parse(text);
}

/** A directory that is not there has none. */
function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
      .filter((name) => /\.(json|yaml)$/.test(name))
      .sort();
  } catch {
    return [];
  }
}

/** `vendor/class=name`; `vendor/class=*`, all of them; `vendor/class`, the first; a class by annotation, all that have it. */
export function select(wanted: string, devices: CdiRegistry['devices']): readonly KnownDevice[] {
  const all = [...devices.values()];
  const [kind = '', name] = split(wanted);
  const ofKind = kind.includes('/') ? all.filter(({ spec }) => spec.kind === kind) : [];
  const found =
    name === undefined
      ? ofKind.slice(0, 1)
      : name === '*'
        ? ofKind
        : ofKind.filter((each) => each.name === wanted);
  return found.length > 0
    ? found
    : all.filter(
        ({ spec, device }) => ({ ...spec.annotations, ...device.annotations })[CLASS_ANNOTATION] === wanted,
      );
}

function split(name: string): [kind: string, device: string | undefined] {
  const equals = name.indexOf('=');
  return equals < 0 ? [name, undefined] : [name.slice(0, equals), name.slice(equals + 1) || undefined];
}

/** Files of the host that a device needs and that are not there. */
export function absentFiles({ spec, device }: KnownDevice): readonly string[] {
  return [spec.edits, device.edits].flatMap(({ deviceNodes, mounts }) =>
    [...deviceNodes, ...mounts]
      .map(({ hostPath }) => hostPath)
      .filter((path) => statSync(path, { throwIfNoEntry: false }) === undefined),
  );
}
