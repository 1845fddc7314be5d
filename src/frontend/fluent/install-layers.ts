/** Definitions of the layers that install packages by name or requirement file (A2.1, A2.2, A2.5, A2.6, A2.10, A2.11). */
import { basename } from 'node:path';
import { absoluteLocalPath, type LocalPath, pathText } from '../../base/local-path.ts';
import type { ToolSupport } from '../../graph/action.ts';
import {
  booleanOption,
  definitionError,
  flattenStrings,
  knownOptions,
  type Options,
  splitOptions,
  stringOption,
} from './arguments.ts';
import { copyFileStep, fileInput } from './copy-file-step.ts';
import {
  type CopyToolStep,
  type DeferredSteps,
  type LayerDefinition,
  label,
  type RunStep,
  type Step,
} from './layer-definition.ts';
import type { LocalInput } from './local-input.ts';
import { quoteExpanding, variablesIn } from './quote.ts';
import { classifyRequirements, nestedRequirementLines } from './requirement-tokens.ts';
import { recipeOf, STEP_OPTIONS, type StepOptions, stepOptions } from './step-options.ts';

export interface PipOptions extends StepOptions {
  /** A page or directory with archives to look in. Part of the key; the step's shell expands a `${NAME}` in it. */
  readonly findLinks?: string;
  /** Instead of PyPI. Part of the key; the step's shell expands a `${NAME}` in it. @defaultValue pip's own */
  readonly indexUrl?: string;
  /** Besides that. Part of the key; the step's shell expands a `${NAME}` in it. */
  readonly extraIndexUrl?: string;
  /** Accept versions that are not final. @defaultValue false */
  readonly pre?: boolean;
  /** Raw text, put last. */
  readonly extraOptions?: string;
}

export interface UvPipOptions extends PipOptions {
  /** Requirement files of this machine. */
  readonly requirements?: readonly LocalPath[];
  /** @defaultValue `latest` */
  readonly uvVersion?: string;
}

export interface AptInstallOptions extends StepOptions {
  /** Remove apt's package lists afterwards. @defaultValue false */
  readonly cleanup?: boolean;
}

export interface AptRemoveOptions extends StepOptions {
  /** Remove configuration files too. @defaultValue false */
  readonly purge?: boolean;
  /** Remove what nothing needs any more. @defaultValue true */
  readonly autoremove?: boolean;
}

export const PIP_OPTIONS = [...STEP_OPTIONS, 'findLinks', 'indexUrl', 'extraIndexUrl', 'pre', 'extraOptions'];
const UV_OPTIONS = [...PIP_OPTIONS, 'requirements', 'uvVersion'];

/** Undefined when the call adds nothing. */
export function pipInstall(args: readonly unknown[]): LayerDefinition | undefined {
  const method = 'pipInstall';
  const { values, options } = splitOptions(args);
  const tokens = flattenStrings(method, values);
  knownOptions(method, options, PIP_OPTIONS);
  const flags = pipFlags(method, options, ['--pre']);
  const common = stepOptions(method, options);
  if (tokens.length === 0) {
    return undefined;
  }
  const { requirements, inlineOptions } = classifyRequirements(method, tokens);
  const words = [...requirements, ...inlineOptions];
  return {
    method,
    label: label(method, words),
    steps: [
      run(['python -m pip install', ...words.map(quoteExpanding), ...flags.words], {
        lend: ['pip'],
        expanded: [...words, ...flags.expanded],
      }),
    ],
    ...common,
    keyExtras: {},
    recipe: [tokens, recipeOf(options)],
    diagnostics: [],
    requirements,
  };
}

export function pipInstallFromRequirements(requirementsTxt: unknown, given: unknown): LayerDefinition {
  const method = 'pipInstallFromRequirements';
  const options = knownOptions(method, given, PIP_OPTIONS);
  const flags = pipFlags(method, options, ['--pre']);
  const file = '/.requirements.txt';
  const input = requirementsInput(method, 'requirementsTxt', requirementsTxt, file);
  return {
    method,
    label: label(method, []),
    ...checkingRequirements(
      [input],
      [
        copyFileStep(input, file),
        run([`python -m pip install -r ${file}`, ...flags.words], {
          lend: ['pip'],
          expanded: flags.expanded,
        }),
      ],
    ),
    ...stepOptions(method, options),
    keyExtras: {},
    recipe: [pathText(requirementsTxt as LocalPath), recipeOf(options)],
    diagnostics: [],
    requirements: [],
  };
}

/** Undefined when the call adds nothing. */
export function uvPipInstall(args: readonly unknown[], method = 'uvPipInstall'): LayerDefinition | undefined {
  const { values, options } = splitOptions(args);
  const tokens = flattenStrings(method, values);
  knownOptions(method, options, UV_OPTIONS);
  const flags = pipFlags(method, options, ['--prerelease', 'allow']);
  const common = stepOptions(method, options);
  const files = options.requirements ?? [];
  if (!Array.isArray(files)) {
    throw definitionError('E_ARG_TYPE', `${method}(): 'requirements' must be an array of paths`);
  }
  const copyUv = copyUvStep(method, options);
  const copies = files.map((file: unknown, index) => {
    const name = basename(absoluteLocalPath(method, 'requirements', file));
    const input = requirementsInput(method, 'requirements', file, `/.${index}_${name}`);
    return copyFileStep(input, `/.uv/${index}/${name}`);
  });
  if (tokens.length === 0 && copies.length === 0) {
    return undefined;
  }
  const { requirements, inlineOptions } = classifyRequirements(method, tokens);
  const words = [...inlineOptions, ...requirements];
  const steps: Step[] = [
    copyUv,
    ...copies,
    run(
      [
        '/.uv/uv pip install --python $(command -v python) --compile-bytecode',
        ...flags.words,
        ...copies.map((copy) => `--requirements ${quoteExpanding(copy.fileDestination)}`),
        ...words.map(quoteExpanding),
      ],
      { lend: ['uv'], expanded: [...words, ...flags.expanded] },
    ),
  ];
  return {
    method,
    label: label(method, [...files.map((file) => basename(String(file))), ...words]),
    ...checkingRequirements(
      copies.map(({ input }) => input),
      steps,
    ),
    ...common,
    keyExtras: {},
    recipe: [tokens, recipeOf(options)],
    diagnostics: [],
    requirements,
  };
}

export function uvPipInstallFromRequirements(
  requirementsTxt: unknown,
  given: unknown,
): LayerDefinition | undefined {
  const method = 'uvPipInstallFromRequirements';
  const options = knownOptions(
    method,
    given,
    UV_OPTIONS.filter((name) => name !== 'requirements'),
  );
  const requirements = Array.isArray(requirementsTxt) ? requirementsTxt : [requirementsTxt];
  return uvPipInstall([{ ...options, requirements }], method);
}

/** Undefined when the call adds nothing. */
export function aptInstall(args: readonly unknown[]): LayerDefinition | undefined {
  const method = 'aptInstall';
  const { values, options } = splitOptions(args);
  const tokens = flattenStrings(method, values);
  knownOptions(method, options, [...STEP_OPTIONS, 'cleanup']);
  const cleanup = booleanOption(method, options, 'cleanup');
  const common = stepOptions(method, options);
  if (tokens.length === 0) {
    return undefined;
  }
  const steps = [
    run(['apt-get update'], { lend: ['apt'] }),
    run(['apt-get install -y', ...tokens.map(quoteExpanding)], { lend: ['apt'], expanded: tokens }),
  ];
  if (cleanup) {
    steps.push(run(['rm -rf /var/lib/apt/lists/*'], { lend: [] }));
  }
  return {
    method,
    label: label(method, tokens),
    steps,
    ...common,
    keyExtras: {},
    recipe: [tokens, recipeOf(options)],
    // A package with a minus behind it is removed, and then `--purge` means something.
    diagnostics:
      tokens.includes('--purge') && !tokens.some((token) => /^[^-].*-$/.test(token))
        ? [
            {
              code: 'W_APT_PURGE',
              message:
                "aptInstall('--purge', …) removes nothing: to apt, --purge only says how removals are done; " +
                "use aptRemove(), or apt's suffix, as in aptInstall('--purge', 'cmake-')",
            },
          ]
        : [],
    requirements: [],
  };
}

/** Undefined when the call adds nothing. */
export function aptRemove(args: readonly unknown[]): LayerDefinition | undefined {
  const method = 'aptRemove';
  const { values, options } = splitOptions(args);
  const tokens = flattenStrings(method, values);
  knownOptions(method, options, [...STEP_OPTIONS, 'purge', 'autoremove']);
  const purge = booleanOption(method, options, 'purge');
  const autoremove = booleanOption(method, options, 'autoremove', true);
  const common = stepOptions(method, options);
  if (tokens.length === 0) {
    return undefined;
  }
  const steps = [
    run(['apt-get remove -y', ...(purge ? ['--purge'] : []), ...tokens.map(quoteExpanding)], {
      lend: ['apt'],
      expanded: tokens,
    }),
  ];
  if (autoremove) {
    steps.push(run(['apt-get autoremove -y'], { lend: ['apt'] }));
  }
  return {
    method,
    label: label(method, tokens),
    steps,
    ...common,
    keyExtras: {},
    recipe: [tokens, recipeOf(options)],
    diagnostics: [],
    requirements: [],
  };
}

/** @throws {DefinitionError} `E_ARG_TYPE` for what cannot be a tag of uv's image. */
export function copyUvStep(method: string, options: Options): CopyToolStep {
  const version = stringOption(method, options, 'uvVersion') ?? 'latest';
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(version)) {
    throw definitionError(
      'E_ARG_TYPE',
      `${method}(): 'uvVersion' is not a version: '${version.slice(0, 40)}'`,
    );
  }
  return {
    kind: 'copy-tool',
    text: `COPY --from=ghcr.io/astral-sh/uv:${version} /uv /.uv/uv`,
    tool: 'uv',
    version,
    source: '/uv',
    destination: '/.uv/uv',
  };
}

/** A `RUN` line of one's own making; parts that are empty leave no blank behind. */
export function run(
  parts: readonly string[],
  { lend, expanded = [] }: { lend: readonly ToolSupport[]; expanded?: readonly string[] },
): RunStep {
  return {
    kind: 'run',
    text: parts.filter((part) => part !== '').join(' '),
    form: 'shell',
    argv: [],
    lend,
    variables: [...new Set(expanded.flatMap(variablesIn))],
  };
}

/** Flags in the order of A2.1; the value of an option may hold `${NAME}`, `extraOptions` is not looked into. */
export function pipFlags(method: string, options: Options, pre: readonly string[]) {
  const words: string[] = [];
  const expanded: string[] = [];
  for (const [flag, name] of [
    ['--find-links', 'findLinks'],
    ['--index-url', 'indexUrl'],
    ['--extra-index-url', 'extraIndexUrl'],
  ] as const) {
    const value = stringOption(method, options, name);
    if (value !== undefined) {
      words.push(flag, quoteExpanding(value));
      expanded.push(value);
    }
  }
  if (booleanOption(method, options, 'pre')) {
    words.push(...pre);
  }
  words.push(extraOptionsText(method, options));
  return { words, expanded };
}

/** Raw text for the command; nothing if there is none. */
export function extraOptionsText(method: string, options: Options): string {
  return (stringOption(method, options, 'extraOptions') ?? '').trim();
}

function requirementsInput(method: string, name: string, path: unknown, contextPath: string): LocalInput {
  return fileInput(absoluteLocalPath(method, name, path), contextPath, { wantsText: true });
}

/** Steps that copy requirement files and install from them; such a file must not name other local files, for only it travels. */
function checkingRequirements(
  inputs: readonly LocalInput[],
  steps: readonly Step[],
): Pick<LayerDefinition, 'steps' | 'deferred'> {
  const resolve: DeferredSteps['resolve'] = (facts) => {
    for (const input of inputs) {
      const nested = nestedRequirementLines(facts(input).text ?? '');
      if (nested.length > 0) {
        throw definitionError(
          'E_REQUIREMENTS_NESTED',
          `'${input.hostPath}' names other local files, which do not travel with it: ${nested.slice(0, 5).join('; ')}`,
          'copy the files with copyLocalDir() and install with runCommands()',
        );
      }
    }
    return { steps };
  };
  return inputs.length === 0 ? { steps } : { steps: [], deferred: { inputs, resolve } };
}
