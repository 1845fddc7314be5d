/**
 * One instruction's text → its typed form. One function an instruction, in the order of `INSTRUCTIONS`.
 * Source: reference of the Dockerfile.
 */
import { lazily } from '../../base/lazily.ts';
import { nearName } from '../../base/near-name.ts';
import { flagError, instructionError } from './definition-place.ts';
import { parseDirective } from './directives.ts';
import { parseDuration } from './duration.ts';
import { type FlagKind, type Flags, parseFlags } from './flags.ts';
import { chomp, type HeredocOpening, heredocsOf, parseHeredocWord, splitAtHeredocs } from './heredoc.ts';
import type {
  CommandLine,
  FromInstruction,
  Heredoc,
  KeyValue,
  Location,
  StageInstruction,
} from './instruction.ts';
import { jsonStrings, quotedWords, splitInstruction } from './instruction-words.ts';
import { checkRunMount } from './run-mount.ts';
import { cutWord, splitBlanks, trim } from './white-space.ts';

export type Instruction = FromInstruction | StageInstruction;
type Kind = Instruction['kind'];

/** What the instruction's functions see of it. */
interface Request {
  /** In capitals. */
  readonly name: string;
  readonly flags: Flags;
  /** What follows the flags. */
  readonly rest: string;
  readonly escape: '\\' | '`';
  /** Of a JSON array; undefined: it is none. */
  readonly json: readonly string[] | undefined;
  readonly heredocs: readonly Heredoc[];
  /** As they are written, with the tabs that `<<-` removes. */
  readonly rawHeredocs: readonly { readonly name: string; readonly body: string }[];
  readonly comments: readonly string[];
}

type Parts<Each> = Each extends Each ? Omit<Each, 'location' | 'keyword' | 'source' | 'skipChecks'> : never;

interface Grammar {
  readonly flags: Readonly<Record<string, FlagKind>>;
  /** Whether a JSON array means something here. */
  readonly json?: true;
  readonly heredocs?: true;
  readonly parse: (request: Request) => Parts<Instruction>;
}

const COPY_FLAGS = { chown: 'text', chmod: 'text', link: 'boolean', exclude: 'list' } as const;

const INSTRUCTIONS: Readonly<Record<Kind, Grammar>> = {
  from: { flags: { platform: 'text' }, parse: parseFrom },
  arg: { flags: {}, parse: parseArg },
  run: {
    flags: { mount: 'list', network: 'text', security: 'text', device: 'list' },
    json: true,
    heredocs: true,
    parse: parseRun,
  },
  copy: {
    flags: { from: 'text', ...COPY_FLAGS, parents: 'boolean' },
    json: true,
    heredocs: true,
    parse: parseCopy,
  },
  add: {
    flags: { ...COPY_FLAGS, checksum: 'text', 'keep-git-dir': 'boolean', unpack: 'boolean' },
    json: true,
    heredocs: true,
    parse: parseAdd,
  },
  env: { flags: {}, parse: (request) => ({ kind: 'env', pairs: keyValues(request) }) },
  label: { flags: {}, parse: (request) => ({ kind: 'label', pairs: keyValues(request) }) },
  maintainer: { flags: {}, parse: (request) => ({ kind: 'maintainer', author: oneArgument(request) }) },
  workdir: { flags: {}, parse: (request) => ({ kind: 'workdir', path: oneArgument(request) }) },
  user: { flags: {}, parse: (request) => ({ kind: 'user', user: oneArgument(request) }) },
  cmd: { flags: {}, json: true, parse: (request) => ({ kind: 'cmd', command: commandLine(request) }) },
  entrypoint: {
    flags: {},
    json: true,
    parse: (request) => ({ kind: 'entrypoint', command: commandLine(request) }),
  },
  healthcheck: {
    flags: {
      interval: 'text',
      timeout: 'text',
      'start-period': 'text',
      'start-interval': 'text',
      retries: 'text',
    },
    parse: parseHealthcheck,
  },
  expose: { flags: {}, parse: parseExpose },
  volume: { flags: {}, json: true, parse: parseVolume },
  stopsignal: { flags: {}, parse: (request) => ({ kind: 'stopsignal', signal: oneArgument(request) }) },
  shell: { flags: {}, json: true, parse: parseShell },
  onbuild: { flags: {}, parse: parseOnbuild },
};

const NAMES = Object.keys(INSTRUCTIONS).map((kind) => kind.toUpperCase());

/** Where the bodies of heredocs come from. */
export type HeredocSource = (opening: HeredocOpening) => { readonly body: string; readonly endLine: number };

/**
 * @param text - Of the instruction on one line.
 * @param location - Of those lines; the bodies of heredocs are added.
 * @throws {DefinitionError} `E_DOCKERFILE_INSTRUCTION` or `E_DOCKERFILE_FLAG`, without a place.
 */
export function parseInstruction(
  text: string,
  location: Location,
  comments: readonly string[],
  escapeCharacter: '\\' | '`',
  bodies: HeredocSource,
): Instruction {
  const { keyword, flags, rest } = splitInstruction(text, escapeCharacter);
  const name = keyword.toUpperCase();
  const grammar = grammarOf(keyword);
  const json = grammar.json ? jsonStrings(rest) : undefined;
  const openings = heredocsOf(heredocText(grammar, rest, json, escapeCharacter));
  const taken = openings.map((opening) => ({ opening, ...bodies(opening) }));
  const parts = grammar.parse({
    name,
    flags: parseFlags(name, flags, grammar.flags),
    rest,
    escape: escapeCharacter,
    json,
    heredocs: taken.map(({ opening, body }) => ({
      ...opening,
      content: opening.chomp ? chomp(body) : body,
    })),
    rawHeredocs: taken.map(({ opening, body }) => ({ name: opening.name, body })),
    comments,
  });
  return {
    ...parts,
    location: { startLine: location.startLine, endLine: taken.at(-1)?.endLine ?? location.endLine },
    keyword,
    source: text,
    skipChecks: skippedChecks(comments),
  };
}

function grammarOf(keyword: string): Grammar {
  const kind = keyword.toLowerCase();
  if (Object.hasOwn(INSTRUCTIONS, kind)) {
    return INSTRUCTIONS[kind as Kind];
  }
  throw instructionError(`unknown instruction '${shown(keyword)}'`, {
    hint: unknownHint(keyword),
    culprit: keyword,
  });
}

/** What looks like a blank and is none, as text copied from a web page has it. */
const INVISIBLE = lazily(() => /[\p{Z}\p{Cf}\p{Cc}]/u);

function unknownHint(keyword: string): string {
  const invisible = INVISIBLE().exec(keyword);
  if (invisible !== null) {
    const number = (invisible[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
    return `there is an invisible character, U+${number}, behind '${shown(keyword.slice(0, invisible.index))}': type a plain space`;
  }
  const near = nearName(keyword.toUpperCase(), NAMES);
  return near === undefined
    ? 'if the line belongs to the one before it, end that one with a backslash'
    : `did you mean ${near}?`;
}

function shown(word: string): string {
  return word.length > 60 ? `${word.slice(0, 60)}…` : word;
}

/** Where heredocs may be opened: not in flags. An ONBUILD has those of the instruction that it keeps. */
function heredocText(
  grammar: Grammar,
  rest: string,
  json: readonly string[] | undefined,
  escapeCharacter: string,
): string {
  if (grammar !== INSTRUCTIONS.onbuild) {
    return grammar.heredocs === true && json === undefined ? rest : '';
  }
  const inner = splitInstruction(rest, escapeCharacter);
  const kind = inner.keyword.toLowerCase();
  const kept = Object.hasOwn(INSTRUCTIONS, kind) ? INSTRUCTIONS[kind as Kind] : undefined;
  return kept?.heredocs === true && jsonStrings(inner.rest) === undefined ? inner.rest : '';
}

/** Rules of the first `# check=skip=A,B // why` above. */
function skippedChecks(comments: readonly string[]): readonly string[] {
  const check = comments
    .map((comment) => parseDirective(comment, ''))
    .find((found) => found?.[0] === 'check');
  const [options = ''] = splitBlanks(check?.[1] ?? '');
  return options
    .split(';')
    .map((option) => option.split('='))
    .filter(([name]) => name === 'skip')
    .flatMap(([, rules = '']) => rules.split(','))
    .filter((rule) => rule !== '');
}

/** What comments say about names: `# NAME what it is for`. The first comment about a name counts. */
function descriptions(comments: readonly string[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const comment of comments) {
    const space = comment.indexOf(' ');
    const name = comment.slice(0, Math.max(0, space));
    if (name !== '' && !found.has(name)) {
      found.set(name, comment.slice(space + 1));
    }
  }
  return found;
}

function described(description: string | undefined): { description?: string } {
  return description === undefined ? {} : { description };
}

const STAGE_NAME = /^[a-z][a-z0-9-_.]*$/;

function parseFrom({ flags, rest, comments }: Request): Parts<FromInstruction> {
  const [base, asKeyword, stageName, ...more] = splitBlanks(rest);
  if (base === undefined) {
    throw instructionError('FROM needs an image', { hint: 'write FROM IMAGE, or FROM scratch for none' });
  }
  if (
    asKeyword !== undefined &&
    (asKeyword.toLowerCase() !== 'as' || stageName === undefined || more.length > 0)
  ) {
    throw instructionError(`FROM takes an image and 'AS name', not '${shown(rest)}'`, {
      hint: 'write FROM IMAGE AS NAME',
      culprit: asKeyword,
    });
  }
  const name = stageName?.toLowerCase();
  if (name !== undefined && !STAGE_NAME.test(name)) {
    throw instructionError(`'${shown(stageName ?? '')}' cannot be the name of a stage`, {
      hint: 'a name begins with a letter, then come letters, digits, dashes, underscores and dots',
      culprit: stageName,
    });
  }
  return {
    kind: 'from',
    base,
    platform: flags.text('platform'),
    stageName,
    asKeyword,
    ...described(descriptions(comments).get(name ?? '')),
  };
}

function parseArg(request: Request): Parts<Instruction> {
  const words = quotedWords(request.rest, request.escape);
  if (words.length === 0) {
    throw instructionError('ARG needs a name', { hint: 'write ARG NAME or ARG NAME=DEFAULT' });
  }
  const texts = descriptions(request.comments);
  const args = words.map((word) => {
    const equals = word.indexOf('=');
    const name = equals < 0 ? word : word.slice(0, equals);
    if (name === '') {
      throw instructionError('the name of an ARG must not be empty', { culprit: word });
    }
    return {
      name,
      value: equals < 0 ? undefined : word.slice(equals + 1),
      ...described(texts.get(name)),
    };
  });
  return { kind: 'arg', args };
}

const NETWORKS = ['default', 'none', 'host'];
const SECURITY = ['sandbox', 'insecure'];

function parseRun(request: Request): Parts<Instruction> {
  const { flags, heredocs } = request;
  const mounts = flags.list('mount');
  for (const mount of mounts) {
    checkRunMount(mount);
  }
  return {
    kind: 'run',
    command: commandLine(request, 'RUN needs a command'),
    heredocs,
    mounts,
    network: oneOf('network', flags.text('network'), NETWORKS),
    security: oneOf('security', flags.text('security'), SECURITY),
    devices: flags.list('device'),
  };
}

function oneOf(flag: string, value: string | undefined, known: readonly string[]): string | undefined {
  if (value !== undefined && !known.includes(value)) {
    const near = nearName(value, known);
    throw flagError(`the flag --${flag} must be ${known.join(', ')}, not '${shown(value)}'`, {
      hint: near === undefined ? undefined : `did you mean ${near}?`,
      culprit: value,
    });
  }
  return value;
}

/** @param complaint - Where an empty array makes no sense. */
function commandLine({ name, rest, json }: Request, complaint?: string): CommandLine {
  if (json !== undefined && (json.length > 0 || complaint === undefined)) {
    return { form: 'exec', argv: json };
  }
  if (rest === '' || json !== undefined) {
    throw instructionError(complaint ?? `${name} needs a command`, {
      hint: complaint === undefined ? `write ${name} [] to clear what the base image has` : undefined,
    });
  }
  return { form: 'shell', text: rest };
}

function parseCopy(request: Request): Parts<Instruction> {
  const { flags } = request;
  return {
    kind: 'copy',
    ...copyParts(request),
    from: flags.text('from'),
    parents: flags.boolean('parents') ?? false,
  };
}

function parseAdd(request: Request): Parts<Instruction> {
  const { flags } = request;
  return {
    kind: 'add',
    ...copyParts(request),
    checksum: flags.text('checksum'),
    keepGitDir: flags.boolean('keep-git-dir'),
    unpack: flags.boolean('unpack'),
  };
}

function copyParts(request: Request) {
  const { name, flags, json, heredocs } = request;
  const words = json ?? (heredocs.length > 0 ? splitAtHeredocs(request.rest) : splitBlanks(request.rest));
  const destination = words.at(-1);
  if (destination === undefined || words.length < 2) {
    throw instructionError(`${name} needs at least one source and a destination`, {
      hint: `write ${name} SOURCE… DESTINATION`,
    });
  }
  if (json === undefined && parseHeredocWord(destination) !== undefined) {
    throw instructionError(`a heredoc cannot be the destination of ${name}`, {
      hint: `write the destination last: ${name} ${destination} /path`,
      culprit: destination,
    });
  }
  return {
    sources: json?.slice(0, -1) ?? plainSources(request, words.slice(0, -1)),
    heredocs,
    destination,
    chown: flags.text('chown'),
    chmod: flags.text('chmod'),
    link: flags.boolean('link') ?? false,
    exclude: flags.list('exclude'),
  };
}

function plainSources({ name, heredocs }: Request, words: readonly string[]): readonly string[] {
  let taken = 0;
  const plain = words.filter((word) => {
    const opening = parseHeredocWord(word);
    if (opening === undefined) {
      return true;
    }
    if (heredocs[taken]?.name !== opening.name) {
      throw instructionError(`the heredoc ${word} of ${name} is not understood`, {
        hint: 'quotes somewhere in the line have no partner',
        culprit: word,
      });
    }
    taken += 1;
    return false;
  });
  const lost = heredocs[taken];
  if (lost !== undefined) {
    // White space that ends a word of a shell and no source, such as a no-break space.
    throw instructionError(`the heredoc '${lost.name}' of ${name} is part of another word`, {
      hint: 'put a plain space before it',
      culprit: '<<',
    });
  }
  return plain;
}

function keyValues({ name, rest, escape: escapeCharacter }: Request): readonly KeyValue[] {
  const words = quotedWords(rest, escapeCharacter);
  const [first] = words;
  if (first === undefined) {
    throw instructionError(`${name} needs a name and a value`, { hint: `write ${name} NAME=VALUE` });
  }
  if (!first.includes('=')) {
    const [key, value] = cutWord(rest);
    if (value === undefined) {
      throw instructionError(`${name} ${shown(key)} has no value`, {
        hint: `write ${name} ${shown(key)}=VALUE`,
        culprit: key,
      });
    }
    return [{ key, value, legacy: true }];
  }
  return words.map((word) => {
    const equals = word.indexOf('=');
    if (equals <= 0) {
      throw instructionError(
        equals === 0
          ? `a name of ${name} must not be empty`
          : `'=' is expected in '${shown(word)}' of ${name}`,
        { hint: `write ${name} NAME=VALUE; put quotes around a value with blanks`, culprit: word },
      );
    }
    return { key: word.slice(0, equals), value: word.slice(equals + 1), legacy: false };
  });
}

function oneArgument({ name, rest }: Request): string {
  if (rest === '') {
    throw instructionError(`${name} needs a value`);
  }
  return rest;
}

function parseHealthcheck(request: Request): Parts<Instruction> {
  const { flags } = request;
  const [type = '', rest = ''] = cutAtSpace(request.rest);
  const times = {
    intervalNs: duration(flags, 'interval'),
    timeoutNs: duration(flags, 'timeout'),
    startPeriodNs: duration(flags, 'start-period'),
    startIntervalNs: duration(flags, 'start-interval'),
    retries: retries(flags),
  };
  switch (type.toUpperCase()) {
    case 'NONE':
      if (rest !== '') {
        throw instructionError('HEALTHCHECK NONE takes nothing more', { culprit: rest });
      }
      return { kind: 'healthcheck', command: undefined, ...times };
    case 'CMD':
      return {
        kind: 'healthcheck',
        command: commandLine(
          { ...request, rest, json: jsonStrings(rest) },
          'HEALTHCHECK CMD needs a command',
        ),
        ...times,
      };
    default:
      throw instructionError(
        type === '' ? 'HEALTHCHECK needs CMD or NONE' : `HEALTHCHECK takes CMD or NONE, not '${shown(type)}'`,
        { hint: 'write HEALTHCHECK CMD COMMAND', culprit: type },
      );
  }
}

function cutAtSpace(text: string): [string, string] {
  const [first] = text.split(/\s/, 1);
  const word = first ?? '';
  return [word, trim(text.slice(word.length))];
}

const MILLISECOND = 1_000_000;

function duration(flags: Flags, flag: string): number | undefined {
  const text = flags.text(flag);
  if (text === undefined) {
    return undefined;
  }
  const nanoseconds = parseDuration(text);
  if (nanoseconds === undefined) {
    throw flagError(`the flag --${flag} must be a duration, not '${shown(text)}'`, {
      hint: 'write a number and a unit, such as 30s, 1m30s or 500ms',
      culprit: text,
    });
  }
  if (nanoseconds !== 0 && nanoseconds < MILLISECOND) {
    throw flagError(`the flag --${flag} must be 0 or at least 1ms, not '${shown(text)}'`, { culprit: text });
  }
  return nanoseconds;
}

const MOST_RETRIES = 2 ** 31 - 1;

function retries(flags: Flags): number | undefined {
  const text = flags.text('retries');
  if (text === undefined) {
    return undefined;
  }
  const count = /^[+]?\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(count <= MOST_RETRIES)) {
    throw flagError(`the flag --retries must be a number from 0 to ${MOST_RETRIES}, not '${shown(text)}'`, {
      culprit: text,
    });
  }
  return count;
}

function parseExpose({ rest }: Request): Parts<Instruction> {
  const ports = splitBlanks(rest);
  if (ports.length === 0) {
    throw instructionError('EXPOSE needs a port', { hint: 'write EXPOSE 80 or EXPOSE 53/udp' });
  }
  return { kind: 'expose', ports };
}

function parseVolume({ rest, json }: Request): Parts<Instruction> {
  const paths = (json ?? splitBlanks(rest)).map(trim);
  if (paths.length === 0) {
    throw instructionError('VOLUME needs a path', { hint: 'write VOLUME /path' });
  }
  if (paths.includes('')) {
    throw instructionError('a path of VOLUME must not be empty', { culprit: '""' });
  }
  return { kind: 'volume', paths };
}

function parseShell({ rest, json }: Request): Parts<Instruction> {
  if (json === undefined || json.length === 0) {
    throw instructionError(
      json === undefined && rest !== ''
        ? `SHELL takes a JSON array of strings, not '${shown(rest)}'`
        : 'SHELL needs a program',
      { hint: 'write SHELL ["/bin/sh", "-c"]', culprit: rest },
    );
  }
  return { kind: 'shell', argv: json };
}

/** These cannot wait for another build. */
const NEVER_KEPT = ['ONBUILD', 'FROM', 'MAINTAINER'];

function parseOnbuild({ rest, rawHeredocs }: Request): Parts<Instruction> {
  const [keyword] = cutWord(rest);
  if (keyword === '') {
    throw instructionError('ONBUILD needs an instruction', { hint: 'write ONBUILD RUN COMMAND' });
  }
  if (NEVER_KEPT.includes(keyword.toUpperCase())) {
    throw instructionError(`ONBUILD cannot keep ${keyword.toUpperCase()}`, { culprit: rest });
  }
  const bodies = rawHeredocs.map(({ name, body }) => `\n${body}${name}`);
  const expression = `${rest}${bodies.join('')}`;
  checkTrigger(rest, rawHeredocs);
  return { kind: 'onbuild', expression };
}

/** So that a mistake is found here and not in whatever is built on the image. The trigger has no directive of its own. */
function checkTrigger(rest: string, kept: Request['rawHeredocs']): void {
  const bodies = [...kept];
  parseInstruction(rest, { startLine: 1, endLine: 1 }, [], '\\', () => ({
    body: bodies.shift()?.body ?? '',
    endLine: 1,
  }));
}
