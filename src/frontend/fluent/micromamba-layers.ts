/** Conda's packages by micromamba: the base that has it, and the layers that install with it (A1.3, A2.12 of the Image API). */
import { basename } from 'node:path';
import { absoluteLocalPath, type LocalPath, pathText } from '../../base/local-path.ts';
import { flattenStrings, knownOptions, splitOptions, stringArray } from './arguments.ts';
import { baseLayer, FACTORY_OPTIONS, type FactoryOptions } from './base-definitions.ts';
import { copyFileStep, fileInput } from './copy-file-step.ts';
import { run } from './install-layers.ts';
import { type CopyLocalStep, type LayerDefinition, label, type Step } from './layer-definition.ts';
import { parsePythonVersion } from './python-version.ts';
import { quoteExpanding, quoteLiteral } from './quote.ts';
import { recipeOf, STEP_OPTIONS, type StepOptions, stepOptions } from './step-options.ts';

export interface MicromambaOptions extends FactoryOptions {
  /** A series or an exact version. Part of the key. @defaultValue TSBUILD_PYTHON_VERSION, the host's series, or 3.12 */
  readonly pythonVersion?: string;
}

export interface MicromambaInstallOptions extends StepOptions {
  /** In the order of their priority. Part of the key. @defaultValue those that micromamba is configured with */
  readonly channels?: readonly string[];
  /** A specification of packages of this machine, such as an `environment.yml`. Its content is part of the key. */
  readonly specFile?: LocalPath;
}

export function micromamba(given: unknown): LayerDefinition {
  const method = 'micromamba';
  const options = knownOptions(method, given, [...FACTORY_OPTIONS, 'pythonVersion']);
  const pythonVersion = parsePythonVersion(`${method}()`, options.pythonVersion);
  return baseLayer(method, options, [], {
    kind: 'micromamba',
    ...(pythonVersion === undefined ? {} : { pythonVersion }),
  });
}

/** What follows the FROM line: the environment is active in every later step, which runs as root (E13). */
export function micromambaSteps(pythonVersion: string): readonly Step[] {
  const shell = '/usr/local/bin/_dockerfile_shell.sh';
  return [
    { kind: 'config', text: 'USER root', change: { kind: 'user', user: 'root' } },
    { kind: 'config', text: `SHELL ["${shell}"]`, change: { kind: 'shell', argv: [shell] } },
    {
      kind: 'config',
      text: 'ENV MAMBA_DOCKERFILE_ACTIVATE=1',
      change: { kind: 'env', name: 'MAMBA_DOCKERFILE_ACTIVATE', value: '1' },
    },
    run([`micromamba install -n base -y python=${pythonVersion} pip -c conda-forge`], { lend: [] }),
  ];
}

/** Undefined when the call adds nothing. */
export function micromambaInstall(args: readonly unknown[]): LayerDefinition | undefined {
  const method = 'micromambaInstall';
  const { values, options } = splitOptions(args);
  const packages = flattenStrings(method, values);
  knownOptions(method, options, [...STEP_OPTIONS, 'channels', 'specFile']);
  const channels = options.channels === undefined ? [] : stringArray(method, 'channels', options.channels);
  const spec = options.specFile === undefined ? undefined : copySpec(method, options.specFile);
  const common = stepOptions(method, options);
  if (packages.length === 0 && spec === undefined) {
    return undefined;
  }
  const install = run(
    [
      'micromamba install',
      ...packages.map(quoteExpanding),
      ...(spec === undefined ? [] : [`-f ${quoteLiteral(spec.fileDestination)} -n base`]),
      ...channels.map((channel) => `-c ${quoteExpanding(channel)}`),
      '--yes',
    ],
    { lend: [], expanded: [...packages, ...channels] },
  );
  const hintIfMissing = 'the image has no micromamba: start from Image.micromamba()';
  return {
    method,
    label: label(method, [...(spec === undefined ? [] : [spec.fileDestination.slice(1)]), ...packages]),
    steps: [...(spec === undefined ? [] : [spec]), { ...install, hintIfMissing }],
    ...common,
    keyExtras: {},
    recipe: [
      packages,
      recipeOf({
        ...options,
        ...(options.specFile === undefined ? {} : { specFile: pathText(options.specFile as LocalPath) }),
      }),
    ],
    diagnostics: [],
    requirements: [],
  };
}

function copySpec(method: string, path: unknown): CopyLocalStep {
  const hostPath = absoluteLocalPath(method, 'specFile', path);
  const place = `/${basename(hostPath)}`;
  return copyFileStep(fileInput(hostPath, place), place);
}
