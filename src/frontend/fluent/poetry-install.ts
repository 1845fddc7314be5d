/** Installs what a project of Poetry depends on, into the image's own Python (A2.8 of the Image API). */
import { basename, dirname, join } from 'node:path';
import { absoluteLocalPath, type LocalPath, pathText } from '../../base/local-path.ts';
import {
  booleanOption,
  definitionError,
  type Options,
  placedOrNamed,
  requiredString,
  stringArray,
} from './arguments.ts';
import { copyFileStep, fileInput } from './copy-file-step.ts';
import { run } from './install-layers.ts';
import { type LayerDefinition, label } from './layer-definition.ts';
import { quoteLiteral } from './quote.ts';
import { recipeOf, STEP_OPTIONS, type StepOptions, stepOptions } from './step-options.ts';

export interface PoetryOptions extends StepOptions {
  /** Instead of the second argument. Its content is part of the key. @defaultValue `poetry.lock` beside the pyproject.toml */
  readonly poetryLockFile?: LocalPath;
  /** Have Poetry resolve when the step runs, even if a lock file is named. @defaultValue false */
  readonly ignoreLockfile?: boolean;
  /** Dependency groups; all are part of the key. @defaultValue those that Poetry installs by itself */
  readonly with?: readonly string[];
  /** Groups that Poetry installs by itself, and that are left out. Part of the key. */
  readonly without?: readonly string[];
  /** Nothing but these groups. Part of the key. */
  readonly only?: readonly string[];
  /** Null: Poetry is in the image already. Part of the key. @defaultValue `latest` */
  readonly poetryVersion?: string | null;
  /** Set Poetry's `experimental.new-installer` to false. Part of the key. @defaultValue false */
  readonly oldInstaller?: boolean;
}

const OPTIONS = [
  ...STEP_OPTIONS,
  'ignoreLockfile',
  'with',
  'without',
  'only',
  'poetryVersion',
  'oldInstaller',
];
const PROJECT = '/tmp/poetry';

export function poetryInstallFromFile(
  pyprojectToml: unknown,
  poetryLockfile: unknown,
  given: unknown,
): LayerDefinition {
  const method = 'poetryInstallFromFile';
  const name = 'poetryLockFile';
  const { value, options } = placedOrNamed(method, name, poetryLockfile, given, OPTIONS);
  const hostPath = absoluteLocalPath(method, 'pyprojectToml', pyprojectToml);
  const lockPath =
    value === undefined ? join(dirname(hostPath), 'poetry.lock') : absoluteLocalPath(method, name, value);
  const pyproject = fileInput(hostPath, '/.pyproject.toml', { mayBeMissing: true });
  const locks = booleanOption(method, options, 'ignoreLockfile')
    ? []
    : [fileInput(lockPath, '/.poetry.lock', { mayBeMissing: true })];
  const lend = ['pip', 'poetry'] as const;
  const requirement = poetryRequirement(method, options.poetryVersion);
  const groups = (['with', 'without', 'only'] as const).flatMap((each) => groupWords(method, options, each));
  const steps = [
    ...(requirement === undefined ? [] : [run([`python -m pip install ${requirement}`], { lend: ['pip'] })]),
    ...(booleanOption(method, options, 'oldInstaller')
      ? [run(['poetry config experimental.new-installer false'], { lend })]
      : []),
    ...locks.map((lock) => copyFileStep(lock, `${PROJECT}/poetry.lock`)),
    copyFileStep(pyproject, `${PROJECT}/pyproject.toml`),
    run(
      [
        `cd ${PROJECT} && poetry config virtualenvs.create false && poetry install --no-root`,
        ...groups,
        '--compile',
      ],
      { lend },
    ),
  ];
  return {
    method,
    label: label(method, [basename(hostPath)]),
    steps: [],
    deferred: {
      inputs: [pyproject, ...locks],
      resolve: (facts) => {
        if (facts(pyproject).form === 'missing') {
          throw definitionError('E_PYPROJECT_MISSING', `${method}(): there is no '${hostPath}'`);
        }
        if (locks.some((lock) => facts(lock).form === 'missing')) {
          throw definitionError(
            'E_POETRY_LOCK_MISSING',
            `${method}(): there is no '${lockPath}'`,
            'name the lock file, make one with poetry lock, or pass ignoreLockfile: true',
          );
        }
        return { steps };
      },
    },
    ...stepOptions(method, options),
    keyExtras: {},
    recipe: [
      pathText(pyprojectToml as LocalPath),
      value === undefined ? null : pathText(value as LocalPath),
      recipeOf(options),
    ],
    diagnostics: [],
    requirements: [],
  };
}

/** Undefined when the image has Poetry. */
function poetryRequirement(method: string, given: unknown): string | undefined {
  if (given === null) {
    return undefined;
  }
  const version = given === undefined ? 'latest' : requiredString(method, 'poetryVersion', given);
  if (!/^[A-Za-z0-9][A-Za-z0-9.+!_-]*$/.test(version)) {
    throw definitionError(
      'E_ARG_TYPE',
      `${method}(): 'poetryVersion' is not a version: '${version.slice(0, 40)}'`,
    );
  }
  return version === 'latest' ? 'poetry' : `poetry==${version}`;
}

function groupWords(method: string, options: Options, name: 'with' | 'without' | 'only'): string[] {
  const groups = stringArray(method, name, options[name] ?? []);
  return groups.length === 0 ? [] : [`--${name} ${quoteLiteral(groups.join(','))}`];
}
