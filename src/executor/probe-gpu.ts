/** What `doctor` says of NVIDIA GPUs: the driver that the kernel runs, its devices, and whether this user may open them. */
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HostCheck } from './probe.ts';

/** @param root - `/`, or a tree that looks like it, for tests. */
export function probeGpu(root = '/'): HostCheck {
  const check = { name: 'GPU', required: false } as const;
  let version: string;
  try {
    version = readFileSync(join(root, 'proc/driver/nvidia/version'), 'utf8');
  } catch {
    return {
      ...check,
      ok: true,
      detail: 'no NVIDIA driver is loaded; builds that ask for none do not need it',
    };
  }
  const driver = /\b(\d+\.\d+(?:\.\d+)?)\b/.exec(version)?.[1] ?? 'of unknown version';
  const models = namesIn(join(root, 'proc/driver/nvidia/gpus')).map((bus) => modelOf(root, bus));
  const nodes = namesIn(join(root, 'dev'));
  const devices = nodes.filter((name) => /^nvidia\d+$/.test(name));
  const found = `driver ${driver}, ${models.length === 0 ? 'no GPU' : models.join(', ')}`;
  if (!nodes.includes('nvidia-uvm')) {
    return {
      ...check,
      ok: false,
      detail: `${found}; /dev/nvidia-uvm is missing`,
      fix: 'sudo nvidia-modprobe -u -c0',
    };
  }
  const closed = [...devices, 'nvidiactl', 'nvidia-uvm'].find((name) => !mayOpen(join(root, 'dev', name)));
  return closed === undefined
    ? { ...check, ok: true, detail: found }
    : {
        ...check,
        ok: false,
        detail: `${found}; you may not open /dev/${closed}`,
        fix: `sudo usermod --append --groups video,render "$USER", or sudo chmod a+rw /dev/${closed}`,
      };
}

/** Containers may have the driver's version and nothing else of it. */
function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function modelOf(root: string, bus: string): string {
  const text = readFileSync(join(root, 'proc/driver/nvidia/gpus', bus, 'information'), 'utf8');
  return /^Model:\s*(.+)$/m.exec(text)?.[1]?.trim() ?? bus;
}

function mayOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
