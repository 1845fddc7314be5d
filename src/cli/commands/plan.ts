import { command } from '../command.ts';
import type { CliContext } from '../context.ts';
import type { DefinedPlan, EngineModule, ExportedDockerfile } from '../engine-api.ts';
import { type LoadedImage, loadDefinition, parseDefinitionName, shownName } from '../load-definition.ts';
import { choice, flag, type Values } from '../option.ts';
import type { TypedEngineOptions } from '../resolve.ts';
import { withEngine } from '../session.ts';
import { BUILDER_VERSION_OPTION, PARAM_OPTION } from '../shared-options.ts';
import { neutraliseLines, terminalJson } from '../terminal-text.ts';

const options = {
  json: flag({
    long: 'json',
    summary: 'Print the whole plan as JSON',
    detail: 'Prints one JSON object, with the plan of each export under its name.',
  }),
  dockerfile: flag({
    long: 'dockerfile',
    summary: 'Print a Dockerfile that makes the same image',
    detail:
      'Prints one Dockerfile for each image, with the files that its context must hold as comments at its end. With `--json`, an object with the text and the files.',
  }),
  lint: flag({
    long: 'lint',
    summary: 'Add warnings about style',
    detail: 'Adds the warnings about style, such as packages without a version.',
  }),
  param: PARAM_OPTION,
  builderVersion: BUILDER_VERSION_OPTION,
  platform: choice({
    long: 'platform',
    valueName: 'OS/ARCH',
    words: ['linux/amd64', 'linux/arm64'],
    summary: 'Which platform to plan for',
    detail: 'The platform that the plan is made for.',
    defaultText: 'that of this machine',
  }),
} as const;

type PlanValues = Values<typeof options>;

export default command({
  operands: [
    {
      name: 'DEFINITION',
      summary: 'A TypeScript or JavaScript file, with ::EXPORT for some of its images',
      required: true,
      repeatable: true,
      completion: 'file',
    },
  ],
  options,
  detail:
    'Shows the layers of an image as the lines of a Dockerfile that would do the same. Reads local files; uses no network and runs nothing.',
  examples: [
    { purpose: 'See the steps of an image', command: 'tsbuild plan image.ts' },
    {
      purpose: 'Write a Dockerfile for other builders',
      command: 'tsbuild plan --dockerfile image.ts > Dockerfile',
    },
    { purpose: 'Compare two plans', command: 'tsbuild plan --json image.ts > plan.json' },
  ],
  async run({ options, operands }, context) {
    const module = await context.loadEngine();
    const loaded: LoadedImage[] = [];
    for (const operand of operands) {
      loaded.push(
        ...(await loadDefinition(parseDefinitionName(operand), {
          ...module,
          cwd: context.cwd,
          params: options.param,
          signal: context.signal,
        })),
      );
    }
    if (options.dockerfile) {
      context.stdout.write(await dockerfiles(loaded, options, context, module));
      return 0;
    }
    const plans = await withEngine(context, module, quietly(options), async ({ engine }) => {
      const all: [loaded: LoadedImage, plan: DefinedPlan][] = [];
      for (const each of loaded) {
        const plan = await engine.plan(each.image, {
          lint: options.lint,
          ...(options.platform === undefined ? {} : { platform: options.platform }),
        });
        all.push([each, plan]);
      }
      return all;
    });
    context.stdout.write(
      options.json
        ? `${terminalJson(Object.fromEntries(plans.map(([loaded, plan]) => [loaded.exportName, plan])), 2)}\n`
        : plans.map(([loaded, plan]) => planText(shownName(loaded), plan)).join('\n'),
    );
    return 0;
  },
});

async function dockerfiles(
  loaded: readonly LoadedImage[],
  options: PlanValues,
  context: CliContext,
  module: EngineModule,
): Promise<string> {
  const { platform, json } = options;
  const exported = await withEngine(context, module, quietly(options), async ({ engine }) => {
    const all: [loaded: LoadedImage, exported: ExportedDockerfile][] = [];
    for (const each of loaded) {
      all.push([each, await engine.toDockerfile(each.image, platform === undefined ? {} : { platform })]);
    }
    return all;
  });
  return json
    ? `${terminalJson(Object.fromEntries(exported.map(([{ exportName }, each]) => [exportName, each])), 2)}\n`
    : exported.map(([, each]) => dockerfileText(each)).join('\n');
}

function dockerfileText({ text, context, buildContexts, secrets }: ExportedDockerfile): string {
  const files = Object.entries(context).map(
    ([path, { mode, localPath, link }]) =>
      `# ${path}: ${link === undefined ? mode.toString(8).padStart(4, '0') : `-> ${link}`}${localPath === undefined ? '' : ` ${localPath}`}`,
  );
  const flags = [
    ...Object.entries(buildContexts).map(([name, value]) => `# --build-context ${name}=${value}`),
    ...secrets.map((id) => `# --secret id=${id}`),
  ];
  return neutraliseLines(
    [
      text.trimEnd(),
      ...(files.length === 0 ? [] : ['', '# The context must hold', ...files]),
      ...(flags.length === 0 ? [] : ['', '# The build needs', ...flags]),
      '',
    ].join('\n'),
  );
}

function planText(name: string, plan: DefinedPlan): string {
  const lines = [`# ${name}, ${plan.platform}`];
  for (const [index, layer] of plan.layers.entries()) {
    lines.push(
      '',
      `# ${index + 1}/${plan.layers.length} ${layer.method}${layer.forceBuild ? ' (forced)' : ''}`,
    );
    lines.push(...layer.commands);
  }
  for (const diagnostic of plan.diagnostics) {
    const where = diagnostic.layer === undefined ? '' : ` (layer ${diagnostic.layer + 1})`;
    lines.push('', `# warning ${diagnostic.code}${where}: ${diagnostic.message}`);
  }
  return neutraliseLines(`${lines.join('\n')}\n`);
}

/** A plan draws no progress. */
function quietly({ builderVersion }: PlanValues): TypedEngineOptions {
  return { quiet: true, builderVersion };
}
