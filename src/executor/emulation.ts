/**
 * Whose programs this machine executes: its own, those of an architecture that its processor knows as well, and those for
 * which binfmt_misc names an interpreter. Source: Linux, Documentation/admin-guide/binfmt-misc.rst.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatPlatform, hostPlatform, type Platform } from '../oci/platform.ts';
import { elfProgram, KNOWN_ARCHITECTURES, runsElf } from './elf-probe.ts';

export type Execution =
  /** The processor's own, or one that it runs besides. */
  | { readonly kind: 'native' }
  /** By an interpreter that the kernel opened when it was registered (flag F): it need not be in the image. */
  | { readonly kind: 'emulated'; readonly interpreter: string }
  /** By an interpreter that is looked up in the image when a program starts. */
  | { readonly kind: 'emulated-from-image'; readonly interpreter: string }
  | { readonly kind: 'impossible'; readonly why: string };

export interface EmulationHost {
  /** As OCI calls it. */
  readonly architecture: string;
  /** @defaultValue `/proc/sys/fs/binfmt_misc` */
  readonly binfmtDir: string;
  /** Tries a program of that architecture. */
  readonly runs: (architecture: string) => boolean;
}

/** What the processors of the first run besides, if kernel and model still have it. */
const COMPATIBLE: Readonly<Record<string, readonly string[]>> = { amd64: ['386'], arm64: ['arm'] };

const tried = new Map<string, boolean>();

export const THIS_MACHINE: EmulationHost = {
  architecture: hostPlatform().architecture,
  binfmtDir: '/proc/sys/fs/binfmt_misc',
  runs: (architecture) => {
    const known = tried.get(architecture) ?? runsElf(architecture);
    tried.set(architecture, known);
    return known;
  },
};

/** How a step for that platform would be executed. */
export function executionOf(
  { os, architecture }: Platform,
  { architecture: own, binfmtDir, runs }: EmulationHost = THIS_MACHINE,
): Execution {
  if (os !== 'linux') {
    return { kind: 'impossible', why: `this is Linux, which runs no programs of ${os}` };
  }
  if (architecture === own || (COMPATIBLE[own]?.includes(architecture) === true && runs(architecture))) {
    return { kind: 'native' };
  }
  const program = elfProgram(architecture);
  const entries = readEntries(binfmtDir);
  if (entries === undefined) {
    // In a container the files are not to be seen, while what they register works.
    return runs(architecture)
      ? { kind: 'emulated', interpreter: 'an interpreter of the host' }
      : { kind: 'impossible', why: `no emulator for ${architecture} programs is registered with the kernel` };
  }
  const fitting = entries.filter((entry) => program !== undefined && matches(entry, program));
  const enabled =
    fitting.find((entry) => entry.enabled && entry.fixed) ?? fitting.find((entry) => entry.enabled);
  if (enabled !== undefined) {
    const { interpreter } = enabled;
    return { kind: enabled.fixed ? 'emulated' : 'emulated-from-image', interpreter };
  }
  return {
    kind: 'impossible',
    why:
      fitting.length > 0
        ? `the emulator '${fitting[0]?.interpreter}' is registered with binfmt_misc and disabled`
        : `no emulator for ${architecture} programs is registered with binfmt_misc`,
  };
}

/** Every platform of which programs run, this machine's own first. */
export function executablePlatforms(
  host: EmulationHost = THIS_MACHINE,
): readonly { readonly platform: string; readonly execution: Execution }[] {
  const others = KNOWN_ARCHITECTURES.filter((architecture) => architecture !== host.architecture);
  return [host.architecture, ...others]
    .map((architecture) => ({ os: 'linux', architecture }))
    .map((platform) => ({
      platform: formatPlatform(platform),
      execution: executionOf(platform, host),
    }))
    .filter(({ execution }) => execution.kind !== 'impossible');
}

interface BinfmtEntry {
  readonly enabled: boolean;
  readonly interpreter: string;
  /** Flag F. */
  readonly fixed: boolean;
  readonly offset: number;
  readonly magic: Buffer;
  readonly mask: Buffer;
}

/** Undefined where binfmt_misc is not mounted. */
function readEntries(directory: string): readonly BinfmtEntry[] | undefined {
  try {
    const status = readFileSync(join(directory, 'status'), 'utf8').trim();
    const names = readdirSync(directory).filter((name) => name !== 'status' && name !== 'register');
    return names.flatMap((name) => {
      const entry = parseEntry(readFileSync(join(directory, name), 'utf8'));
      return entry === undefined ? [] : [{ ...entry, enabled: entry.enabled && status === 'enabled' }];
    });
  } catch {
    return undefined;
  }
}

/** Undefined for an entry that goes by a file's name. */
function parseEntry(text: string): BinfmtEntry | undefined {
  const lines = text.split('\n');
  const field = (name: string) =>
    lines
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length + 1)
      .trim();
  const magic = Buffer.from(field('magic') ?? '', 'hex');
  const interpreter = field('interpreter');
  if (magic.length === 0 || interpreter === undefined) {
    return undefined;
  }
  const mask = Buffer.from(field('mask') ?? '', 'hex');
  return {
    enabled: lines[0]?.trim() === 'enabled',
    interpreter,
    fixed: (field('flags:') ?? '').includes('F'),
    offset: Number(field('offset') ?? 0),
    magic,
    mask: mask.length === 0 ? Buffer.alloc(magic.length, 0xff) : mask,
  };
}

function matches({ offset, magic, mask }: BinfmtEntry, program: Buffer): boolean {
  return magic.every(
    (byte, index) =>
      ((program[offset + index] ?? 0) & (mask[index] ?? 0xff)) === (byte & (mask[index] ?? 0xff)),
  );
}
