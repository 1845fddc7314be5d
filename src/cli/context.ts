/** All that a command sees of the process that it runs in, so that tests can hand it something else. */
import type { EngineModule } from './engine-api.ts';

export interface OutputStream {
  write(chunk: string | Uint8Array): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  on?(event: 'resize', listener: () => void): unknown;
  off?(event: 'resize', listener: () => void): unknown;
}

export interface InputStream extends AsyncIterable<Uint8Array | string> {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
  /** Of Node's streams: reading can stop and go on later. */
  iterator?(options: { readonly destroyOnReturn: boolean }): AsyncIterable<Uint8Array | string>;
}

export interface CliContext {
  readonly stdin: InputStream;
  /** Results only. */
  readonly stdout: OutputStream;
  /** Progress, notices and errors. */
  readonly stderr: OutputStream;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** The engine is loaded when a command first needs it: `--help` must not pay for it. */
  loadEngine(): Promise<EngineModule>;
}
