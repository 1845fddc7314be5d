/** Installs what a project of uv depends on, into a virtual environment of its own (A2.7 of the Image API). */
import { basename, join } from 'node:path';
import { absoluteLocalPath, type LocalPath, pathText } from '../../base/local-path.ts';
import {
  booleanOption,
  definitionError,
  knownOptions,
  type Options,
  optionsInPlace,
  stringArray,
} from './arguments.ts';
import { copyFileStep, fileInput } from './copy-file-step.ts';
import { copyUvStep, extraOptionsText, run } from './install-layers.ts';
import { type LayerDefinition, label } from './layer-definition.ts';
import { isUvWorkspace, readPyproject } from './pyproject.ts';
import { quoteLiteral } from './quote.ts';
import { recipeOf, STEP_OPTIONS, type StepOptions, stepOptions } from './step-options.ts';

export interface UvSyncOptions extends StepOptions {
  /** Dependency groups besides the default ones. Part of the key. @defaultValue none */
  readonly groups?: readonly string[];
  /** Optional dependencies. Part of the key. @defaultValue none */
  readonly extras?: readonly string[];
  /** Install exactly what `uv.lock` says. Without a lock file uv resolves when the step runs. Part of the key. @defaultValue true */
  readonly frozen?: boolean;
  /** Raw text for the command. Part of the key. */
  readonly extraOptions?: string;
  /** Part of the key. @defaultValue `latest` */
  readonly uvVersion?: string;
}

const OPTIONS = [...STEP_OPTIONS, 'groups', 'extras', 'frozen', 'extraOptions', 'uvVersion'];
const PROJECT = '/.uv';
const ENVIRONMENT_BIN = `${PROJECT}/.venv/bin`;

export function uvSync(projectDir: unknown, given: unknown): LayerDefinition {
  const method = 'uvSync';
  const call = optionsInPlace(projectDir, given);
  const options = knownOptions(method, call.given, OPTIONS);
  const directory = call.placed === undefined ? './' : call.placed;
  const words = [
    ...flagWords(method, options, 'groups', '--group'),
    ...flagWords(method, options, 'extras', '--extra'),
    extraOptionsText(method, options),
  ];
  const frozen = booleanOption(method, options, 'frozen', true);
  const copyUv = copyUvStep(method, options);
  const hostPath = absoluteLocalPath(method, 'projectDir', directory);
  const pyproject = fileInput(join(hostPath, 'pyproject.toml'), '/.pyproject.toml', {
    wantsText: true,
    mayBeMissing: true,
  });
  const lock = fileInput(join(hostPath, 'uv.lock'), '/.uv.lock', { mayBeMissing: true });
  return {
    method,
    label: label(method, [basename(hostPath)]),
    steps: [],
    deferred: {
      inputs: [pyproject, lock],
      resolve: async (facts) => {
        if (isUvWorkspace(await readPyproject(method, pyproject, facts(pyproject)))) {
          throw definitionError(
            'E_UV_WORKSPACE',
            `${method}(): '${pyproject.hostPath}' is the root of a workspace, whose other members do not travel with it`,
            'export the requirements with uv export, and install them with uvPipInstallFromRequirements()',
          );
        }
        const isLocked = facts(lock).form === 'file';
        const command = `${PROJECT}/uv sync --project=${PROJECT} --no-install-workspace --compile-bytecode`;
        return {
          steps: [
            copyUv,
            copyFileStep(pyproject, `${PROJECT}/pyproject.toml`),
            ...(isLocked ? [copyFileStep(lock, `${PROJECT}/uv.lock`)] : []),
            run([command, ...words, isLocked && frozen ? '--frozen' : ''], { lend: ['uv'] }),
            {
              kind: 'config',
              text: `ENV PATH=${ENVIRONMENT_BIN}:$PATH`,
              change: { kind: 'prepend-env', name: 'PATH', value: ENVIRONMENT_BIN },
            },
          ],
        };
      },
    },
    ...stepOptions(method, options),
    keyExtras: {},
    recipe: [pathText(directory as LocalPath), recipeOf(options)],
    diagnostics: [],
    requirements: [],
  };
}

function flagWords(method: string, options: Options, name: string, flag: string): string[] {
  return stringArray(method, name, options[name] ?? []).map((value) => `${flag}=${quoteLiteral(value)}`);
}
