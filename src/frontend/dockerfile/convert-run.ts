/** RUN. Source: reference of the Dockerfile, "RUN" and "Here-Documents". */
import { posix } from 'node:path';
import { canonicalJson } from '../../base/canonical-json.ts';
import { DefinitionError } from '../../errors.ts';
import type { ExecAction, Mount, SecretVariable, WholeSecret } from '../../graph/action.ts';
import { isOwnCacheId } from '../../graph/cache-id.ts';
import { buildSecretId } from '../../graph/secret-id.ts';
import type { Edge } from '../../graph/vertex.ts';
import type { Conversion } from './conversion.ts';
import { argvOf } from './convert-config.ts';
import { flagError } from './definition-place.ts';
import type { Heredoc, Location, RunInstruction } from './instruction.ts';
import type { Entitlement } from './request.ts';
import { parseRunDevice, parseRunMount, type RunMount } from './run-mount.ts';
import type { StageCommand, StageNode } from './stage-graph.ts';
import type { StageState } from './stage-state.ts';
import type { StageWords } from './stage-words.ts';

/** What steps of Dockerfiles have always been called. */
const HOSTNAME = 'buildkitsandbox';
const PIPES = '/dev/pipes';
const SCRIPT_MODE = 0o755;
const AGENT_SOCKET = '/run/buildkit/ssh_agent';

export async function convertRun(
  conversion: Conversion,
  state: StageState,
  command: StageCommand,
  instruction: RunInstruction,
  words: StageWords,
): Promise<void> {
  const { request } = conversion;
  const inputs: Edge[] = [state.tip];
  const script = scriptOf(instruction, state);
  const mounted = await mountsOf(conversion, state, command, instruction, words, inputs);
  const network = networkOf(conversion, instruction, words);
  const security = securityOf(conversion, instruction, words);
  const devices = [
    ...request.devices,
    ...instruction.devices.map((device) => {
      demand(conversion, 'device', '--device');
      return parseRunDevice(words.expand(device));
    }),
  ];
  const { stepEnv, stepSecretEnv, stepGpus } = request;
  const environment: (readonly [string, string])[] = [
    ...[...state.environment].filter(
      ([name]) => !(name in stepEnv) && !stepSecretEnv.some((each) => 'name' in each && each.name === name),
    ),
    ...Object.entries(stepEnv),
  ];
  const action: ExecAction = {
    kind: 'exec',
    argv: script.argv,
    env: environment,
    cwd: state.workingDir,
    user: state.user,
    ...network,
    hostname: request.buildArgs.BUILDKIT_SANDBOX_HOSTNAME ?? HOSTNAME,
    mounts: [...script.mounts, ...mounted.mounts],
    secretEnv: [
      ...stepSecretEnv.flatMap((each): (SecretVariable | WholeSecret)[] =>
        'name' in each
          ? each.name in stepEnv
            ? []
            : [each]
          : [{ ...each, except: Object.keys(stepEnv).sort() }],
      ),
      ...mounted.secretEnv,
    ],
    lend: [],
    ...(conversion.proxies.length === 0 ? {} : { proxyEnv: conversion.proxies }),
    ...(security === 'insecure' ? { security } : {}),
    ...(request.extraHosts.length === 0 ? {} : { extraHosts: request.extraHosts }),
    ...(request.shmSizeBytes === undefined ? {} : { shmSizeBytes: request.shmSizeBytes }),
    ...(request.ulimits.length === 0 ? {} : { ulimits: request.ulimits }),
    ...(devices.length === 0 ? {} : { devices }),
    ...(stepGpus.length === 0 ? {} : { gpus: stepGpus }),
  };
  const masked = new Map(mounted.secretEnv.map(({ name }) => [name, '****']));
  const label = state.nextLabel(command, words.shown(`${instruction.source}${script.summary}`, masked));
  state.add({ kind: 'build', actions: [action] }, inputs, command, label, 'becomes tip');
  state.addHistory(`RUN ${[...argumentList(state), ...action.argv].join(' ')} # buildkit`, true);
}

/** `|2 A=1 B=2`: the ARGs of the stage with their values, each once, in the order of their first declaration. */
function argumentList(state: StageState): readonly string[] {
  const values = new Map<string, string>();
  for (const [name, value] of state.args) {
    values.set(name, state.environment.get(name) ?? value ?? '');
  }
  return values.size === 0
    ? []
    : [`|${values.size}`, ...[...values].map(([name, value]) => `${name}=${value}`)];
}

interface Script {
  readonly argv: readonly string[];
  readonly mounts: readonly Mount[];
  /** What progress shows of a body. */
  readonly summary: string;
}

function scriptOf({ command, heredocs }: RunInstruction, state: StageState): Script {
  const [first] = heredocs;
  if (first === undefined || command.form === 'exec') {
    return { argv: argvOf(command, state), mounts: [], summary: '' };
  }
  if (!isHeredocAlone(command.text)) {
    // The shell reads the bodies itself.
    const bodies = heredocs.map(({ name, content }) => `\n${content}${name}`);
    return { argv: [...state.shell, `${command.text}${bodies.join('')}`], mounts: [], summary: '' };
  }
  const summary = ` (${summaryOf(first)})`;
  if (first.content.startsWith('#!')) {
    const target = `${PIPES}/${first.name}`;
    const data = Buffer.from(first.content, 'utf8').toString('base64');
    return {
      argv: [...state.shell, target],
      mounts: [{ kind: 'inline', target, mode: SCRIPT_MODE, data }],
      summary,
    };
  }
  return { argv: [...state.shell, first.content], mounts: [], summary };
}

function isHeredocAlone(text: string): boolean {
  return /^\d*<<-?[^<\s]+$/.test(text.trim());
}

function summaryOf({ content }: Heredoc): string {
  const [first = '', ...rest] = content.trim().split(/\r?\n/);
  return rest.length > 0 ? `${first}...` : first;
}

async function mountsOf(
  conversion: Conversion,
  state: StageState,
  command: StageCommand,
  instruction: RunInstruction,
  words: StageWords,
  inputs: Edge[],
): Promise<{ readonly mounts: readonly Mount[]; readonly secretEnv: readonly SecretVariable[] }> {
  const mounts: Mount[] = [];
  const secretEnv: SecretVariable[] = [];
  for (const [index, text] of instruction.mounts.entries()) {
    const mount = parseRunMount(text, (word) => words.expand(word));
    const source = command.sources[index];
    switch (mount.type) {
      case 'bind':
        mounts.push(await bindMount(conversion, state, mount, instruction.location, source, inputs));
        break;
      case 'cache':
        mounts.push(await cacheMount(conversion, state, mount, instruction.location, source, inputs));
        break;
      case 'tmpfs':
        mounts.push({
          kind: 'tmpfs',
          target: targetOf(state, mount.target),
          ...(mount.sizeBytes === undefined ? {} : { sizeBytes: mount.sizeBytes }),
        });
        break;
      case 'secret':
        addSecret(conversion, state, instruction, mount, mounts, secretEnv);
        break;
      case 'ssh': {
        const { id } = mount;
        const number = mounts.filter((each) => each.kind === 'ssh').length;
        conversion.outline.useSsh(state.node, id, mount.required, instruction.location);
        mounts.push({
          kind: 'ssh',
          id,
          target: mount.target === undefined ? `${AGENT_SOCKET}.${number}` : targetOf(state, mount.target),
          mode: mount.mode,
          uid: mount.uid,
          gid: mount.gid,
          required: mount.required,
        });
        break;
      }
    }
  }
  return { mounts, secretEnv };
}

async function bindMount(
  conversion: Conversion,
  state: StageState,
  mount: Extract<RunMount, { type: 'bind' }>,
  location: Location,
  source: StageNode | undefined,
  inputs: Edge[],
): Promise<Mount> {
  const path = posix.join('/', mount.source);
  return {
    kind: 'bind',
    input: await addInput(conversion, state, location, source, path, inputs),
    source: path,
    target: targetOf(state, mount.target),
    readOnly: mount.readOnly,
  };
}

async function cacheMount(
  conversion: Conversion,
  state: StageState,
  mount: Extract<RunMount, { type: 'cache' }>,
  location: Location,
  source: StageNode | undefined,
  inputs: Edge[],
): Promise<Mount> {
  const { BUILDKIT_CACHE_MOUNT_NS: namespace = '' } = conversion.request.buildArgs;
  const id = namespace === '' ? mount.id : `${namespace}/${mount.id}`;
  if (isOwnCacheId(id)) {
    throw flagError(`the cache '${id}' is one that tsbuild keeps for package managers`, {
      culprit: mount.id,
      hint: 'choose another id',
    });
  }
  const target = targetOf(state, mount.target);
  const seedPath = posix.join('/', mount.source);
  const seed =
    source === undefined || (source.base === 'scratch' && source.external)
      ? undefined
      : { input: await addInput(conversion, state, location, source, seedPath, inputs), source: seedPath };
  return {
    kind: 'cache',
    id,
    target,
    sharing: mount.sharing,
    ...(mount.mode === undefined ? {} : { mode: mount.mode }),
    ...(mount.uid === undefined ? {} : { uid: mount.uid }),
    ...(mount.gid === undefined ? {} : { gid: mount.gid }),
    ...(mount.readOnly ? { readOnly: true } : {}),
    ...(seed === undefined ? {} : { seed }),
  };
}

function addSecret(
  { outline }: Conversion,
  state: StageState,
  { location }: RunInstruction,
  mount: Extract<RunMount, { type: 'secret' }>,
  mounts: Mount[],
  secretEnv: SecretVariable[],
): void {
  const { id } = mount;
  outline.useSecret(state.node, id, mount.required, location);
  const secretId = buildSecretId(id);
  const identity = canonicalJson({ kind: 'build-secret', id });
  const { required, mode, uid, gid } = mount;
  if (mount.env !== undefined) {
    secretEnv.push({ name: mount.env, secretId, identity, ...(required ? {} : { optional: true }) });
  }
  if (mount.target !== undefined) {
    const target = targetOf(state, mount.target);
    mounts.push({ kind: 'secret', secretId, identity, target, mode, uid, gid, required });
  }
}

/** Adds what a mount reads to the inputs of the vertex. @returns Its number. */
async function addInput(
  conversion: Conversion,
  state: StageState,
  location: Location,
  source: StageNode | undefined,
  path: string,
  inputs: Edge[],
): Promise<number> {
  const context = source === undefined ? conversion.request.context : await conversion.directoryOf(source);
  const edge =
    context === undefined && source !== undefined
      ? (await conversion.stateOf(source)).tip
      : conversion.contextEdge(
          { kind: 'context', ...conversion.directoryIn(context), selections: [{ source: path }] },
          state.platform,
          '[internal] files for RUN',
          location,
        );
  inputs.push(edge);
  return inputs.length - 1;
}

/** Relative targets begin at WORKDIR. */
function targetOf(state: StageState, target: string): string {
  const path = posix.resolve(state.workingDir, target);
  if (path === '/') {
    throw flagError("a mount cannot cover '/'", { hint: 'name a directory as its target' });
  }
  return path;
}

function networkOf(
  conversion: Conversion,
  { network }: RunInstruction,
  words: StageWords,
): Pick<ExecAction, 'network' | 'insistsOnHost'> {
  const asked = network === undefined ? 'default' : words.expand(network);
  switch (asked) {
    case 'default':
      return { network: conversion.request.network };
    case 'none':
      return { network: 'none' };
    case 'host':
      demand(conversion, 'network.host', '--network=host');
      return { network: 'host', insistsOnHost: true };
    default:
      throw flagError(`unknown network '${asked}'`, {
        culprit: asked,
        hint: 'it can be default, none, host',
      });
  }
}

function securityOf(
  conversion: Conversion,
  { security }: RunInstruction,
  words: StageWords,
): 'sandbox' | 'insecure' {
  const asked = security === undefined ? 'sandbox' : words.expand(security);
  switch (asked) {
    case 'sandbox':
      return 'sandbox';
    case 'insecure':
      demand(conversion, 'security.insecure', '--security=insecure');
      return 'insecure';
    default:
      throw flagError(`unknown security mode '${asked}'`, {
        culprit: asked,
        hint: 'it can be sandbox, insecure',
      });
  }
}

function demand({ request }: Conversion, entitlement: Entitlement, what: string): void {
  if (!request.allow.has(entitlement)) {
    throw new DefinitionError(`${what} needs the entitlement '${entitlement}'`, {
      code: 'E_ENTITLEMENT',
      culprit: what,
      hint: `build with --allow ${entitlement} if you trust the Dockerfile with it`,
    });
  }
}
