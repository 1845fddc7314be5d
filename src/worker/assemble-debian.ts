/** Debian packages become a layer: unpacked by the native helper, configured in the sandbox, with fixed times. */
import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AssemblyStep, SkeletonEntry } from '../debian/assembly.ts';
import { InternalError } from '../errors.ts';
import { runProgram } from '../executor/run-program.ts';
import { StepOutput } from '../executor/step-output.ts';
import { native } from '../native/addon.ts';
import { callNative } from '../native/call-native.ts';
import type { Prepared } from '../snapshot/driver.ts';
import { recordedOwners } from './changed-tree.ts';
import type { RequestContext, WorkerContext } from './context.ts';
import { warnOfPretence } from './pretence.ts';
import type { AssembleDebianParams, StepResult } from './protocol.ts';
import { stepError } from './step-error.ts';

export async function assembleDebian(
  context: WorkerContext,
  params: AssembleDebianParams,
  request: RequestContext,
): Promise<StepResult> {
  if (context.snapshots.has(params.layer)) {
    return { existed: true, empty: false };
  }
  const prepared = await context.driver.prepare([], request.signal);
  const output = new StepOutput({
    logPath: params.logPath,
    secrets: [],
    onText: (stream, text, timeMs) => request.emit({ kind: 'log', timeMs, stream, text }),
  });
  try {
    for (const step of params.steps) {
      request.signal.throwIfAborted();
      switch (step.kind) {
        case 'skeleton':
          makeSkeleton(prepared.changes(), step.entries);
          break;
        case 'unpack':
          await unpackPackages(context, params, step.packages, prepared, request);
          break;
        case 'exec':
          await configure(context, params, step, { prepared, output, request });
          break;
        case 'clamp':
          await callNative(request.signal, 'cannot set the times of the base', (cancel) =>
            native().clampTimes(prepared.changes(), step.epochSeconds, cancel),
          );
          break;
      }
    }
    return await prepared.commit(params.layer);
  } finally {
    output.close();
    await prepared.discard();
  }
}

/** Into an empty directory of ours: nothing is there that a path could be led astray by. */
function makeSkeleton(root: string, entries: readonly SkeletonEntry[]): void {
  for (const { path, kind, mode, content } of entries) {
    const place = join(root, path);
    if (!place.startsWith(`${root}/`)) {
      throw new InternalError(`a skeleton entry outside of the root: '${path}'`);
    }
    switch (kind) {
      case 'directory':
        mkdirSync(place);
        break;
      case 'symlink':
        symlinkSync(content, place);
        continue;
      case 'file':
        writeFileSync(place, content, { flag: 'wx' });
        break;
    }
    chmodSync(place, mode);
    chownSync(place, 0, 0);
  }
}

async function unpackPackages(
  context: WorkerContext,
  params: AssembleDebianParams,
  wanted: readonly { readonly name: string; readonly sha256: string; readonly mayDefer: boolean }[],
  prepared: Prepared,
  request: RequestContext,
): Promise<void> {
  const paths = new Map(params.packages.map(({ sha256, path }) => [sha256, path]));
  const packages = wanted.map(({ name, sha256, mayDefer }) => {
    const path = paths.get(sha256);
    if (path === undefined) {
      throw new InternalError(`package '${name}' was not fetched`);
    }
    return { path, sha256, mayDefer };
  });
  const report = (state: 'running' | 'done', doneBytes: number) =>
    request.emit({
      kind: 'progress',
      id: `unpack ${params.layer}`,
      activity: 'unpack',
      subject: `${packages.length} packages`,
      doneBytes,
      state,
    });
  let last = 0;
  await callNative(request.signal, 'cannot unpack the packages', (cancel) =>
    native().unpackDebs(
      { root: prepared.changes(), packages, owners: recordedOwners(context, prepared.owners) },
      cancel,
      (doneBytes) => {
        last = doneBytes;
        report('running', doneBytes);
      },
    ),
  );
  report('done', last);
}

async function configure(
  context: WorkerContext,
  params: AssembleDebianParams,
  step: Extract<AssemblyStep, { kind: 'exec' }>,
  { prepared, output, request }: { prepared: Prepared; output: StepOutput; request: RequestContext },
): Promise<void> {
  const progress = {
    kind: 'progress',
    id: step.description,
    activity: 'configure',
    subject: step.description.replace(/^configure /, ''),
  } as const;
  request.emit({ ...progress, doneBytes: 0, state: 'running' });
  warnOfPretence(context, request);
  const outcome = await runProgram(context.executor, prepared, {
    argv: step.argv,
    env: Object.entries(step.env),
    // The result depends on the plan alone.
    lentEnv: {},
    lendHost: false,
    cwd: '/',
    user: '',
    network: 'none',
    lend: [],
    mounts: [],
    signal: request.signal,
    onOutput: (stream, chunk) => output.write(stream, chunk),
    pressure: request.pressure,
  });
  output.endExec();
  const failed = outcome.reason !== 'exit' || outcome.exitCode !== 0;
  request.emit({ ...progress, doneBytes: 0, state: failed ? 'failed' : 'done' });
  if (failed) {
    const action = { argv: step.argv, cwd: '/', user: '' };
    throw stepError(action, outcome, output, params.logPath, context.executor.ownerKeeping);
  }
}
