/** Definitions of the layers that change the configuration (A2.17, A2.18, A2.19 of the Image API). */
import { definitionError, isPlainObject, knownOptions, requiredString, stringArray } from './arguments.ts';
import { type ConfigStep, type LayerDefinition, label, type Step } from './layer-definition.ts';
import { quoteLiteral } from './quote.ts';
import { recipeOf, STEP_OPTIONS, stepOptions } from './step-options.ts';

/** Undefined when the call adds nothing. */
export function env(vars: unknown, options: unknown): LayerDefinition | undefined {
  if (!isPlainObject(vars)) {
    throw definitionError('E_ARG_TYPE', 'env() takes an object of strings');
  }
  const entries = Object.entries(vars);
  const wrong = entries.filter(([, value]) => typeof value !== 'string').map(([name]) => `'${name}'`);
  if (wrong.length > 0) {
    throw definitionError('E_ENV_NOT_STRING', `env(): the values of ${wrong.join(', ')} are not strings`);
  }
  const badName = entries.find(([name]) => name === '' || /[=\s\0]/.test(name));
  if (badName !== undefined) {
    throw definitionError('E_ARG_TYPE', `env(): '${badName[0]}' cannot be the name of a variable`);
  }
  const badValue = entries.find(([, value]) => (value as string).includes('\0'));
  if (badValue !== undefined) {
    throw definitionError('E_ARG_TYPE', `env(): the value of '${badValue[0]}' holds a NUL character`);
  }
  const steps = (entries as [string, string][]).map(
    ([name, value]): ConfigStep => ({
      kind: 'config',
      text: `ENV ${name}=${quoteLiteral(value)}`,
      change: { kind: 'env', name, value },
    }),
  );
  return configLayer('env', Object.keys(vars), steps, entries as [string, string][], options);
}

export function argvLayer(
  kind: 'entrypoint' | 'cmd' | 'shell',
  args: unknown,
  options: unknown,
): LayerDefinition {
  const argv = stringArray(kind, 'args', args);
  if (kind === 'shell' && argv.length === 0) {
    throw definitionError('E_ARG_TYPE', 'shell() needs at least the path of a shell');
  }
  const text = `${kind.toUpperCase()} [${argv.map((each) => JSON.stringify(each)).join(', ')}]`;
  const step: ConfigStep = { kind: 'config', text, change: { kind, argv } };
  return configLayer(kind, argv, [step], [argv], options) as LayerDefinition;
}

export function workdir(path: unknown, options: unknown): LayerDefinition {
  const directory = requiredString('workdir', 'path', path);
  const step: Step = { kind: 'workdir', text: `WORKDIR ${quoteLiteral(directory)}`, path: directory };
  return configLayer('workdir', [directory], [step], [directory], options) as LayerDefinition;
}

function configLayer(
  method: string,
  words: readonly string[],
  steps: readonly Step[],
  args: readonly (string | readonly string[])[],
  given: unknown,
): LayerDefinition | undefined {
  const options = knownOptions(method, given, STEP_OPTIONS);
  const common = stepOptions(method, options);
  if (steps.length === 0) {
    return undefined;
  }
  return {
    method,
    label: label(method, words),
    steps,
    ...common,
    keyExtras: {},
    recipe: [args, recipeOf(options)],
    diagnostics: [],
    requirements: [],
  };
}
