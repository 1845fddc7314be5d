/** Runs a command line in this process, with everything it writes kept. */
import { Readable } from 'node:stream';
import type { CliContext } from '../../src/cli/context.ts';
import type { EngineModule } from '../../src/cli/engine-api.ts';
import { main } from '../../src/cli/main.ts';
import { type FakeEngineCalls, type FakeEngineScript, fakeEngine } from './fake-engine.ts';

export interface CliResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly calls: FakeEngineCalls;
}

export interface CliSetting extends FakeEngineScript {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly stdin?: string;
  readonly signal?: AbortSignal;
  readonly stdinIsTty?: boolean;
  readonly stdoutIsTty?: boolean;
  /** Instead of the fake one. */
  readonly engine?: EngineModule;
}

export async function cli(argv: readonly string[], setting: CliSetting = {}): Promise<CliResult> {
  const { module, calls } = fakeEngine(setting);
  let stdout = '';
  let stderr = '';
  const context: CliContext = {
    stdin: Object.assign(Readable.from(setting.stdin === undefined ? [] : [setting.stdin]), {
      isTTY: setting.stdinIsTty ?? false,
    }),
    stdout: {
      write: (chunk) => {
        stdout += String(chunk);
      },
      isTTY: setting.stdoutIsTty ?? false,
    },
    stderr: {
      write: (chunk) => {
        stderr += String(chunk);
      },
    },
    env: setting.env ?? {},
    cwd: setting.cwd ?? process.cwd(),
    signal: setting.signal ?? new AbortController().signal,
    loadEngine: () => Promise.resolve(setting.engine ?? module),
  };
  const status = await main(argv, context);
  return { status, stdout, stderr, calls };
}
