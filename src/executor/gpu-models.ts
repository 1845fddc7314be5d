/**
 * Which model each GPU of NVIDIA's is, by the number of its device node. The driver says so in `/proc`; where it does not, as in
 * containers that see no more than its version, `nvidia-smi` is asked.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** `/dev/nvidiaN` → `NVIDIA H100 80GB HBM3`. */
export type GpuModels = ReadonlyMap<number, string>;

/** It waits for the driver, which wakes sleeping GPUs. */
const SMI_TIMEOUT_MS = 10_000;
/** Some tens of kilobytes a GPU. */
const SMI_MAX_BYTES = 16 * 1024 * 1024;

/**
 * Empty where nobody says.
 *
 * @param root - `/`, or a tree that looks like it, for tests.
 */
export async function gpuModels(root = '/'): Promise<GpuModels> {
  const known = modelsInProc(root);
  return known.size > 0 ? known : modelsBySmi(await askSmi());
}

function modelsInProc(root: string): GpuModels {
  const directory = join(root, 'proc/driver/nvidia/gpus');
  const models = new Map<number, string>();
  for (const bus of namesIn(directory)) {
    const text = textOf(join(directory, bus, 'information'));
    const model = /^Model:\s*(.+)$/m.exec(text)?.[1]?.trim();
    const minor = /^Device Minor:\s*(\d+)\s*$/m.exec(text)?.[1];
    if (model !== undefined && minor !== undefined) {
      models.set(Number(minor), model);
    }
  }
  return models;
}

/** `nvidia-smi -q -x`: its tables have no column for the number of the node. */
function modelsBySmi(xml: string): GpuModels {
  const models = new Map<number, string>();
  for (const [, gpu = ''] of xml.matchAll(/<gpu id="[^"]*">([\s\S]*?)<\/gpu>/g)) {
    const model = /<product_name>([^<]+)<\/product_name>/.exec(gpu)?.[1]?.trim();
    const minor = /<minor_number>(\d+)<\/minor_number>/.exec(gpu)?.[1];
    if (model !== undefined && minor !== undefined) {
      models.set(Number(minor), model);
    }
  }
  return models;
}

/** Nothing where there is no such program, or no driver for it. */
function askSmi(): Promise<string> {
  return new Promise((resolve) => {
    execFile(
      'nvidia-smi',
      ['-q', '-x'],
      { timeout: SMI_TIMEOUT_MS, maxBuffer: SMI_MAX_BYTES },
      (error, stdout) => resolve(error === null ? stdout : ''),
    );
  });
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
