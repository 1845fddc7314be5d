/** Installs what a pyproject.toml depends on, with pip (A2.3 of the Image API). */
import { basename } from 'node:path';
import { absoluteLocalPath, type LocalPath, pathText } from '../../base/local-path.ts';
import { placedOrNamed, stringArray } from './arguments.ts';
import { fileInput } from './copy-file-step.ts';
import { PIP_OPTIONS, type PipOptions, pipFlags, run } from './install-layers.ts';
import { type LayerDefinition, label } from './layer-definition.ts';
import { projectRequirements, readPyproject } from './pyproject.ts';
import { quoteExpanding } from './quote.ts';
import { recipeOf, stepOptions } from './step-options.ts';

export interface PyprojectOptions extends PipOptions {
  /**
   * Groups of `[project.optional-dependencies]`, instead of the second argument. What they depend on is part of the key.
   * @defaultValue none
   */
  readonly optionalDependencies?: readonly string[];
}

export function pipInstallFromPyproject(
  pyprojectToml: unknown,
  optionalDependencies: unknown,
  given: unknown,
): LayerDefinition {
  const method = 'pipInstallFromPyproject';
  const name = 'optionalDependencies';
  const { value, options } = placedOrNamed(method, name, optionalDependencies, given, PIP_OPTIONS);
  const groups = stringArray(method, name, value ?? []);
  const flags = pipFlags(method, options, ['--pre']);
  const hostPath = absoluteLocalPath(method, 'pyprojectToml', pyprojectToml);
  // Not in the image and not in the key; only what it says about dependencies is.
  const input = fileInput(hostPath, '/.pyproject.toml', { wantsText: true, mayBeMissing: true });
  return {
    method,
    label: label(method, [basename(hostPath), ...groups]),
    steps: [],
    deferred: {
      inputs: [input],
      resolve: async (facts) => {
        const requirements = projectRequirements(await readPyproject(method, input, facts(input)), groups);
        const install = run(['python -m pip install', ...requirements.map(quoteExpanding), ...flags.words], {
          lend: ['pip'],
          expanded: [...requirements, ...flags.expanded],
        });
        // A project may well depend on nothing, and pip insists on something.
        return { steps: requirements.length === 0 ? [] : [install], requirements };
      },
    },
    ...stepOptions(method, options),
    keyExtras: {},
    recipe: [pathText(pyprojectToml as LocalPath), [...groups], recipeOf(options)],
    diagnostics: [],
    requirements: [],
  };
}
