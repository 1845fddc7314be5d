/** Calls a function of the user's in a prepared root: its runtime, its luggage, and what it reports. */
import { join } from 'node:path';
import { releaseAll } from '../base/release-all.ts';
import { DefinitionError, InternalError, StepError } from '../errors.ts';
import { DESK_DIR, MAX_REPORT_BYTES, type ProgramDesk } from '../executor/program-desk.ts';
import { DEFAULT_PATH, type ProgramMount } from '../executor/run-program.ts';
import { SecretMask } from '../secret/mask.ts';
import { resolveInTree } from '../snapshot/resolve.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import type { WireFunction } from './protocol.ts';
import { openInput, type StepInputTree } from './step-input.ts';

export interface PreparedCall {
  readonly argv: readonly string[];
  readonly lentEnv: Readonly<Record<string, string>>;
  readonly mounts: readonly ProgramMount[];
  readonly desk: ProgramDesk;
  /** What the function reported; undefined where it did not get so far. */
  report(): FunctionReport | undefined;
  close(): Promise<void>;
}

export type FunctionReport =
  | { readonly ok: true; readonly json: string }
  | {
      readonly ok: false;
      readonly type: string;
      readonly message: string;
      readonly stack: string;
      readonly stage: string;
    };

/**
 * @param root - In which the runtime is looked for.
 * @param env - Of the program.
 */
export async function prepareCall(
  context: WorkerContext,
  call: WireFunction,
  { root, env }: { readonly root: string; readonly env: readonly (readonly [string, string | Buffer])[] },
  request: RequestContext,
): Promise<PreparedCall> {
  const trees: StepInputTree[] = [];
  const mounts: ProgramMount[] = [];
  let reported: Buffer | undefined;
  const close = () => releaseAll(trees.map((tree) => () => tree.close()));
  try {
    for (const { input, path } of call.sources) {
      if (input.kind === 'none') {
        throw new InternalError('the source of a function was not sent');
      }
      const tree = await openInput(context, input, request.signal);
      trees.push(tree);
      const directory = await tree.directory(request);
      const { path: found, stat } = resolveInTree(directory, path);
      if (stat === undefined) {
        throw new InternalError(`the source of a function has no '${path}'`);
      }
      mounts.push({
        kind: 'bind',
        source: join(directory, found),
        sourceKind: stat.isDirectory() ? 'directory' : 'file',
        target: path,
        readOnly: true,
        own: false,
      });
    }
  } catch (error) {
    await close();
    throw error;
  }
  const hostNode =
    call.runtime === 'node' &&
    (call.node === 'host' || (call.node !== 'image' && !hasProgram(root, env, 'node')));
  return {
    argv:
      call.runtime === 'python'
        ? ['python', '-B', `${DESK_DIR}/driver.py`]
        : [hostNode ? `${DESK_DIR}/node` : 'node', `${DESK_DIR}/driver.mjs`],
    lentEnv: {
      ...(call.runtime === 'python' ? { PYTHONDONTWRITEBYTECODE: '1' } : {}),
      TSBUILD_IMAGE_RECIPE: call.recipe,
    },
    mounts,
    desk: {
      files: call.files.map(({ name, base64 }) => ({ name, data: Buffer.from(base64, 'base64') })),
      hostNode,
      onReport: (bytes) => {
        reported = bytes;
      },
    },
    report: () => parseReport(reported),
    close,
  };
}

function hasProgram(
  root: string,
  env: readonly (readonly [string, string | Buffer])[],
  name: string,
): boolean {
  const path = env.findLast(([variable]) => variable === 'PATH')?.[1].toString() ?? DEFAULT_PATH;
  return path
    .split(':')
    .filter((directory) => directory.startsWith('/'))
    .some((directory) => {
      const { stat } = resolveInTree(root, `${directory}/${name}`);
      return stat?.isFile() === true && (stat.mode & 0o111) !== 0;
    });
}

/** It comes from the container, so it may be anything. */
function parseReport(bytes: Buffer | undefined): FunctionReport | undefined {
  if (bytes === undefined || bytes.length === 0) {
    return undefined;
  }
  checkReportSize(bytes.length);
  let parsed: { ok?: unknown; value?: unknown; error?: Record<string, unknown> };
  let json: string | undefined;
  try {
    parsed = JSON.parse(bytes.toString('utf8')) as typeof parsed;
    json = parsed?.ok === true ? JSON.stringify(parsed.value ?? null) : undefined;
  } catch {
    // No JSON, or nested so deeply that nobody can write it again.
    return undefined;
  }
  if (json !== undefined) {
    // 1e20 is longer when we write it.
    checkReportSize(Buffer.byteLength(json));
    return { ok: true, json };
  }
  const { type, message, stack, stage } = parsed?.error ?? {};
  if (typeof stack !== 'string') {
    return undefined;
  }
  return { ok: false, type: textIn(type), message: textIn(message), stack, stage: textIn(stage) };
}

/** Not every object has a text: `{ "toString": 1 }` has none. */
function textIn(value: unknown): string {
  return typeof value === 'string' ? value : typeof value;
}

/** @throws {DefinitionError} `E_FN_RESULT` */
function checkReportSize(sizeBytes: number): void {
  if (sizeBytes > MAX_REPORT_BYTES) {
    throw new DefinitionError(`the result of the function is more than ${MAX_REPORT_BYTES} bytes`, {
      code: 'E_FN_RESULT',
      hint: 'write large results into a volume, and return where they are',
    });
  }
}

/** What the failure of a step or container becomes when the function itself said why. */
export function functionError(
  error: Error,
  report: FunctionReport | undefined,
  secrets: readonly (string | Uint8Array)[],
): Error {
  if (report === undefined || report.ok || !(error instanceof StepError)) {
    return error;
  }
  const stack = masked(report.stack, secrets);
  const message = masked(report.message, secrets).slice(0, MAX_MESSAGE_LENGTH);
  if (report.stage === 'result') {
    return new DefinitionError(`the function's result is of no use here: ${message}`, {
      code: 'E_FN_RESULT',
    });
  }
  return new StepError(`${masked(report.type, secrets).slice(0, MAX_MESSAGE_LENGTH)}: ${message}`, {
    ...error,
    code: error.code,
    remoteStack: stack.slice(0, MAX_STACK_LENGTH),
  });
}

const MAX_MESSAGE_LENGTH = 2000;
const MAX_STACK_LENGTH = 64 * 1024;

function masked(text: string, secrets: readonly (string | Uint8Array)[]): string {
  const mask = new SecretMask(secrets);
  const bytes = mask.push(Buffer.from(text, 'utf8').toString('latin1')) + mask.end();
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
