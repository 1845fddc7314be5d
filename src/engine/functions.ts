/** The functions of one build or call, on their way into containers, and what they say when they fail. */
import { readFileSync } from 'node:fs';
import { showLines } from '../base/excerpt.ts';
import { InternalError, StepError } from '../errors.ts';
import type { CalledFunction } from '../frontend/fluent/to-graph.ts';
import type { CallValues, FunctionReader } from '../local/read-function.ts';
import type { FunctionCalls } from '../ops/op-context.ts';
import type { WireFunction } from '../worker/protocol.ts';
import type { BuildInputs } from './local-inputs.ts';

export function functionCalls(
  reader: FunctionReader,
  inputs: BuildInputs,
  called: ReadonlyMap<string, CalledFunction>,
): FunctionCalls {
  return {
    wire: async (id, signal) => {
      const call = called.get(id);
      if (call === undefined) {
        throw new InternalError(`the graph names a function that the build does not have: '${id}'`);
      }
      return await wireFunction(reader, inputs, call, { ...call, wantsResult: false }, signal);
    },
    locate: (error) => locateFailure(error, reader),
  };
}

export async function wireFunction(
  reader: FunctionReader,
  inputs: BuildInputs,
  { carried, recipe }: Pick<CalledFunction, 'carried' | 'recipe'>,
  values: CallValues,
  signal: AbortSignal,
): Promise<WireFunction> {
  const { runtime, files, sources } = await reader.pack(carried, values);
  return {
    runtime,
    node: carried.node,
    recipe,
    files: files.map(({ name, data }) => ({ name, base64: data.toString('base64') })),
    sources: await Promise.all(
      sources.map(async ({ input, path }) => ({
        path,
        input: { kind: 'files' as const, files: (await inputs.scan(input, signal)).files },
      })),
    ),
  };
}

const JAVASCRIPT_FRAME = /^\s+at (?:.*\()?(?:file:\/\/)?(\/[^\s()]+):(\d+):\d+\)?$/;
const PYTHON_FRAME = /^ {2}File "(\/[^"]+)", line (\d+)/;

/** Adds the user's own line where the stack leads to one. The container wrote the stack; no other file of this machine is read. */
export function locateFailure(error: StepError, reader: Pick<FunctionReader, 'isSource'>): StepError {
  const stack = error.remoteStack?.split('\n') ?? [];
  const frames = stack.flatMap((text) => {
    const match = JAVASCRIPT_FRAME.exec(text);
    return match === null ? [] : [match];
  });
  const pythonFrames = stack.flatMap((text) => {
    const match = PYTHON_FRAME.exec(text);
    return match === null ? [] : [match];
  });
  // JavaScript puts the innermost first, Python last.
  for (const [, file = '', lineText] of [...frames, ...pythonFrames.reverse()]) {
    const line = Number(lineText);
    if (file.includes('/node_modules/') || !reader.isSource(file)) {
      continue;
    }
    const excerpt = excerptOf(file, line);
    if (excerpt !== undefined) {
      return new StepError(error.message, {
        ...error,
        code: error.code,
        hint: error.hint,
        cause: error.cause,
        file,
        line,
        excerpt,
      });
    }
  }
  return error;
}

/** Its lines with those around; undefined where this machine has no such line any more. */
function excerptOf(file: string, line: number): string | undefined {
  let lines: string[];
  try {
    lines = readFileSync(file, 'utf8').split(/\r?\n/);
  } catch {
    return undefined;
  }
  return line < 1 || line > lines.length ? undefined : showLines(lines, { startLine: line, endLine: line });
}
