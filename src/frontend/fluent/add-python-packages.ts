/** Installs Python packages that lie on this machine: wheels, source archives, projects, plain packages (A2.9 of the Image API). */

import { basename } from 'node:path';
import { lazily } from '../../base/lazily.ts';
import { absoluteLocalPath, type LocalPath, pathText } from '../../base/local-path.ts';
import { describeFilter, type IgnoreSpec, inputFilter } from '../../patterns/ignore-spec.ts';
import { definitionError, describe, knownOptions, splitOptions } from './arguments.ts';
import { extraOptionsText, run } from './install-layers.ts';
import { type LayerDefinition, label, type RunStep } from './layer-definition.ts';
import type { LocalInput, ScannedFiles } from './local-input.ts';
import { quoteLiteral } from './quote.ts';
import { recipeOf, STEP_OPTIONS, type StepOptions, stepOptions } from './step-options.ts';

export interface AddPythonPackagesOptions extends StepOptions {
  /** Raw text for pip, put last. Part of the key. */
  readonly extraOptions?: string;
  /**
   * What is left out of directories, as `dockerignore` patterns. What is selected is part of the key, the patterns are not.
   * @defaultValue caches of Python, `.git`, `.venv` and `node_modules`, wherever they are
   */
  readonly ignore?: IgnoreSpec;
}

/** Where the files are while the step runs. */
const PLACE = '/.pkgs';
const IGNORED = ['**/__pycache__', '**/*.pyc', '**/.git', '**/.venv', '**/node_modules'];
const BUILD_METADATA = ['pyproject.toml', 'setup.py', 'setup.cfg'];
const ARCHIVE = /\.(whl|tar\.gz|zip)$/;
/** What can stand after `import`. */
const IDENTIFIER = lazily(() => /^[\p{L}_][\p{L}\p{N}_]*$/u);
const PURELIB = `python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'`;

/** Undefined when the call adds nothing. */
export function addPythonPackages(args: readonly unknown[]): LayerDefinition | undefined {
  const method = 'addPythonPackages';
  const { values, options } = splitOptions(args);
  knownOptions(method, options, [...STEP_OPTIONS, 'extraOptions', 'ignore']);
  const extraOptions = extraOptionsText(method, options);
  const filter = inputFilter(method, options.ignore ?? IGNORED, 'dockerignore');
  const common = stepOptions(method, options);
  const paths = localPaths(method, values);
  if (paths.length === 0) {
    return undefined;
  }
  const inputs = paths.map((path, index): LocalInput => {
    const hostPath = absoluteLocalPath(method, 'paths', path);
    const at = `${PLACE}/${index}/${basename(hostPath)}`;
    return { expects: 'either', hostPath, fileAt: at, directoryAt: at, filter };
  });
  return {
    method,
    label: label(
      method,
      inputs.map(({ hostPath }) => basename(hostPath)),
    ),
    steps: [],
    deferred: {
      inputs,
      resolve: (facts) => {
        const kinds = inputs.map((input) => ({ input, kind: kindOf(input, facts(input)) }));
        const of = (wanted: Kind) => kinds.filter(({ kind }) => kind === wanted).map(({ input }) => input);
        return { steps: [...pipSteps(of('for-pip'), extraOptions), ...plainSteps(of('plain'))] };
      },
    },
    ...common,
    keyExtras: {},
    recipe: [paths.map(pathText), describeFilter(filter), recipeOf(options)],
    diagnostics: [],
    requirements: [],
  };
}

type Kind = 'for-pip' | 'plain';

/** @throws {DefinitionError} `E_NOT_A_PYTHON_PACKAGE` */
function kindOf({ hostPath, directoryAt }: LocalInput, { form, entries }: ScannedFiles): Kind {
  const name = basename(hostPath);
  const has = (file: string) => entries.has(`${directoryAt}/${file}`);
  if (form === 'file' ? ARCHIVE.test(name) : BUILD_METADATA.some(has)) {
    return 'for-pip';
  }
  if (form === 'directory' && has('__init__.py') && IDENTIFIER().test(name)) {
    return 'plain';
  }
  throw definitionError(
    'E_NOT_A_PYTHON_PACKAGE',
    `'${hostPath}' is neither a wheel, a source archive, a project nor a package`,
    form === 'file'
      ? 'the names of archives end in .whl, .tar.gz or .zip'
      : `a project has one of ${BUILD_METADATA.join(', ')}; a package has __init__.py and a name that can be imported`,
  );
}

function pipSteps(inputs: readonly LocalInput[], extraOptions: string): RunStep[] {
  const words = inputs.map(({ directoryAt }) => quoteLiteral(directoryAt));
  const step = run(['python -m pip install', ...words, extraOptions], { lend: ['pip'] });
  return inputs.length === 0 ? [] : [{ ...step, mounted: { at: PLACE, inputs } }];
}

/** To where pip would have put them. */
function plainSteps(inputs: readonly LocalInput[]): RunStep[] {
  const words = inputs.map(({ directoryAt }) => quoteLiteral(directoryAt));
  const step = run([`d="$(${PURELIB})" && mkdir -p "$d" && cp -R`, ...words, '"$d/"'], { lend: [] });
  return inputs.length === 0 ? [] : [{ ...step, mounted: { at: PLACE, inputs } }];
}

/** @throws {DefinitionError} `E_NOT_STRINGS` */
function localPaths(method: string, values: readonly unknown[]): readonly LocalPath[] {
  return values.flat().map((value) => {
    if (typeof value !== 'string' && !(value instanceof URL)) {
      throw definitionError(
        'E_NOT_STRINGS',
        `${method}() takes paths or arrays of paths, not ${describe(value)}`,
      );
    }
    return value;
  });
}
