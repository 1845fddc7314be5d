import { command } from '../command.ts';
import type { DefinedPlan } from '../engine-api.ts';
import { type LoadedImage, loadDefinition, parseDefinitionName, shownName } from '../load-definition.ts';
import { choice, flag } from '../option.ts';
import { withEngine } from '../session.ts';
import { PARAM_OPTION } from '../shared-options.ts';
import { neutraliseLines, terminalJson } from '../terminal-text.ts';

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
  options: {
    json: flag({
      long: 'json',
      summary: 'Print the whole plan as JSON',
      detail: 'Prints one JSON object, with the plan of each export under its name.',
    }),
    lint: flag({
      long: 'lint',
      summary: 'Add warnings about style',
      detail: 'Adds the warnings about style, such as packages without a version.',
    }),
    param: PARAM_OPTION,
    platform: choice({
      long: 'platform',
      valueName: 'OS/ARCH',
      words: ['linux/amd64', 'linux/arm64'],
      summary: 'Which platform to plan for',
      detail: 'The platform that the plan is made for.',
      defaultText: 'that of this machine',
    }),
  },
  detail:
    'Shows the layers of an image as the lines of a Dockerfile that would do the same. Reads local files; uses no network and runs nothing.',
  examples: [
    { purpose: 'See the steps of an image', command: 'tsbuild plan image.ts' },
    { purpose: 'Compare two plans', command: 'tsbuild plan --json image.ts > plan.json' },
  ],
  async run({ options, operands }, context) {
    const module = await context.loadEngine();
    const loaded: LoadedImage[] = [];
    for (const operand of operands) {
      loaded.push(
        ...(await loadDefinition(parseDefinitionName(operand), {
          cwd: context.cwd,
          Image: module.Image,
          params: options.param,
          signal: context.signal,
        })),
      );
    }
    const plans = await withEngine(context, module, { quiet: true }, async ({ engine }) => {
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
