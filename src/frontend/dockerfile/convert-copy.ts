/** COPY and ADD. Source: reference of the Dockerfile, "COPY", "ADD", "Here-Documents". */

import { posix } from 'node:path';
import { parseChmod } from '../../base/chmod.ts';
import { normalPath } from '../../base/normal-path.ts';
import { maskUrlCredentials } from '../../base/redact.ts';
import { DefinitionError } from '../../errors.ts';
import type { Action, Chmod, CopyAction, CopySelection, Owner } from '../../graph/action.ts';
import { type Edge, firstOutput, vertex } from '../../graph/vertex.ts';
import { CHECKS } from './check-rules.ts';
import type { ContextSelection } from './context-input.ts';
import type { Conversion } from './conversion.ts';
import { ownerOf } from './copy-owner.ts';
import { flagError, instructionError } from './definition-place.ts';
import { type GitSource, parseGitUrl } from './git-url.ts';
import type { AddInstruction, CopyInstruction, Location } from './instruction.ts';
import type { BuildContext } from './request.ts';
import { scratchEdge } from './scratch.ts';
import type { StageCommand } from './stage-graph.ts';
import type { StageState } from './stage-state.ts';
import type { StageWords } from './stage-words.ts';

const HEREDOC_MODE = 0o644;

export async function convertCopy(
  conversion: Conversion,
  state: StageState,
  command: StageCommand,
  instruction: CopyInstruction | AddInstruction,
  words: StageWords,
): Promise<void> {
  const copy = readCopy(instruction, state, words);
  const label = state.nextLabel(command, words.shown(instruction.source));
  const reads = await readsFrom(conversion, command, instruction);
  const linked = instruction.link && copy.owner.kind !== 'names';
  const inputs: Edge[] = [linked ? scratchEdge(state.platform) : state.tip];
  const actions: Action[] = [];
  const local: ContextSelection[] = [];
  for (const source of copy.sources) {
    const remote = await remoteAction(conversion, state, instruction, copy, source, inputs);
    if (remote !== undefined) {
      actions.push(remote);
      continue;
    }
    const selection: CopySelection = { wildcards: true, parents: copy.parents, exclude: instruction.exclude };
    if (reads.context !== undefined) {
      local.push({ source, select: selection });
      await reportIgnored(conversion, reads.context, instruction, source, words);
    }
    // Which input that is, is known when all sources are.
    actions.push({
      ...commonParts(copy),
      input: 0,
      source,
      select: selection,
      ...(copy.unpack ? { unpack: true } : {}),
    });
  }
  const localInput = addLocalInput(conversion, state, reads, local, inputs, copy.sources.length > 0);
  for (const heredoc of instruction.heredocs) {
    const body = heredoc.expand ? words.expandHeredoc(heredoc.content) : heredoc.content;
    actions.push({
      kind: 'mkfile',
      path: copy.destination,
      name: heredoc.name,
      mode: copy.modes === 'keep' ? HEREDOC_MODE : copy.modes,
      owner: copy.owner,
      data: Buffer.from(body, 'utf8').toString('base64'),
    });
  }
  const placed = actions.map((action) =>
    action.kind === 'copy' && action.input === 0 ? { ...action, input: localInput } : action,
  );
  if (linked) {
    const layer = state.add({ kind: 'build', actions: placed }, inputs, command, label, 'beside');
    state.add({ kind: 'merge' }, [state.tip, layer], command, `${label} (link)`, 'becomes tip');
  } else {
    state.add({ kind: 'build', actions: placed }, inputs, command, label, 'becomes tip');
  }
  state.addHistory(historyOf(instruction, copy), true);
}

/** The instruction with its words expanded. */
interface ReadCopy {
  readonly sources: readonly string[];
  /** Absolute, a slash at the end kept. */
  readonly destination: string;
  readonly writtenDestination: string;
  readonly owner: Owner;
  readonly chown: string;
  readonly chmod: string;
  readonly modes: 'keep' | Chmod;
  readonly parents: boolean;
  readonly unpack: boolean;
  readonly checksum: string | undefined;
}

function readCopy(
  instruction: CopyInstruction | AddInstruction,
  state: StageState,
  words: StageWords,
): ReadCopy {
  const writtenDestination = words.expand(instruction.destination);
  const chown = instruction.chown === undefined ? '' : words.expand(instruction.chown);
  const chmod = instruction.chmod === undefined ? '' : words.expand(instruction.chmod);
  if (chown.split(':').length > 2) {
    throw flagError(`--chown '${chown}' is more than a user and a group`, {
      culprit: instruction.chown,
      hint: 'write user:group, names or numbers',
    });
  }
  if (chmod !== '' && parseChmod(chmod) === undefined) {
    throw flagError(`--chmod '${chmod}' is no mode`, {
      culprit: instruction.chmod,
      hint: 'write octal digits up to 07777, or symbols such as u=rwX,go=rX',
    });
  }
  return {
    sources: instruction.sources.map((source) => words.expand(source)),
    destination: destinationIn(state.workingDir, writtenDestination),
    writtenDestination,
    owner: ownerOf(chown) ?? { kind: 'keep' },
    chown,
    chmod,
    modes: chmod === '' ? 'keep' : { chmod },
    parents: instruction.kind === 'copy' && instruction.parents,
    unpack: instruction.kind === 'add' && instruction.unpack !== false,
    checksum:
      instruction.kind === 'add' && instruction.checksum !== undefined
        ? words.expand(instruction.checksum)
        : undefined,
  };
}

/** PATH_MAX without its NUL (limits.h): no program could open what would be made. */
const MAX_PATH_BYTES = 4095;

/** `.` and the empty text are WORKDIR, as a directory. */
function destinationIn(workingDir: string, written: string): string {
  if (Buffer.byteLength(written) > MAX_PATH_BYTES) {
    throw instructionError(`the destination has ${Buffer.byteLength(written)} bytes`, {
      hint: `paths of Linux have at most ${MAX_PATH_BYTES}`,
    });
  }
  const asDirectory = written === '' || written === '.' || written.endsWith('/') || written.endsWith('/.');
  const path = posix.resolve(workingDir, written);
  return asDirectory && path !== '/' ? `${path}/` : path;
}

function commonParts({
  destination,
  owner,
  modes,
}: ReadCopy): Pick<CopyAction, 'kind' | 'destination' | 'owner' | 'modes' | 'times'> {
  return { kind: 'copy', destination, owner, modes, times: 'keep' };
}

interface Reads {
  /** A directory of this machine. */
  readonly context: BuildContext | undefined;
  /** Another stage or image. */
  readonly edge: Edge | undefined;
  readonly label: string;
  readonly location: Location;
}

async function readsFrom(
  conversion: Conversion,
  { sources }: StageCommand,
  instruction: CopyInstruction | AddInstruction,
): Promise<Reads> {
  const label = `[internal] files for ${instruction.kind.toUpperCase()}`;
  const { location } = instruction;
  const [from] = sources;
  if (from === undefined) {
    return { context: conversion.request.context, edge: undefined, label, location };
  }
  const context = await conversion.directoryOf(from);
  return context === undefined
    ? { context, edge: (await conversion.stateOf(from)).tip, label, location }
    : { context, edge: undefined, label, location };
}

/** @returns The number of the input that local sources are read from. */
function addLocalInput(
  conversion: Conversion,
  state: StageState,
  { context, edge, label, location }: Reads,
  selections: readonly ContextSelection[],
  inputs: Edge[],
  wanted: boolean,
): number {
  if (edge !== undefined) {
    inputs.push(edge);
  } else if (selections.length > 0) {
    const directory = conversion.directoryIn(context);
    const input = { kind: 'context', ...directory, selections } as const;
    inputs.push(conversion.contextEdge(input, state.platform, label, location));
  } else if (wanted && context === undefined) {
    // Only remote sources; or there is no context, and the error says so.
    return 0;
  }
  return inputs.length - 1;
}

/** ADD of a URL or of a git repository; undefined for a path. */
async function remoteAction(
  conversion: Conversion,
  state: StageState,
  instruction: CopyInstruction | AddInstruction,
  copy: ReadCopy,
  source: string,
  inputs: Edge[],
): Promise<CopyAction | undefined> {
  const git = parseGitUrl(source);
  const isUrl = /^https?:\/\//.test(source);
  if (git === undefined && !isUrl) {
    if (instruction.kind === 'add' && instruction.checksum !== undefined) {
      throw flagError('--checksum is for URLs and git repositories', { culprit: '--checksum' });
    }
    if (
      conversion.request.context === undefined &&
      (instruction.kind === 'add' || instruction.from === undefined)
    ) {
      throw new DefinitionError(`there is no build context to read '${source}' from`, {
        code: 'E_NO_CONTEXT',
        culprit: source,
        hint: 'name a directory: tsbuild build -f Dockerfile DIRECTORY',
      });
    }
    return undefined;
  }
  if (instruction.kind === 'copy') {
    throw instructionError(
      `the source of COPY cannot be a ${git === undefined ? 'URL' : 'git repository'}: '${source}'`,
      { hint: 'use ADD', culprit: source },
    );
  }
  if (instruction.checksum !== undefined && copy.sources.length > 1) {
    throw flagError('--checksum needs exactly one source', { culprit: '--checksum' });
  }
  return git === undefined
    ? await httpAction(conversion, state, instruction, copy, source, inputs)
    : await gitAction(conversion, state, instruction, copy, git, inputs);
}

async function httpAction(
  { resolver }: Conversion,
  state: StageState,
  instruction: AddInstruction,
  copy: ReadCopy,
  url: string,
  inputs: Edge[],
): Promise<CopyAction> {
  const { url: shown, digest, name, mtimeSeconds } = await resolver.resolveHttp(url, copy.checksum);
  inputs.push(
    firstOutput(
      vertex({ kind: 'source-http', url: shown, digest, name, mtimeSeconds }, [], {
        platform: state.platform,
        label: shown,
      }),
    ),
  );
  return {
    ...commonParts(copy),
    input: inputs.length - 1,
    source: `/${name}`,
    ...(instruction.unpack === true ? { unpack: true } : {}),
  };
}

async function gitAction(
  { resolver }: Conversion,
  state: StageState,
  instruction: AddInstruction,
  copy: ReadCopy,
  git: GitSource,
  inputs: Edge[],
): Promise<CopyAction> {
  const { keepGitDir } = instruction;
  const operation = await resolver.resolveGit(git, {
    ...(copy.checksum === undefined ? {} : { checksum: copy.checksum }),
    ...(keepGitDir === undefined ? {} : { keepGitDir }),
  });
  const { platform } = state;
  inputs.push(firstOutput(vertex(operation, [], { platform, label: git.remote })));
  return { ...commonParts(copy), input: inputs.length - 1, source: '/' };
}

async function reportIgnored(
  { resolver }: Conversion,
  { directory }: BuildContext,
  instruction: CopyInstruction | AddInstruction,
  source: string,
  words: StageWords,
): Promise<void> {
  if ((await resolver.ignoredBy(directory, source)) !== undefined) {
    const message = CHECKS.CopyIgnoredFile.message(instruction.kind.toUpperCase(), normalPath(source));
    words.finding('CopyIgnoredFile', message);
  }
}

function historyOf(
  instruction: CopyInstruction | AddInstruction,
  { sources, parents, chown, chmod, writtenDestination }: ReadCopy,
): string {
  return [
    instruction.kind.toUpperCase(),
    ...(parents ? ['--parents'] : []),
    ...(chown === '' ? [] : [`--chown=${chown}`]),
    ...(chmod === '' ? [] : [`--chmod=${chmod}`]),
    ...sources.map(maskUrlCredentials),
    ...instruction.heredocs.map(({ name }) => `<<${name}`),
    writtenDestination,
    '# buildkit',
  ].join(' ');
}
