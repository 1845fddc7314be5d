/** What is said before stages are converted: global ARGs and the FROM of each stage. */
import { nearName } from '../../base/near-name.ts';
import { type Platform, parsePlatform } from '../../oci/platform.ts';
import { isReference } from '../../oci/reference.ts';
import { CHECKS } from './check-rules.ts';
import { contextFor } from './context-for.ts';
import type { Conversion } from './conversion.ts';
import { stageError } from './definition-place.ts';
import type { Stage } from './instruction.ts';
import type { DeclaredArg } from './outline.ts';
import type { StageGraph } from './stage-graph.ts';

/** @param declare - Told of each ARG before the first FROM. */
export function readGlobalArgs(
  conversion: Conversion,
  buildArgs: Readonly<Record<string, string>>,
  declare: (arg: DeclaredArg) => void,
): void {
  for (const instruction of conversion.dockerfile.globalArgs) {
    for (const { name, value, description } of instruction.args) {
      const given = buildArgs[name];
      const expanded =
        given !== undefined || value === undefined
          ? undefined
          : conversion.expand(value, conversion.globalArgs, instruction);
      const known = given ?? expanded?.text;
      if (known !== undefined) {
        conversion.globalArgs.set(name, known);
      }
      const { location } = instruction;
      declare({ name, value: known, location, description, uses: expanded?.matched ?? [] });
    }
  }
}

/** With the defaults alone a base should have a name that can be one. */
export function checkDefaultBases(conversion: Conversion): void {
  const saved = conversion.globalArgs;
  conversion.globalArgs = new Map(saved);
  try {
    readGlobalArgs(conversion, {}, () => undefined);
    for (const [index, { from }] of conversion.dockerfile.stages.entries()) {
      const { text, matched, unmatched } = conversion.expand(from.base, conversion.globalArgs, from);
      if (matched.length + unmatched.length > 0 && !canBeBase(conversion, text, index)) {
        conversion.report.add(
          {
            rule: 'InvalidDefaultArgInFrom',
            message: CHECKS.InvalidDefaultArgInFrom.message(from.base),
            location: from.location,
          },
          from.skipChecks,
        );
      }
    }
  } catch {
    // A default that cannot be expanded fails below, if it is used.
  } finally {
    conversion.globalArgs = saved;
  }
}

/** Whether a name can be that of an image, an earlier stage or a named context. */
function canBeBase(conversion: Conversion, name: string, index: number): boolean {
  const earlier = conversion.dockerfile.stages
    .slice(0, index)
    .map(({ from }) => from.stageName?.toLowerCase());
  return (
    isReference(name) ||
    earlier.includes(name.toLowerCase()) ||
    contextFor(conversion.request, name, undefined) !== undefined
  );
}

/** @throws {DefinitionError} `E_DOCKERFILE_STAGE` for a base that cannot be. */
export function declareStage(conversion: Conversion, stages: StageGraph, stage: Stage): void {
  const { from } = stage;
  const { text: base, matched, unmatched } = conversion.expand(from.base, conversion.globalArgs, from);
  reportUndefinedInFrom(conversion, unmatched, stage);
  if (base === '') {
    throw conversion.located(
      stageError(`the name of the base is empty: '${from.base}'`, {
        hint: 'give its ARG a default before the first FROM, or --build-arg',
        culprit: from.base,
      }),
      from.location,
    );
  }
  if (!isReference(base) && unmatched.length > 0) {
    throw conversion.located(
      stageError(
        `'${base}' is no name of an image: nothing sets ${unmatched.map((name) => `'${name}'`).join(', ')}`,
        {
          hint: 'FROM sees the ARGs before the first FROM only',
          culprit: from.base,
        },
      ),
      from.location,
    );
  }
  const platform = from.platform === undefined ? undefined : platformOf(conversion, stage, from.platform);
  const replaced =
    from.stageName !== undefined && contextFor(conversion.request, from.stageName, platform) !== undefined;
  const node = stages.addStage(stage, base, platform, { replaced });
  const { platform: written } = from;
  const inPlatform =
    written === undefined ? undefined : conversion.expand(written, conversion.globalArgs, from);
  for (const name of [...matched, ...unmatched, ...(inPlatform?.matched ?? [])]) {
    conversion.outline.use(node, name);
  }
}

function platformOf(conversion: Conversion, { from }: Stage, written: string): Platform {
  const { text, matched, unmatched } = conversion.expand(written, conversion.globalArgs, from);
  reportUndefinedInFrom(conversion, unmatched, { from });
  const { skipChecks, location } = from;
  // Alone, in whichever way it is written.
  if (
    [...matched, ...unmatched].join() === 'TARGETPLATFORM' &&
    text === conversion.globalArgs.get('TARGETPLATFORM')
  ) {
    conversion.report.add(
      {
        rule: 'RedundantTargetPlatform',
        message: CHECKS.RedundantTargetPlatform.message(written),
        location,
      },
      skipChecks,
    );
  }
  const hint = nearName(unmatched[0] ?? '', [...conversion.globalArgs.keys()]);
  try {
    if (text === '') {
      throw stageError(`the platform is empty: '${written}'`, {
        hint: hint === undefined ? undefined : `did you mean '${hint}'?`,
        culprit: written,
      });
    }
    const platform = parsePlatform(text);
    if (matched.length + unmatched.length === 0) {
      const name = from.stageName?.toLowerCase() ?? '';
      if (!name.includes(platform.os) && !name.includes(platform.architecture)) {
        conversion.report.add(
          {
            rule: 'FromPlatformFlagConstDisallowed',
            message: CHECKS.FromPlatformFlagConstDisallowed.message(text),
            location,
          },
          skipChecks,
        );
      }
    }
    return platform;
  } catch (error) {
    throw conversion.located(error, location);
  }
}

function reportUndefinedInFrom(
  conversion: Conversion,
  unmatched: readonly string[],
  { from }: Pick<Stage, 'from'>,
): void {
  const declared = new Set([
    ...conversion.globalArgs.keys(),
    ...conversion.dockerfile.globalArgs.flatMap(({ args }) => args.map(({ name }) => name)),
  ]);
  for (const name of unmatched) {
    if (!declared.has(name)) {
      const near = nearName(name, [...declared]);
      conversion.report.add(
        {
          rule: 'UndefinedArgInFrom',
          message: CHECKS.UndefinedArgInFrom.message(name, near ?? ''),
          location: from.location,
        },
        from.skipChecks,
      );
    }
  }
}
