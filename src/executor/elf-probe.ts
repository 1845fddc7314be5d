/**
 * The smallest programs there are, one for each architecture: they end at once, with status 0. Their first bytes are what
 * binfmt_misc looks at, and running one tells what no file says, such as whether an arm64 processor still runs 32-bit code.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface ElfFacts {
  /** `e_machine`. Source: the ABI supplements of the architectures. */
  readonly machine: number;
  readonly bits: 32 | 64;
  readonly order: 'little' | 'big';
  /** `e_flags`, where a loader looks at them. */
  readonly flags?: number;
  /** `exit(0)`. */
  readonly code: string;
}

/** By the names of OCI. */
const ELF: Readonly<Record<string, ElfFacts>> = {
  amd64: { machine: 62, bits: 64, order: 'little', code: '31ffb83c0000000f05' },
  '386': { machine: 3, bits: 32, order: 'little', code: '31dbb801000000cd80' },
  arm64: { machine: 183, bits: 64, order: 'little', code: '000080d2a80b80d2010000d4' },
  arm: { machine: 40, bits: 32, order: 'little', flags: 0x0500_0000, code: '0000a0e30170a0e3000000ef' },
  riscv64: { machine: 243, bits: 64, order: 'little', flags: 5, code: '130500009308d00573000000' },
  ppc64le: { machine: 21, bits: 64, order: 'little', flags: 2, code: '000060380100003802000044' },
  s390x: { machine: 22, bits: 64, order: 'big', code: 'a72900000a01' },
};

/** Architectures of which there is a program. */
export const KNOWN_ARCHITECTURES: readonly string[] = Object.keys(ELF);

/** Where the program is mapped: above the lowest address that kernels allow, and aligned for the largest pages. */
const ADDRESS = 0x40_0000;
const PAGE = 0x1_0000;
const PROBE_TIMEOUT_MS = 5_000;

/** A whole ELF program that does nothing. Undefined for an architecture that is not known. */
export function elfProgram(architecture: string): Buffer | undefined {
  const facts = Object.hasOwn(ELF, architecture) ? ELF[architecture] : undefined;
  if (facts === undefined) {
    return undefined;
  }
  const code = Buffer.from(facts.code, 'hex');
  const wide = facts.bits === 64;
  const headerBytes = wide ? 64 : 52;
  const segmentBytes = wide ? 56 : 32;
  const start = headerBytes + segmentBytes;
  const out = Buffer.alloc(start + code.length);
  let at = 0;
  const put = (size: 2 | 4 | 8, value: number) => {
    if (size === 8) {
      const big = BigInt(value);
      facts.order === 'little' ? out.writeBigUInt64LE(big, at) : out.writeBigUInt64BE(big, at);
    } else {
      facts.order === 'little' ? out.writeUIntLE(value, at, size) : out.writeUIntBE(value, at, size);
    }
    at += size;
  };
  const word = wide ? 8 : 4;
  out.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, facts.order === 'little' ? 1 : 2, 1]);
  at = 16;
  const EXECUTABLE = 2;
  put(2, EXECUTABLE);
  put(2, facts.machine);
  put(4, 1);
  put(word, ADDRESS + start);
  put(word, headerBytes);
  put(word, 0);
  put(4, facts.flags ?? 0);
  for (const value of [headerBytes, segmentBytes, 1, 0, 0, 0]) {
    put(2, value);
  }
  const LOAD = 1;
  const READ_EXECUTE = 5;
  put(4, LOAD);
  if (wide) {
    put(4, READ_EXECUTE);
  }
  for (const value of [0, ADDRESS, ADDRESS, out.length, out.length]) {
    put(word, value);
  }
  if (!wide) {
    put(4, READ_EXECUTE);
  }
  put(word, PAGE);
  out.set(code, start);
  return out;
}

/** Whether this machine runs such a program, by whatever means. */
export function runsElf(architecture: string): boolean {
  const program = elfProgram(architecture);
  if (program === undefined) {
    return false;
  }
  const directory = mkdtempSync(join(tmpdir(), 'tsbuild-probe-'));
  try {
    const path = join(directory, 'probe');
    writeFileSync(path, program, { mode: 0o755 });
    return spawnSync(path, [], { stdio: 'ignore', timeout: PROBE_TIMEOUT_MS }).status === 0;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
