/** Flags of `build` that are about a Dockerfile. Names and meanings are buildx's. */
import { BadValue, choice, flag, list, nonEmpty, value } from './option.ts';
import { parseMemorySize } from './quantity.ts';
import { GPUS_OPTION } from './shared-options.ts';

const CALLS = ['build', 'check', 'outline', 'targets', 'lint'] as const;
export type Call = (typeof CALLS)[number];

export const DOCKERFILE_OPTIONS = {
  file: value({
    long: 'file',
    short: 'f',
    valueName: 'FILE',
    summary: 'The Dockerfile',
    detail:
      'Path of the Dockerfile; `-` reads it from standard input. In a context that is not a directory of this machine it is a path in the context.',
    defaultText: '`Dockerfile` in the context',
    completion: 'file',
    parse: nonEmpty,
  }),
  target: value({
    long: 'target',
    valueName: 'STAGE',
    summary: 'Stop at this stage of the Dockerfile',
    detail: 'Builds this stage and what it needs, and nothing else.',
    defaultText: 'the last stage',
    parse: nonEmpty,
  }),
  buildArg: list({
    long: 'build-arg',
    valueName: 'NAME[=VALUE]',
    summary: 'Value of an ARG',
    detail:
      'Value of an `ARG` of the Dockerfile. Without `=` the environment variable of that name is taken, if it is set. Values are seen by whoever can see the image: secrets belong into `--secret`.',
    parse: nonEmpty,
  }),
  buildContext: list({
    long: 'build-context',
    valueName: 'NAME=VALUE',
    summary: 'A further context, or what an image name means',
    detail:
      'Takes the place of the stage or image NAME in `FROM`, `--from` and `from=`: a directory, `docker-image://IMAGE`, `oci-layout://PATH:TAG`, `target:STAGE`, or the URL of a git repository or archive. `NAME::PLATFORM` holds for one platform.',
    completion: 'directory',
    parse: nonEmpty,
  }),
  secret: list({
    long: 'secret',
    valueName: 'SPEC',
    summary: 'A secret for `RUN --mount=type=secret`',
    detail:
      'Written `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`. The value is in no layer, key, log or history; it is read when a step needs it.',
    completion: ['id='],
    parse: nonEmpty,
  }),
  ssh: list({
    long: 'ssh',
    valueName: 'SPEC',
    summary: 'An agent for `RUN --mount=type=ssh`',
    detail:
      'An agent by its id: `default` is the one of SSH_AUTH_SOCK, `ID=SOCKET` another one, `ID=KEY,KEY` serves keys in files.',
    completion: ['default'],
    parse: nonEmpty,
  }),
  noCacheFilter: list({
    long: 'no-cache-filter',
    valueName: 'STAGE',
    summary: 'Run the steps of this stage again',
    detail:
      'Runs the steps of the stage again, and whatever is built on them. Several stages are separated by commas.',
    parse: nonEmpty,
  }),
  label: list({
    long: 'label',
    valueName: 'KEY=VALUE',
    summary: 'A label of the image',
    detail: 'Sets a label of the image, over what the Dockerfile says.',
    parse: nonEmpty,
  }),
  addHost: list({
    long: 'add-host',
    valueName: 'HOST:IP',
    summary: 'A further line of /etc/hosts for the steps',
    detail:
      'Written `HOST:IP` or `HOST=IP`. Steps see it while they run; it is in no layer. `host-gateway` is 127.0.0.1, for steps share the network of the host.',
    parse: parseHost,
  }),
  shmSize: value({
    long: 'shm-size',
    valueName: 'SIZE',
    summary: 'Size of /dev/shm',
    detail: 'Size of `/dev/shm` in the steps, such as `256m`.',
    parse: parseMemorySize,
  }),
  ulimit: list({
    long: 'ulimit',
    valueName: 'NAME=SOFT[:HARD]',
    summary: 'A resource limit of the steps',
    detail: 'A limit of setrlimit(2) such as `nofile=1024:2048`; -1 is none.',
    parse: parseUlimit,
  }),
  gpus: GPUS_OPTION,
  network: choice({
    long: 'network',
    valueName: 'MODE',
    words: ['default', 'host', 'none', 'private'],
    summary: 'Network of steps that do not say',
    detail:
      "Network of steps that do not say: `host` is that of this machine, `none` is a loopback interface alone, and `private` is one of the step's own that leads where this machine's does and not to this machine's loopback interface; it needs the package passt. Definitions take `private` only. `default` is `host`, or what `TSBUILD_NETWORK` says.",
    defaultText: 'default',
  }),
  allow: list({
    long: 'allow',
    valueName: 'ENTITLEMENT',
    summary: 'What the Dockerfile is trusted with',
    detail:
      'An entitlement: `network.host` allows `RUN --network=host`, `security.insecure` allows `RUN --security=insecure`, `device` allows `RUN --device`.',
    completion: ['network.host', 'security.insecure', 'device'],
    parse: parseEntitlement,
  }),
  check: flag({
    long: 'check',
    summary: 'Check the Dockerfile and build nothing',
    detail:
      'Prints what the build checks find in the Dockerfile, and exits with 1 if that is anything. The same as `--call=check`.',
  }),
  call: value({
    long: 'call',
    valueName: 'METHOD',
    summary: 'Ask about the Dockerfile instead of building it',
    detail:
      'What to ask: `check` or `lint` prints violations of the build checks, `outline` what the target takes, `targets` the stages. `,format=json` prints JSON.',
    completion: CALLS,
    defaultText: 'build',
    parse: parseCall,
  }),
} as const;

function parseHost(text: string): readonly [string, string] {
  const match = /^([^:=\s]+)[:=](.+)$/.exec(text);
  if (match === null) {
    throw new BadValue(`'${text}' is not HOST:IP`);
  }
  const [, host = '', address = ''] = match;
  const plain = address === 'host-gateway' ? '127.0.0.1' : address.replace(/^\[(.*)\]$/, '$1');
  if (!/^[0-9a-fA-F:.]+$/.test(plain)) {
    throw new BadValue(`'${address}' is no IP address`);
  }
  return [host, plain];
}

function parseUlimit(text: string): { readonly name: string; readonly soft: number; readonly hard: number } {
  const match = /^([a-z]+)=(-?\d{1,15})(?::(-?\d{1,15}))?$/.exec(text);
  if (match === null) {
    throw new BadValue(`'${text}' is not NAME=SOFT[:HARD]`);
  }
  const soft = Number(match[2]);
  const hard = match[3] === undefined ? soft : Number(match[3]);
  if (hard !== -1 && (soft === -1 || soft > hard)) {
    throw new BadValue(`the soft limit of '${text}' is above the hard one`);
  }
  return { name: match[1] ?? '', soft, hard };
}

const ENTITLEMENTS = ['network.host', 'security.insecure', 'device'] as const;

function parseEntitlement(text: string): (typeof ENTITLEMENTS)[number] {
  const found = ENTITLEMENTS.find((each) => each === text);
  if (found === undefined) {
    throw new BadValue(`'${text}' is not one of ${ENTITLEMENTS.join(', ')}`, ENTITLEMENTS);
  }
  return found;
}

function parseCall(text: string): { readonly call: Call; readonly json: boolean } {
  const [method = '', ...rest] = text.split(',');
  const call = CALLS.find((each) => each === method);
  if (call === undefined) {
    throw new BadValue(`'${method}' is not one of ${CALLS.join(', ')}`, CALLS);
  }
  const other = rest.find((each) => each !== 'format=json' && each !== 'format=text');
  if (other !== undefined) {
    throw new BadValue(`'${other}' is not format=json`);
  }
  return { call, json: rest.includes('format=json') };
}

/** `NAME=VALUE`, or the variable of the environment; one that is not set is left out, as buildx does. */
export function buildArgsOf(
  given: readonly string[],
  environment: NodeJS.ProcessEnv,
): Readonly<Record<string, string>> {
  const args: Record<string, string> = {};
  for (const each of given) {
    const equals = each.indexOf('=');
    const name = equals < 0 ? each : each.slice(0, equals);
    const known = equals < 0 ? environment[each] : each.slice(equals + 1);
    if (known !== undefined) {
      args[name] = known;
    }
  }
  // buildx hands this one on, so that an image is reproducible when the environment says so.
  const { SOURCE_DATE_EPOCH: epoch } = environment;
  return epoch === undefined || 'SOURCE_DATE_EPOCH' in args ? args : { ...args, SOURCE_DATE_EPOCH: epoch };
}

/** Whether `--build-arg BUILDKIT_INLINE_CACHE=1` is given, which means `--cache-to type=inline`. */
export function asksForInlineCache(given: readonly string[], environment: NodeJS.ProcessEnv): boolean {
  return ['1', 'true'].includes(buildArgsOf(given, environment).BUILDKIT_INLINE_CACHE ?? '');
}

/** `KEY=VALUE` pairs; a key alone has an empty value. */
export function pairsOf(given: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    given.map((each) => {
      const equals = each.indexOf('=');
      return equals < 0 ? [each, ''] : [each.slice(0, equals), each.slice(equals + 1)];
    }),
  );
}
