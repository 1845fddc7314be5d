/** What is done to a sandbox for devices: the edits that specifications of the Container Device Interface make, with their hooks worked out. */
import { statSync } from 'node:fs';
import { normalPath } from '../base/normal-path.ts';
import type { KnownDevice } from './cdi.ts';
import type { CdiEdits, CdiHook } from './cdi-spec.ts';

export interface DeviceEdits {
  /** Stands over what image and step say. */
  readonly env: readonly (readonly [name: string, value: string])[];
  /** Yields to what image and step say. */
  readonly defaultEnv?: readonly (readonly [name: string, value: string])[];
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

/** Hooks of NVIDIA's that we do the work of, and the flag with what they work on. */
const HOOK_FLAGS: Readonly<Record<string, string>> = {
  'create-symlinks': '--link',
  'update-ldcache': '--folder',
  'enable-cuda-compat': '--host-driver-version',
  'disable-device-node-modification': '',
};
/** Hooks for what no build needs: which GPU draws, and modes of nodes that are bound as they are. */
const NEEDLESS_HOOKS = ['update-application-profile', 'chmod'];

/**
 * Edits of a specification are made once, however many of its devices are used. What a device wants and cannot have was found by
 * {@link refusalOf} before.
 */
export function editsOf(devices: readonly KnownDevice[]): DeviceEdits {
  const all = allEdits(devices);
  const hooks = all.flatMap((edits) => edits.hooks).map(hookCall);
  const valuesOf = (command: string) =>
    hooks.flatMap((call) => (call.command === command ? call.values : []));
  const [driverVersion] = valuesOf('enable-cuda-compat');
  // The last one that names a place is the one that counts.
  const mounts = new Map(
    all.flatMap((edits) => edits.mounts).map((mount) => [normalPath(mount.containerPath), mount]),
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
    links: valuesOf('create-symlinks').flatMap((text) => {
      const [target = '', path = ''] = text.split('::');
      return target !== '' && path.startsWith('/') ? [{ target, path: normalPath(path) }] : [];
    }),
    libraryDirs: [...new Set(valuesOf('update-ldcache').map(normalPath))],
    ...(driverVersion === undefined ? {} : { driverVersion }),
    fixedNodes: hooks.some(({ command }) => command === 'disable-device-node-modification'),
  };
}

/** What a device wants done that is not done here, as the end of a sentence. Half of a device is worse than none. */
export function refusalOf(device: KnownDevice): string | undefined {
  for (const { hooks, mounts } of allEdits([device])) {
    for (const { hook, command } of hooks.map(hookCall)) {
      if (!Object.hasOwn(HOOK_FLAGS, command) && !NEEDLESS_HOOKS.includes(command)) {
        return `wants the hook '${[hook.path, command].join(' ').trim()}' to be run, which is not known here`;
      }
    }
    const other = mounts.find(({ type }) => !['', 'bind', 'none'].includes(type));
    if (other !== undefined) {
      return `wants '${other.type}' to be mounted on '${other.containerPath}', and only files and directories of the host are`;
    }
  }
  return undefined;
}

function allEdits(devices: readonly KnownDevice[]): readonly CdiEdits[] {
  const specs = new Set(devices.map(({ spec }) => spec));
  return [...[...specs].map(({ edits }) => edits), ...devices.map(({ device }) => device.edits)];
}

interface HookCall {
  readonly hook: CdiHook;
  readonly command: string;
  readonly values: readonly string[];
}

/** `nvidia-cdi-hook COMMAND …` and `nvidia-ctk hook COMMAND …`. */
function hookCall(hook: CdiHook): HookCall {
  const words = hook.args.slice(1);
  const command = (words[0] === 'hook' ? words[1] : words[0]) ?? '';
  const flag = Object.hasOwn(HOOK_FLAGS, command) ? HOOK_FLAGS[command] : undefined;
  const values = words.flatMap((word, index) =>
    word === flag && words[index + 1] !== undefined
      ? [words[index + 1] as string]
      : flag !== undefined && flag !== '' && word.startsWith(`${flag}=`)
        ? [word.slice(flag.length + 1)]
        : [],
  );
  return { hook, command, values };
}
