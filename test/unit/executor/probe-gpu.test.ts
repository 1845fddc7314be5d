import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { probeGpu } from '../../../src/executor/probe-gpu.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tsbuild-gpu-'));
  mkdirSync(join(root, 'dev'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function tree(files: Readonly<Record<string, string>>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
}

const DRIVER = {
  'proc/driver/nvidia/version':
    'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n',
  'proc/driver/nvidia/gpus/0000:01:00.0/information': 'Model: \t\t NVIDIA H200\nIRQ: 16\n',
  'dev/nvidia0': '',
  'dev/nvidiactl': '',
};

test('without a driver there is nothing to mend', () => {
  expect(probeGpu(root)).toMatchObject({
    ok: true,
    required: false,
    detail: expect.stringContaining('no NVIDIA driver'),
  });
});

test('driver and model are named', () => {
  tree({ ...DRIVER, 'dev/nvidia-uvm': '' });
  expect(probeGpu(root)).toMatchObject({ ok: true, detail: 'driver 570.86.15, NVIDIA H200' });
});

test('a missing nvidia-uvm node is said with what makes it', () => {
  tree(DRIVER);
  expect(probeGpu(root)).toMatchObject({ ok: false, fix: 'sudo nvidia-modprobe -u -c0' });
});
