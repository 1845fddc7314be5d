/** Debian packages become a layer: unpacked by the native helper, configured in the sandbox. */
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AssemblyStep } from '../debian/assembly.ts';
import { InternalError } from '../errors.ts';
import { runProgram } from '../executor/run-program.ts';
import { StepOutput } from '../executor/step-output.ts';
import { native } from '../native/addon.ts';
import { fromNative } from '../native/error.ts';
import type { Prepared } from '../snapshot/driver.ts';
import { callNative, type RequestContext, type WorkerContext } from './context.ts';
import type { AssembleDebianParams, StepResult } from './protocol.ts';
import { stepError } from './step.ts';

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
      await perform(context, step, params, prepared, output, request);
    }
    return await prepared.commit(params.layer);
  } finally {
    output.close();
    await prepared.discard();
  }
}

async function perform(
  context: WorkerContext,
  step: AssemblyStep,
  params: AssembleDebianParams,
  prepared: Prepared,
  output: StepOutput,
  request: RequestContext,
): Promise<void> {
  switch (step.kind) {
    case 'skeleton':
      makeSkeleton(step.entries, prepared.root());
      return;
    case 'unpack':
      await unpack(context, step.packages, params, prepared, request);
      return;
    case 'exec':
      await exec(context, step, params, prepared, output, request);
      return;
    case 'clamp':
      await callNative(request.signal, 'cannot set the times of files', (cancel) =>
        native().clampTimes(prepared.root(), step.epochSeconds, cancel),
      );
  }
}

/** The root is empty and ours: nothing in it can lead anywhere else yet. */
function makeSkeleton(entries: Extract<AssemblyStep, { kind: 'skeleton' }>['entries'], root: string): void {
  for (const { path, kind, mode, content } of entries) {
    const target = join(root, path);
    switch (kind) {
      case 'directory':
        mkdirSync(target);
        chmodSync(target, mode);
        break;
      case 'symlink':
        symlinkSync(content, target);
        break;
      case 'file':
        writeFileSync(target, content, { flag: 'wx' });
        chmodSync(target, mode);
        break;
    }
  }
}

async function unpack(
  context: WorkerContext,
  packages: Extract<AssemblyStep, { kind: 'unpack' }>['packages'],
  params: AssembleDebianParams,
  prepared: Prepared,
  request: RequestContext,
): Promise<void> {
  const paths = new Map(params.packages.map(({ path, sha256 }) => [sha256, path]));
  const progress = (doneBytes: number, state: 'running' | 'done') =>
    request.emit({
      kind: 'progress',
      id: 'unpack',
      activity: 'unpack',
      subject: `${packages.length} packages`,
      doneBytes,
      state,
    });
  let last = 0;
  await callNative(request.signal, 'cannot unpack the packages', (cancel) =>
    native().unpackDebs(
      {
        root: prepared.root(),
        packages: packages.map(({ sha256, mayDefer }) => {
          const path = paths.get(sha256);
          if (path === undefined) {
            throw new InternalError(`no file for the package with SHA-256 ${sha256}`);
          }
          return { path, sha256, mayDefer };
        }),
        singleId: context.executor.idMode === 'single',
      },
      cancel,
      (doneBytes) => {
        last = doneBytes;
        progress(doneBytes, 'running');
      },
    ),
  );
  progress(last, 'done');
}

async function exec(
  context: WorkerContext,
  step: Extract<AssemblyStep, { kind: 'exec' }>,
  params: AssembleDebianParams,
  prepared: Prepared,
  output: StepOutput,
  request: RequestContext,
): Promise<void> {
  try {
    const outcome = await runProgram(context.executor, prepared, {
      argv: step.argv,
      env: Object.entries(step.env),
      lentEnv: {},
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
    if (outcome.reason !== 'exit' || outcome.exitCode !== 0) {
      throw stepError(
        { argv: [step.description], cwd: '/', user: '' },
        outcome,
        output,
        params.logPath,
        context.executor.idMode,
      );
    }
  } catch (error) {
    throw fromNative(error, `cannot ${step.description}`);
  }
}
