/** What the comparison needs of a builder. */
import { spawn } from 'node:child_process';

export interface BuildRequest {
  readonly contextDirectory: string;
  /** Absolute, inside of the context. */
  readonly dockerfilePath: string;
  readonly target: string | undefined;
  readonly platform: string | undefined;
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Id → file with the value. */
  readonly secrets: Readonly<Record<string, string>>;
  /** Path of an agent's socket. */
  readonly sshSocket: string | undefined;
  readonly allow: readonly string[];
  readonly contexts: Readonly<Record<string, NamedContext>>;
  /** The OCI layout to make: one image. */
  readonly layout: string;
}

/** A directory, or the one image of an OCI layout. */
export type NamedContext =
  | { readonly kind: 'local'; readonly directory: string }
  | { readonly kind: 'image'; readonly layout: string; readonly digest: string };

/** `text` is what the builder said, for people. */
export interface Outcome {
  readonly ok: boolean;
  readonly text: string;
}

export interface Builder extends AsyncDisposable {
  readonly name: string;
  /** What it is, for records: name and version. */
  readonly version: string;
  /** Subjects of differences that it cannot say in an OCI image, as a regular expression. */
  readonly silentAbout?: RegExp;
  build(request: BuildRequest): Promise<Outcome>;
}

/** Long enough for the slowest case on a busy machine; a builder that hangs fails its case. */
const TIMEOUT_MS = 120_000;

/** Runs a builder's command to its end. */
export function runBuilder(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: TIMEOUT_MS });
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
    const said = () => Buffer.concat(output).toString('utf8');
    child.once('error', (error) => resolve({ ok: false, text: error.message }));
    child.once('close', (status) => resolve({ ok: status === 0, text: said() }));
  });
}

/** `--flag name=value` for every member. */
export function flags(flag: string, values: Readonly<Record<string, string>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => [flag, `${name}=${value}`]);
}
