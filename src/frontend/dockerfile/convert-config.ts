/** Instructions that change the configuration, the variables or the author, and make no layer. */
import { nearName } from '../../base/near-name.ts';
import { CHECKS } from './check-rules.ts';
import type { Conversion } from './conversion.ts';
import { instructionError } from './definition-place.ts';
import { exposedPorts } from './expose-ports.ts';
import { goDuration, goList, goQuote } from './go-text.ts';
import type {
  ArgInstruction,
  CmdInstruction,
  CommandLine,
  EntrypointInstruction,
  EnvInstruction,
  HealthcheckInstruction,
  KeyValue,
  LabelInstruction,
  StageInstruction,
} from './instruction.ts';
import { looksSecret } from './secret-names.ts';
import type { StageState } from './stage-state.ts';
import type { StageWords } from './stage-words.ts';
import { isSignal, SIGNAL_NAMES } from './stop-signal.ts';

export function convertConfig(
  conversion: Conversion,
  state: StageState,
  instruction: Exclude<StageInstruction, { kind: 'run' | 'copy' | 'add' | 'workdir' }>,
  words: StageWords,
): void {
  const { config } = state;
  switch (instruction.kind) {
    case 'arg':
      convertArg(conversion, state, instruction, words);
      return;
    case 'env':
      convertEnv(state, instruction, words);
      return;
    case 'label':
      convertLabel(state, instruction, words);
      return;
    case 'maintainer':
      state.author = instruction.author;
      state.addHistory(`MAINTAINER ${instruction.author}`, false);
      return;
    case 'user': {
      const user = words.expand(instruction.user);
      config.User = user;
      state.addHistory(`USER ${user}`, false);
      return;
    }
    case 'cmd':
    case 'entrypoint':
      convertCommand(state, instruction, words, conversion);
      return;
    case 'healthcheck':
      convertHealthcheck(state, instruction, conversion);
      return;
    case 'expose': {
      // In the order of the words as written: history shows it.
      const ports = instruction.ports.toSorted().flatMap((port) => words.expandToWords(port));
      const exposed = ports.flatMap((port) => exposedPorts(port, words));
      config.ExposedPorts = { ...config.ExposedPorts, ...asSet(exposed) };
      state.addHistory(`EXPOSE ${goList(exposed)}`, false);
      return;
    }
    case 'volume': {
      const paths = instruction.paths.map((path) => words.expand(path));
      if (paths.includes('')) {
        throw instructionError('a path of VOLUME is empty');
      }
      config.Volumes = { ...config.Volumes, ...asSet(paths) };
      state.addHistory(`VOLUME ${goList(paths)}`, false);
      return;
    }
    case 'stopsignal': {
      const signal = words.expand(instruction.signal);
      if (!isSignal(signal)) {
        const near = nearName(signal.toUpperCase(), SIGNAL_NAMES);
        throw instructionError(`'${signal}' is no signal`, {
          culprit: instruction.signal,
          hint: near === undefined ? 'a number, or a name such as SIGTERM' : `did you mean '${near}'?`,
        });
      }
      config.StopSignal = signal;
      state.addHistory(`STOPSIGNAL ${signal}`, false);
      return;
    }
    case 'shell':
      config.Shell = instruction.argv;
      state.addHistory(`SHELL ${goList(instruction.argv)}`, false);
      return;
    case 'onbuild':
      config.OnBuild = [...((config.OnBuild as readonly string[] | undefined) ?? []), instruction.expression];
      return;
  }
}

/** Source: reference of the Dockerfile, "ARG", "Scope". */
function convertArg(
  { request, globalArgs, outline, sourceDateEpoch }: Conversion,
  state: StageState,
  instruction: ArgInstruction,
  words: StageWords,
): void {
  const shown: string[] = [];
  for (const { name, value: fallback, description } of instruction.args) {
    reportSecret('ARG', name, words);
    // What the caller calls it by, `context` or a stage, was looked up; without a time it is not set.
    const given = name === 'SOURCE_DATE_EPOCH' ? sourceDateEpoch?.toString() : request.buildArgs[name];
    // A default is not even evaluated where the caller gives a value.
    // Unlike elsewhere, what stands before it in the same instruction counts.
    const value = given ?? (fallback === undefined ? globalArgs.get(name) : words.expandNow(fallback));
    if (value !== undefined) {
      state.setVariable(name, value);
    }
    state.args.push([name, value]);
    const inherited = given === undefined && fallback === undefined && globalArgs.has(name);
    outline.use(state.node, name);
    if (!inherited) {
      const { location } = instruction;
      outline.declareIn(state.node, { name, value, location, description, uses: [] });
    }
    shown.push(value === undefined ? name : `${name}=${value}`);
  }
  state.addHistory(`ARG ${shown.join(' ')}`, false);
}

function convertEnv(state: StageState, { pairs }: EnvInstruction, words: StageWords): void {
  const expanded = pairs.map((pair) => expandPair(pair, words, 'ENV'));
  for (const { key } of expanded) {
    reportSecret('ENV', key, words);
  }
  const lines = [...(state.config.Env ?? [])];
  for (const { key, value } of expanded) {
    const at = lines.findIndex((line) => line === key || line.startsWith(`${key}=`));
    lines[at < 0 ? lines.length : at] = `${key}=${value}`;
    state.setVariable(key, value);
  }
  state.config.Env = lines;
  state.addHistory(['ENV', ...expanded.map(({ key, value }) => `${key}=${value}`)].join(' '), false);
}

function convertLabel(state: StageState, { pairs }: LabelInstruction, words: StageWords): void {
  const expanded = pairs.map((pair) => expandPair(pair, words, 'LABEL'));
  state.config.Labels = {
    ...state.config.Labels,
    ...Object.fromEntries(expanded.map(({ key, value }) => [key, value])),
  };
  state.addHistory(['LABEL', ...expanded.map(({ key, value }) => `${key}=${value}`)].join(' '), false);
}

function expandPair(
  { key, value, legacy }: KeyValue,
  words: StageWords,
  keyword: string,
): { readonly key: string; readonly value: string } {
  if (legacy) {
    words.finding('LegacyKeyValueFormat', CHECKS.LegacyKeyValueFormat.message(keyword));
  }
  return { key: words.expand(key), value: words.expand(value) };
}

function convertCommand(
  state: StageState,
  instruction: CmdInstruction | EntrypointInstruction,
  words: StageWords,
  conversion: Conversion,
): void {
  const keyword = instruction.kind.toUpperCase();
  reportRepeated(state, instruction, conversion);
  if (instruction.command.form === 'shell' && (state.config.Shell ?? []).length === 0) {
    words.finding('JSONArgsRecommended', CHECKS.JSONArgsRecommended.message(keyword));
  }
  const argv = argvOf(instruction.command, state);
  if (instruction.kind === 'cmd') {
    state.config.Cmd = argv;
    state.config.ArgsEscaped = true;
  } else {
    state.config.Entrypoint = argv;
    // What the base left is cleared; a CMD of this stage stays, before or after.
    if (!state.lastOf.has('cmd')) {
      delete state.config.Cmd;
    }
  }
  state.lastOf.set(instruction.kind, instruction);
  state.addHistory(`${keyword} [${argv.map(goQuote).join(' ')}]`, false);
}

function convertHealthcheck(
  state: StageState,
  instruction: HealthcheckInstruction,
  conversion: Conversion,
): void {
  reportRepeated(state, instruction, conversion);
  state.lastOf.set('healthcheck', instruction);
  const { command, intervalNs, timeoutNs, startPeriodNs, startIntervalNs, retries } = instruction;
  const test =
    command === undefined
      ? ['NONE']
      : command.form === 'exec'
        ? ['CMD', ...command.argv]
        : ['CMD-SHELL', command.text];
  state.config.Healthcheck = {
    Test: test,
    ...given('Interval', intervalNs),
    ...given('Timeout', timeoutNs),
    ...given('StartPeriod', startPeriodNs),
    ...given('StartInterval', startIntervalNs),
    ...given('Retries', retries),
  };
  const durations = [
    `Test:${goList(test)}`,
    `Interval:${goDuration(intervalNs)}`,
    `Timeout:${goDuration(timeoutNs)}`,
    `StartPeriod:${goDuration(startPeriodNs)}`,
    `StartInterval:${goDuration(startIntervalNs)}`,
    `Retries:${retries ?? 0}`,
  ];
  state.addHistory(`HEALTHCHECK {${durations.join(' ')}}`, false);
}

/** What an engine is to use its own default for is not said. */
function given(name: string, value: number | undefined): Record<string, number> {
  return value === undefined || value === 0 ? {} : { [name]: value };
}

export function argvOf(command: CommandLine, state: StageState): readonly string[] {
  return command.form === 'exec' ? command.argv : [...state.shell, command.text];
}

function reportRepeated(
  state: StageState,
  instruction: CmdInstruction | EntrypointInstruction | HealthcheckInstruction,
  { report }: Conversion,
): void {
  const before = state.lastOf.get(instruction.kind);
  if (before !== undefined) {
    report.add(
      {
        rule: 'MultipleInstructionsDisallowed',
        message: CHECKS.MultipleInstructionsDisallowed.message(instruction.kind.toUpperCase()),
        // The earlier one is the one without effect; the comment may stand above either.
        location: before.location,
      },
      [...before.skipChecks, ...instruction.skipChecks],
    );
  }
}

function reportSecret(keyword: string, name: string, words: StageWords): void {
  if (looksSecret(name)) {
    words.finding('SecretsUsedInArgOrEnv', CHECKS.SecretsUsedInArgOrEnv.message(keyword, name));
  }
}

function asSet(names: readonly string[]): Record<string, Record<string, never>> {
  return Object.fromEntries(names.map((name) => [name, {}]));
}
