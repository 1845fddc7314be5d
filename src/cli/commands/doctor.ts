import { command } from '../command.ts';
import { flag } from '../option.ts';
import { wantsColor } from '../progress/open.ts';
import { resolveDevices } from '../resolve.ts';
import { DEVICE_OPTIONS } from '../shared-options.ts';
import { neutralise, terminalJson } from '../terminal-text.ts';

/** What `doctor` ends with when something that builds need is missing: the machine's owner acts. */
const UNFIT = 3;

export default command({
  operands: [],
  options: {
    json: flag({
      long: 'json',
      summary: 'Print JSON',
      detail: 'Prints a JSON array with one object for each check.',
    }),
    gpu: flag({
      long: 'gpu',
      summary: 'Show all of GPUs',
      detail:
        'Shows of each GPU what it is called, its memory and compute capability, and every file that a step would be lent with it.',
    }),
    ...DEVICE_OPTIONS,
  },
  detail:
    'Tries each thing that builds use: user namespaces, subordinate ids, overlay mounts, sandboxes, GPUs, disk space. For each failure it names the one command or setting that mends it. Ends with 3 when something is missing that builds cannot do without.',
  examples: [
    { purpose: 'See what this machine lacks', command: 'tsbuild doctor' },
    { purpose: 'See what steps are lent with GPUs', command: 'tsbuild doctor --gpu' },
  ],
  async run({ options }, context) {
    const { probeHost } = await context.loadEngine();
    const checks = await probeHost({
      env: context.env,
      wholeGpu: options.gpu,
      ...resolveDevices(options, context),
    });
    if (options.json) {
      context.stdout.write(`${terminalJson(checks, 2)}\n`);
    } else {
      const color = wantsColor(context.stdout, context.env);
      const width = Math.max(...checks.map((check) => check.name.length));
      for (const { name, ok, required, detail, fix, lines } of checks) {
        const word = ok ? 'ok' : required === false ? 'missing' : 'FAILED';
        const painted = color ? `\x1b[${ok ? 32 : required === false ? 33 : 31}m${word}\x1b[0m` : word;
        const gap = ' '.repeat(9 - word.length);
        context.stdout.write(`${painted}${gap}${neutralise(name).padEnd(width)}  ${neutralise(detail)}\n`);
        const more = [...(!ok && fix !== undefined ? [`fix: ${fix}`] : []), ...(lines ?? [])];
        for (const line of more) {
          context.stdout.write(`${' '.repeat(9)}${' '.repeat(width)}  ${neutralise(line)}\n`);
        }
      }
    }
    return checks.every((check) => check.ok || check.required === false) ? 0 : UNFIT;
  },
});
