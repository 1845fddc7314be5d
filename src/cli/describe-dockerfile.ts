/** `--check` and `--call`: what a Dockerfile says of itself, as text or as JSON. The JSON is what buildx prints. */
import { UsageError } from '../errors.ts';
import type { Platform } from '../oci/platform.ts';
import type { CliContext } from './context.ts';
import type { Call } from './dockerfile-options.ts';
import type { DescribedDockerfile, EngineModule } from './engine-api.ts';
import type { LoadedImage } from './load-definition.ts';
import { renderError } from './render-error.ts';
import type { TypedEngineOptions } from './resolve.ts';
import { withEngine } from './session.ts';
import { formatTable } from './table.ts';
import { neutralise, neutraliseLines, terminalJson } from './terminal-text.ts';

type Outline = NonNullable<DescribedDockerfile['outline']>;

/** The question that flags ask; undefined: build. */
export function callOf(typed: {
  readonly check: boolean;
  readonly call: { readonly call: Call; readonly json: boolean } | undefined;
}): { readonly call: Exclude<Call, 'build'>; readonly json: boolean } | undefined {
  const { call = 'build', json = false } = typed.call ?? {};
  if (!typed.check) {
    return call === 'build' ? undefined : { call, json };
  }
  if (call === 'outline' || call === 'targets') {
    throw new UsageError(`--check and --call=${call} ask for different things`, {
      code: 'E_USAGE',
      hint: 'give one of the two',
    });
  }
  return { call: 'check', json };
}

/**
 * @returns The exit status: 1 when checks found something or the Dockerfile cannot be built.
 * @throws {DefinitionError} what is wrong with the Dockerfile, when it is not checks that were asked for.
 */
export async function describeDockerfile(
  typed: TypedEngineOptions & { readonly platform: readonly (readonly Platform[])[] },
  { call, json }: { readonly call: Exclude<Call, 'build'>; readonly json: boolean },
  [image]: readonly LoadedImage[],
  module: EngineModule,
  context: CliContext,
): Promise<number> {
  if (image === undefined) {
    throw new UsageError('there is no Dockerfile to ask about', { code: 'E_USAGE' });
  }
  // What a Dockerfile says of itself hardly depends on the platform.
  const [platform] = typed.platform.flat();
  const described = await withEngine(context, module, typed, ({ engine }) =>
    engine.describeDockerfile(image.image, {
      question: call === 'lint' || call === 'check' ? 'checks' : call,
      ...(platform === undefined ? {} : { platform }),
      signal: context.signal,
    }),
  );
  const { error, outline, findings } = described;
  switch (call) {
    case 'check':
    case 'lint':
      context.stdout.write(json ? jsonText(checkJson(described)) : checkText(described));
      return findings.length > 0 || error !== undefined ? 1 : 0;
    case 'targets':
      if (error !== undefined) {
        throw error;
      }
      context.stdout.write(json ? jsonText(targetsJson(described)) : targetsText(described));
      return 0;
    case 'outline':
      if (outline === undefined) {
        throw error ?? new UsageError('there is no target to ask about', { code: 'E_USAGE' });
      }
      context.stdout.write(json ? jsonText(outlineJson(outline)) : outlineText(outline));
      return 0;
  }
}

function checkText({ findings, error, name }: DescribedDockerfile): string {
  const blocks = findings.map(({ rule, message, url, location, excerpt }) => [
    `WARNING: ${rule} - ${url}`,
    neutralise(message),
    ...(location === undefined
      ? []
      : [`${neutralise(name)}:${location.startLine}`, neutraliseLines(excerpt ?? '')]),
    '',
  ]);
  const failure = error === undefined ? [] : [renderError(error, { color: false })];
  return `${[...blocks.flat(), ...failure, summary(findings.length, error !== undefined)].join('\n')}\n`;
}

function summary(count: number, failed: boolean): string {
  const found = `${count === 0 ? 'no' : count} ${count === 1 ? 'warning' : 'warnings'}`;
  if (failed) {
    return `Check ended at an error, ${found} found before it.`;
  }
  return `Check complete, ${found} found${count === 0 ? '.' : '!'}`;
}

function targetsText({ targets }: DescribedDockerfile): string {
  const rows = targets.map(({ name, description, isDefault }) => [
    name === undefined ? (isDefault ? '(default)' : '(no name)') : `${name}${isDefault ? ' (default)' : ''}`,
    description ?? '',
  ]);
  return formatTable([['TARGET', 'DESCRIPTION'], ...rows]);
}

function outlineText({ name, description, args, secrets, ssh }: Outline): string {
  const head = [
    ['TARGET:', name ?? '(default)'],
    ...(description === undefined ? [] : [['DESCRIPTION:', description]]),
  ];
  const uses = (title: string, used: Outline['secrets']) =>
    used.length === 0
      ? []
      : [formatTable([[title, 'REQUIRED'], ...used.map(({ id, required }) => [id, required ? 'true' : ''])])];
  const arguments_ = args.map((arg) => [arg.name, arg.value ?? '', arg.description ?? '']);
  return [
    formatTable(head),
    ...(args.length === 0 ? [] : [formatTable([['BUILD ARG', 'VALUE', 'DESCRIPTION'], ...arguments_])]),
    ...uses('SECRET', secrets),
    ...uses('SSH', ssh),
  ].join('\n');
}

function checkJson({ findings, error, name }: DescribedDockerfile): object {
  return {
    warnings: findings.map(({ rule, description, url, message, location }) => ({
      ruleName: rule,
      description,
      url,
      detail: message,
      location: ranges(location),
    })),
    sources: [{ filename: name }],
    buildError:
      error === undefined
        ? undefined
        : {
            message: error.message,
            location: ranges(
              error.line === undefined ? undefined : { startLine: error.line, endLine: error.line },
            ),
          },
  };
}

function targetsJson({ targets }: DescribedDockerfile): object {
  return {
    targets: targets.map(({ isDefault, location, ...target }) => ({
      ...target,
      default: isDefault || undefined,
      location: ranges(location),
    })),
  };
}

function outlineJson({ name, description, args, secrets, ssh }: Outline): object {
  const uses = (used: Outline['secrets']) =>
    used.length === 0
      ? undefined
      : used.map(({ id, required, location }) => ({
          name: id,
          required: required || undefined,
          location: ranges(location),
        }));
  return {
    name,
    description,
    args:
      args.length === 0
        ? undefined
        : args.map(({ location, ...arg }) => ({ ...arg, location: ranges(location) })),
    secrets: uses(secrets),
    ssh: uses(ssh),
  };
}

function ranges(
  location: { readonly startLine: number; readonly endLine: number } | undefined,
): object | undefined {
  return location === undefined
    ? undefined
    : { ranges: [{ start: { line: location.startLine }, end: { line: location.endLine } }] };
}

/** Members without a value are left out. */
function jsonText(value: object): string {
  return `${terminalJson(value, 2)}\n`;
}
