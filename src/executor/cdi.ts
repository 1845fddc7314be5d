/**
 * Devices by their names in the Container Device Interface: which there are on this machine, and what a sandbox needs for those
 * that a step asks for.
 *
 * Source: CDI specification 1.1.0, SPEC.md; "Device annotations" of BuildKit for names that are a class alone.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { normalPath } from '../base/normal-path.ts';
import { HostError } from '../errors.ts';
import type { DeviceRequest } from '../graph/action.ts';
import { type CdiDevice, type CdiEdits, type CdiHook, type CdiSpec, parseCdiSpec } from './cdi-spec.ts';

/** Later ones stand over earlier ones. */
export const CDI_DIRS: readonly string[] = ['/etc/cdi', '/var/run/cdi'];

/** What is done to a sandbox for its devices. */
export interface DeviceEdits {
  /** Stands over what image and step say. */
  readonly env: readonly (readonly [name: string, value: string])[];
  readonly nodes: readonly { readonly source: string; readonly target: string }[];
  readonly mounts: readonly {
    readonly source: string;
    readonly sourceKind: 'directory' | 'file';
    readonly target: string;
    readonly readOnly: boolean;
  }[];
  /** Supplementary groups. */
  readonly gids: readonly number[];
  /** Links that a hook of NVIDIA's would make. */
  readonly links: readonly { readonly target: string; readonly path: string }[];
  /** Where the loader has to find what is mounted there. */
  readonly libraryDirs: readonly string[];
  /** Of the host, for images that bring newer libraries of CUDA. */
  readonly driverVersion?: string;
  /** Nothing in the sandbox is to make nodes of NVIDIA's devices. */
  readonly fixedNodes: boolean;
}

export interface FoundDevices {
  readonly edits: DeviceEdits;
  /** What could not be had or done, in sentences. */
  readonly warnings: readonly string[];
}

interface KnownDevice {
  readonly name: string;
  readonly spec: CdiSpec;
  readonly device: CdiDevice;
}

interface Registry {
  /** By qualified name, sorted. */
  readonly devices: ReadonlyMap<string, KnownDevice>;
  /** Files that could not be used, names that two files of one directory have. */
  readonly problems: readonly string[];
}

const CLASS_ANNOTATION = 'org.mobyproject.buildkit.device.class';
/** NVIDIA's are some tens of kilobytes. */
const MAX_SPEC_BYTES = 4 * 1024 * 1024;
const MAX_LISTED = 20;
/** Hooks for what no build needs: which GPU draws, and modes of nodes that are bound as they are. */
const NEEDLESS_HOOKS = ['update-application-profile', 'chmod'];

/**
 * Finds what the requests name.
 *
 * @param directories - Of specifications; later ones stand over earlier ones.
 * @throws {HostError} `E_DEVICE_UNAVAILABLE` for one that is required and cannot be had.
 */
export async function findDevices(
  requests: readonly DeviceRequest[],
  directories: readonly string[],
): Promise<FoundDevices> {
  const registry = await readRegistry(directories);
  const warnings: string[] = [];
  const chosen = new Map<string, KnownDevice>();
  for (const { name, required } of requests) {
    const found = select(name, registry.devices);
    const lacking =
      found.length === 0
        ? unavailable(name, registry, directories)
        : found.flatMap((each) => absentFiles(each)).map((path) => fileMissing(name, path))[0];
    if (lacking === undefined) {
      for (const each of found) {
        chosen.set(each.name, each);
      }
    } else if (required) {
      throw lacking;
    } else {
      warnings.push(lacking.message);
    }
  }
  return { edits: editsOf([...chosen.values()], warnings), warnings };
}

/** A device as a specification has it. */
export interface DescribedDevice {
  /** Qualified: `vendor.com/class=name`. */
  readonly name: string;
  /** Of its own on the host, without those of all devices of the specification. */
  readonly nodes: readonly string[];
  /** A file of the host that it needs and that is not there. */
  readonly missing?: string;
}

/** All devices of a kind, sorted by name. */
export async function describedDevices(
  kind: string,
  directories: readonly string[],
): Promise<{ readonly devices: readonly DescribedDevice[]; readonly problems: readonly string[] }> {
  const { devices, problems } = await readRegistry(directories);
  const ofKind = [...devices.values()].filter(({ spec }) => spec.kind === kind);
  return {
    devices: ofKind.map((known) => {
      const [missing] = absentFiles(known);
      return {
        name: known.name,
        nodes: known.device.edits.deviceNodes.map(({ hostPath }) => hostPath),
        ...(missing === undefined ? {} : { missing }),
      };
    }),
    problems,
  };
}

async function readRegistry(directories: readonly string[]): Promise<Registry> {
  const devices = new Map<string, KnownDevice>();
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
      for (const device of spec.devices) {
        const name = `${spec.kind}=${device.name}`;
        if (own.has(name)) {
          twice.add(name);
        }
        own.set(name, { name, spec, device });
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
  const sorted = [...devices].sort(([left], [right]) => (left < right ? -1 : 1));
  return { devices: new Map(sorted), problems };
}

async function readDocument(path: string): Promise<unknown> {
  if (statSync(path).size > MAX_SPEC_BYTES) {
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
function select(wanted: string, devices: ReadonlyMap<string, KnownDevice>): readonly KnownDevice[] {
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

function unavailable(
  name: string,
  { devices, problems }: Registry,
  directories: readonly string[],
): HostError {
  const names = [...devices.keys()];
  const there =
    names.length === 0
      ? `no device is described in ${directories.join(', ')}`
      : `there ${names.length === 1 ? 'is' : 'are'} ${names.slice(0, MAX_LISTED).join(', ')}${names.length > MAX_LISTED ? ', …' : ''}`;
  return new HostError(`the device '${name}' is not on this machine: ${[there, ...problems].join('; ')}`, {
    code: 'E_DEVICE_UNAVAILABLE',
    hint: name.startsWith('nvidia.com/')
      ? 'sudo nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml'
      : `describe it in a file of ${directories.at(-1) ?? '/etc/cdi'}, or ask for it with required=false`,
  });
}

function fileMissing(name: string, path: string): HostError {
  return new HostError(`the device '${name}' needs '${path}', which is not on this machine`, {
    code: 'E_DEVICE_UNAVAILABLE',
    path,
    hint: name.startsWith('nvidia.com/')
      ? 'load the driver (sudo nvidia-modprobe -u -c0), and describe its devices anew with nvidia-ctk cdi generate'
      : 'describe the device anew; what describes it is out of date',
  });
}

function absentFiles({ spec, device }: KnownDevice): readonly string[] {
  return [spec.edits, device.edits].flatMap(({ deviceNodes, mounts }) =>
    [...deviceNodes, ...mounts.filter(isBind)]
      .map(({ hostPath }) => hostPath)
      .filter((path) => statSync(path, { throwIfNoEntry: false }) === undefined),
  );
}

function editsOf(devices: readonly KnownDevice[], warnings: string[]): DeviceEdits {
  const specs = new Set(devices.map(({ spec }) => spec));
  const all: readonly CdiEdits[] = [
    ...[...specs].map(({ edits }) => edits),
    ...devices.map(({ device }) => device.edits),
  ];
  const hooks = all.flatMap((edits) => edits.hooks).map(hookCall);
  for (const { command, hook } of hooks) {
    if (!(command in HOOK_FLAGS) && !NEEDLESS_HOOKS.includes(command)) {
      warnings.push(`a device wants the hook '${hook.path} ${command}' to be run, which is not known here`);
    }
  }
  const flagOf = (command: string) => hooks.flatMap((call) => (call.command === command ? call.values : []));
  const [driverVersion] = flagOf('enable-cuda-compat');
  for (const { type, containerPath } of all.flatMap((edits) => edits.mounts)) {
    if (!isBind({ type })) {
      warnings.push(`a device wants '${type}' to be mounted on '${containerPath}', which is not done`);
    }
  }
  // The last one that names a place is the one that counts.
  const mounts = new Map(
    all
      .flatMap((edits) => edits.mounts)
      .filter(isBind)
      .map((mount) => [normalPath(mount.containerPath), mount]),
  );
  const nodes = new Map(
    all.flatMap((edits) => edits.deviceNodes).map(({ path, hostPath }) => [normalPath(path), hostPath]),
  );
  return {
    env: all.flatMap((edits) => edits.env),
    nodes: [...nodes].map(([target, source]) => ({ source, target })),
    mounts: [...mounts].map(([target, { hostPath, options }]) => ({
      source: hostPath,
      sourceKind: statSync(hostPath).isDirectory() ? 'directory' : 'file',
      target,
      readOnly: options.includes('ro'),
    })),
    gids: [...new Set(all.flatMap((edits) => edits.additionalGids))],
    links: flagOf('create-symlinks').flatMap((text) => {
      const [target = '', path = ''] = text.split('::');
      return target !== '' && path.startsWith('/') ? [{ target, path: normalPath(path) }] : [];
    }),
    libraryDirs: [...new Set(flagOf('update-ldcache').map(normalPath))],
    ...(driverVersion === undefined ? {} : { driverVersion }),
    fixedNodes: hooks.some(({ command }) => command === 'disable-device-node-modification'),
  };
}

function isBind({ type }: { readonly type: string }): boolean {
  return type === '' || type === 'bind' || type === 'none';
}

/** Hooks of NVIDIA's that we do the work of, and the flag with what they work on. */
const HOOK_FLAGS: Readonly<Record<string, string>> = {
  'create-symlinks': '--link',
  'update-ldcache': '--folder',
  'enable-cuda-compat': '--host-driver-version',
  'disable-device-node-modification': '',
};

interface HookCall {
  readonly hook: CdiHook;
  readonly command: string;
  readonly values: readonly string[];
}

/** `nvidia-cdi-hook COMMAND …` and `nvidia-ctk hook COMMAND …`. */
function hookCall(hook: CdiHook): HookCall {
  const words = hook.args.slice(1);
  const command = (words[0] === 'hook' ? words[1] : words[0]) ?? '';
  const flag = HOOK_FLAGS[command];
  const values = words.flatMap((word, index) =>
    word === flag && words[index + 1] !== undefined
      ? [words[index + 1] as string]
      : flag !== undefined && flag !== '' && word.startsWith(`${flag}=`)
        ? [word.slice(flag.length + 1)]
        : [],
  );
  return { hook, command, values };
}
