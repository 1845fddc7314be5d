/** `--check` and `--call`: what a Dockerfile says of itself, as text or as JSON. */
import { UsageError } from '../errors.ts';
import type { CliContext } from './context.ts';
import type { Call } from './dockerfile-options.ts';
import type { DescribedDockerfile, EngineModule } from './engine-api.ts';
import type { LoadedImage } from './load-definition.ts';
import type { TypedEngineOptions } from './resolve.ts';
import { withEngine } from './session.ts';
import { formatTable } from './table.ts';
import { neutralise, neutraliseLines, terminalJson } from './terminal-text.ts';

/** @returns The exit status: 1 when checks found something. */
export async function describeDockerfile(
  typed: TypedEngineOptions,
  { call, json }: { readonly call: Call; readonly json: boolean },
  [image]: readonly LoadedImage[],
  module: EngineModule,
  context: CliContext,
): Promise<number> {
  if (image === undefined) {
    throw new UsageError('there is no Dockerfile to ask about', { code: 'E_USAGE' });
  }
  const described = await withEngine(context, module, typed, ({ engine }) =>
    engine.describeDockerfile(image.image, { signal: context.signal }),
  );
  const checks = call === 'check' || call === 'lint';
  const text = json
    ? `${terminalJson(asJson(described, call), 2)}\n`
    : checks
      ? checkText(described)
      : call === 'targets'
        ? targetsText(described)
        : outlineText(described);
  context.stdout.write(text);
  return checks && (described.findings.length > 0 || described.error !== undefined) ? 1 : 0;
}

function asJson({ findings, outline, targets, error }: DescribedDockerfile, call: Call): object {
  switch (call) {
    case 'targets':
      return { targets };
    case 'outline':
      return outline ?? {};
    default:
      return { warnings: findings, ...(error === undefined ? {} : { buildError: { message: error } }) };
  }
}

function checkText({ findings, error, name }: DescribedDockerfile): string {
  const blocks = findings.map(({ rule, message, url, description, line, excerpt }) =>
    [
      `WARNING: ${rule} - ${url}`,
      description,
      neutralise(message),
      ...(line === undefined ? [] : [`${neutralise(name)}:${line}`, neutraliseLines(excerpt ?? '')]),
      '',
    ].join('\n'),
  );
  const count = findings.length;
  const summary =
    count === 0
      ? 'Check complete, no warnings found.'
      : `Check complete, ${count} warning${count === 1 ? ' has' : 's have'} been found!`;
  return `${[...blocks, ...(error === undefined ? [] : [`ERROR: ${neutralise(error)}`, '']), summary].join('\n')}\n`;
}

function targetsText({ targets }: DescribedDockerfile): string {
  const rows = targets.map(({ name, description, isDefault }) => [
    `${name ?? '(unnamed)'}${isDefault ? ' (default)' : ''}`,
    description ?? '',
  ]);
  return formatTable([['TARGET', 'DESCRIPTION'], ...rows]);
}

function outlineText({ outline }: DescribedDockerfile): string {
  if (outline === undefined) {
    return '';
  }
  const { name, description, args, secrets, ssh } = outline;
  const head = [['TARGET:', name], ...(description === undefined ? [] : [['DESCRIPTION:', description]])];
  const required = (uses: typeof secrets) => uses.map((use) => [use.id, use.required ? 'true' : '']);
  return [
    formatTable(head),
    ...(args.length === 0
      ? []
      : [
          formatTable([
            ['BUILD ARG', 'VALUE', 'DESCRIPTION'],
            ...args.map((arg) => [arg.name, arg.value ?? '', arg.description ?? '']),
          ]),
        ]),
    ...(secrets.length === 0 ? [] : [formatTable([['SECRET', 'REQUIRED'], ...required(secrets)])]),
    ...(ssh.length === 0 ? [] : [formatTable([['SSH', 'REQUIRED'], ...required(ssh)])]),
  ].join('\n');
}
