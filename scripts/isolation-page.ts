/** docs/reference/isolation.md, from docs/reference/isolation.json. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Matrix, Measured, Way } from './isolation-results.ts';

const RESULT = join(import.meta.dirname, '../docs/reference/isolation.json');

export function isolationReference(): string {
  const matrix = JSON.parse(readFileSync(RESULT, 'utf8')) as Matrix;
  const notes = new Notes();
  const host = matrix.ways.filter(({ surroundings }) => surroundings === 'host');
  const groups = [...new Set(host.map(({ isolation }) => isolation))];
  const surroundings = [...new Set(matrix.ways.map((way) => way.surroundings))].filter(
    (each) => each !== 'host',
  );
  const tables = [
    ...groups.map((group) => {
      const ways = host.filter(({ isolation }) => isolation === group);
      const column = group === 'chroot' ? ({ user }: Way) => user : ({ sandbox }: Way) => sandbox;
      const who = group === 'chroot' ? '' : `, ${ways[0]?.user}`;
      return `## \`${group}\`${who}\n\n${table(ways, column, notes)}`;
    }),
    ...surroundings.map((each) => {
      const ways = matrix.ways.filter((way) => way.surroundings === each);
      return `## In ${each}\n\n${table(ways, ({ user }) => user, notes)}`;
    }),
  ];
  return `# What steps can do in each isolation and sandbox

Made by \`npm run generate\` from \`isolation.json\`, which \`node scripts/isolation-matrix.ts\` measured on ${matrix.date}: Linux ${matrix.kernel},
${Object.values(matrix.versions).join(', ')}. The steps are in \`scripts/isolation-cells.ts\`; each checks itself, and begins with the same base of Debian's archive. What an isolation
cannot promise it says once in every build, and [rootless builds](../guide/rootless.md) explain it; here a note is a warning besides. In containers isolation and sandbox are left to tsbuild;
what they need is in [containers and CI](../guide/containers-and-ci.md). Where a sandbox is named it was asked for: left to itself tsbuild takes runc for a user who may call
\`sudo\` ([sandboxes](../guide/sandboxes.md)). \`ping\` in the machine's network is a matter of its \`net.ipv4.ping_group_range\`, which was empty here.

${tables.join('\n\n')}

${notes.text()}

## The layers

DiffIDs of what each step made, times clamped to \`SOURCE_DATE_EPOCH\`. Ways in which the step does not work have none.

${layerTable(matrix)}
`;
}

function table(ways: readonly Way[], column: (way: Way) => string, notes: Notes): string {
  const cells = ways[0]?.cells.map(({ cell }) => cell) ?? [];
  const rows = cells.map((cell) => [
    cell,
    ...ways.map((way) =>
      shown(
        way.cells.find((each) => each.cell === cell),
        notes,
      ),
    ),
  ]);
  return lines([['step', ...ways.map(column)], ...rows]);
}

function shown(measured: Measured | undefined, notes: Notes): string {
  if (measured === undefined) {
    return '–';
  }
  const { outcome, code = '', message = '' } = measured;
  switch (outcome) {
    case 'works':
      return 'works';
    case 'note':
      return `works, \`${code}\`${notes.mark(message)}`;
    case 'refused':
      return `refused, \`${code}\`${notes.mark(message)}`;
    case 'failed':
      return `fails${notes.mark(message)}`;
  }
}

class Notes {
  readonly #messages: string[] = [];

  mark(message: string): string {
    const known = this.#messages.indexOf(message);
    return ` (${known >= 0 ? known + 1 : this.#messages.push(message)})`;
  }

  text(): string {
    return this.#messages.map((message, index) => `${index + 1}. ${message}`).join('\n');
  }
}

function layerTable({ ways }: Matrix): string {
  const cells = ways[0]?.cells.map(({ cell }) => cell) ?? [];
  const rows = cells.flatMap((cell) => {
    const found = new Map<string, number>();
    for (const { diffId } of ways.flatMap((way) => way.cells.filter((each) => each.cell === cell))) {
      if (diffId !== undefined) {
        found.set(diffId, (found.get(diffId) ?? 0) + 1);
      }
    }
    return [...found].map(([diffId, count]) => [
      cell,
      `\`${diffId}\``,
      found.size === 1
        ? `equal in all ${count}`
        : `${count} of ${[...found.values()].reduce((a, b) => a + b)}`,
    ]);
  });
  return lines([['step', 'layer', 'ways'], ...rows]);
}

function lines([head = [], ...rows]: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
