/**
 * SOURCE_DATE_EPOCH as a build arg: a number, or where to take it from. Source: reference of the Dockerfile,
 * "BuildKit built-in build args"; reproducible-builds.org.
 */

import { DefinitionError } from '../../errors.ts';
import type { Conversion } from './conversion.ts';
import { parseGitUrl } from './git-url.ts';
import type { AddInstruction, Stage } from './instruction.ts';

const NAME = 'SOURCE_DATE_EPOCH';

/**
 * Seconds since 1970; undefined when nothing gives one.
 *
 * - an integer: that; the empty text: none
 * - `context`, or the name of a named context: what git, a server or an archive says of it; a directory says nothing
 * - the name of a stage that is `FROM scratch`, ARGs and exactly one ADD of a URL or git repository: of that
 *
 * @throws {DefinitionError} `E_SOURCE_DATE_EPOCH`
 */
export async function resolveSourceDateEpoch(conversion: Conversion): Promise<number | undefined> {
  const { request, globalArgs, dockerfile } = conversion;
  const value = request.buildArgs[NAME] ?? globalArgs.get(NAME) ?? '';
  if (value === '') {
    return undefined;
  }
  if (/^-?\d{1,12}$/.test(value)) {
    return Number(value);
  }
  if (value === 'context') {
    return request.context?.sourceEpochSeconds;
  }
  const named = request.namedContexts.get(value.toLowerCase());
  if (named !== undefined) {
    return named.kind === 'directory' ? named.context.sourceEpochSeconds : undefined;
  }
  const stage = dockerfile.stages.find(({ from }) => from.stageName?.toLowerCase() === value.toLowerCase());
  if (stage === undefined) {
    throw new DefinitionError(`SOURCE_DATE_EPOCH is '${value}': no number, context or stage`, {
      code: 'E_SOURCE_DATE_EPOCH',
      file: request.name,
      hint: 'give seconds since 1970, `context`, or the name of a named context or stage',
    });
  }
  return await epochOfStage(conversion, stage);
}

async function epochOfStage(conversion: Conversion, stage: Stage): Promise<number | undefined> {
  const { from } = stage;
  const environment = new Map(conversion.globalArgs);
  environment.delete(NAME);
  const fail = (why: string, location = from.location) =>
    conversion.located(
      new DefinitionError(`a stage that gives SOURCE_DATE_EPOCH ${why}`, { code: 'E_SOURCE_DATE_EPOCH' }),
      location,
    );
  if (conversion.expand(from.base, environment, from).text !== 'scratch') {
    throw fail('must be FROM scratch');
  }
  let add: AddInstruction | undefined;
  for (const instruction of stage.instructions) {
    if (instruction.kind === 'arg') {
      for (const { name, value } of instruction.args) {
        const given = conversion.request.buildArgs[name];
        const known =
          given ??
          (value === undefined ? undefined : conversion.expand(value, environment, instruction).text);
        if (known !== undefined) {
          environment.set(name, known);
        }
      }
    } else if (instruction.kind === 'add' && add === undefined) {
      add = instruction;
    } else {
      throw fail('holds ARGs and exactly one remote ADD, and nothing else', instruction.location);
    }
  }
  const [source, ...more] = add?.sources ?? [];
  if (add === undefined || source === undefined || more.length > 0 || add.heredocs.length > 0) {
    throw fail('needs exactly one remote ADD with one source');
  }
  return await epochOfSource(conversion, add, conversion.expand(source, environment, add).text, () =>
    fail('needs an ADD of a URL or git repository', add.location),
  );
}

async function epochOfSource(
  { resolver }: Conversion,
  { checksum }: AddInstruction,
  source: string,
  fail: () => unknown,
): Promise<number | undefined> {
  const git = parseGitUrl(source);
  if (git !== undefined) {
    return await resolver.gitTimeSeconds(git);
  }
  if (!/^https?:\/\//.test(source)) {
    throw fail();
  }
  const { mtimeSeconds } = await resolver.resolveHttp(source, checksum);
  return mtimeSeconds === 0 ? undefined : mtimeSeconds;
}
