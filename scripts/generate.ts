/**
 * Writes the documents that are made from tables in the source: `npm run generate`. With `--check` it writes nothing and
 * fails when one of them is stale.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { performanceDocuments } from '../bench/report.ts';
import { COMMANDS } from '../src/cli/command-table.ts';
import { cliReference } from '../src/cli/reference.ts';
import { ERROR_CODES, type ErrorCodeFacts } from '../src/error-codes.ts';
import { SECCOMP_RULES, type SeccompRule } from '../src/executor/seccomp-profile.ts';
import { SETTINGS } from '../src/settings-table.ts';
import { WARNING_CODES } from '../src/warning-codes.ts';
import { featureReference } from '../test/support/feature-reference.ts';
import { isolationReference } from './isolation-page.ts';

/** Path in the repository to what belongs there. */
export async function generated(): Promise<ReadonlyMap<string, string>> {
  return new Map([
    ['docs/reference/cli.md', await cliReference(COMMANDS)],
    ['docs/reference/errors.md', errorReference()],
    ['docs/reference/warnings.md', warningReference()],
    ['docs/reference/image-api-features.md', featureReference()],
    ['docs/reference/settings.md', settingsReference()],
    ['docs/reference/isolation.md', isolationReference()],
    ['docs/reference/seccomp.md', seccompReference()],
    ...performanceDocuments(),
  ]);
}

function settingsReference(): string {
  const rows = SETTINGS.map(
    ({ variable, key, takes, otherwise, meaning }) =>
      `| \`${variable}\` | ${key === undefined ? '' : `\`${key}\``} | ${takes} | ${otherwise} | ${meaning} |`,
  );
  return `# Settings

Made by \`npm run generate\` from \`src/settings-table.ts\`; edit the table there.

What is said in a call or on the command line holds first, then the variable, then the key in the nearest \`tsbuild.config.json\` upward from the working directory, then the key in the
user's configuration file. Both files are JSON objects; an unknown key is an error. Of variables that are yes or no, nothing, \`0\` and \`false\` are no, all else is yes.

\`\`\`json
{ "debianSource": "archive", "registryMirrors": "docker.io=https://mirror.example" }
\`\`\`

| variable | key | takes | otherwise | meaning |
|---|---|---|---|---|
${rows.join('\n')}

Proxies and certificates come from the variables that all programs read ([guide](../guide/proxies-and-certificates.md)). What containers and steps find in their environment is in
[the Image API](image-api.md).
`;
}

function seccompReference(): string {
  const rows = SECCOMP_RULES.map(
    ({ names, answer, when, reason }) =>
      `| ${names.map((name) => `\`${name}\``).join(', ')}${conditionText(when)} | \`${answer}\` | ${reason.replaceAll('|', '\\|')} |`,
  );
  return `# The seccomp profile of steps

Made by \`npm run generate\` from \`src/executor/seccomp-profile.ts\`; edit the table there. Why it is like this: [ADR 22](../adr/0022-seccomp.md).

Every step and every container runs under it, but for steps of \`--security=insecure\`. \`--seccomp\` (\`TSBUILD_SECCOMP\`, \`seccomp\` of a configuration file, \`seccomp\` of the engine)
names another one: \`unconfined\` for none, or a file as Docker, containerd and Podman take it with \`--security-opt seccomp=FILE\`. Of such a file the rules that hang on
capabilities, architecture and kernel are decided by what the step has; \`SCMP_ACT_NOTIFY\` and \`SCMP_ACT_TRACE\` are refused. No profile is in a cache key.

What is not in the table is allowed. Three things hold besides:

- A call that is newer than Linux 6.17 is answered with \`ENOSYS\`, as a kernel before it would.
- 32-bit programs (i386 on x86-64, arm on aarch64) have the same rules under their own numbers. Calls of the x32 ABI are answered with \`ENOSYS\`.
- The profile comes on top of what capabilities and namespaces forbid; a call that it allows may still fail.

| system calls | answer | reason |
|---|---|---|
${rows.join('\n')}
`;
}

function conditionText(when: SeccompRule['when']): string {
  if (when === undefined) {
    return '';
  }
  const list = (values: readonly number[]) => values.map((value) => `\`${value > 64 ? hex(value) : value}\``);
  switch (when.kind) {
    case 'any-bit':
      return `, if \`${when.called}\` has any bit of \`${hex(when.mask)}\``;
    case 'equal':
      return `, if \`${when.called}\` is ${list(when.values).join(' or ')}`;
    case 'other-than':
      return `, if \`${when.called}\` is none of ${list(when.values).join(', ')}`;
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

const WHO: Readonly<
  Record<ErrorCodeFacts['who'], readonly [className: string, status: number, acts: string]>
> = {
  step: ['StepError', 1, 'The author of the step acts: it ran and failed.'],
  definition: ['DefinitionError', 2, 'The author of the definition acts.'],
  usage: ['UsageError', 2, 'The author of the command line acts.'],
  host: ['HostError', 3, 'The owner of the machine acts.'],
  remote: ['RemoteError', 4, 'The owner of the registry or of the network acts.'],
  integrity: ['IntegrityError', 5, 'Bytes are not what their digest or signature says.'],
  internal: ['InternalError', 70, 'We act: it is a bug in tsbuild.'],
};

function errorReference(): string {
  const parts = [
    '# Error codes',
    'Made by `npm run generate` from `src/error-codes.ts`; edit the table there.',
    'Every error that tsbuild throws on purpose is a `TsbuildError` with a `code`. Codes are stable: match on them, never on messages.',
  ];
  for (const [who, [className, status, acts]] of Object.entries(WHO)) {
    const rows = Object.entries(ERROR_CODES)
      .filter(([, facts]) => facts.who === who)
      .map(([code, facts]) => `| \`${code}\` | ${facts.meaning.replaceAll('|', '\\|')} |`);
    if (rows.length > 0) {
      parts.push(
        `## ${className}, exit status ${status}`,
        acts,
        ['| code | meaning |', '|---|---|', ...rows].join('\n'),
      );
    }
  }
  return `${parts.join('\n\n')}\n`;
}

function warningReference(): string {
  const rows = Object.entries(WARNING_CODES).map(
    ([code, { by, meaning }]) => `| \`${code}\` | ${by} | ${meaning.replaceAll('|', '\\|')} |`,
  );
  return `${[
    '# Warnings',
    'Made by `npm run generate` from `src/warning-codes.ts`; edit the table there.',
    [
      'A warning never fails a build. Those of a definition are in `plan().diagnostics`; those and the ones of the build are in `BuiltImage.diagnostics`, in',
      'the events and in what the command prints. Codes are stable: match on them, never on messages. Violations of the',
      '[build checks](build-checks.md) are warnings too and have the names of their rules. *Lint* is only given when it is asked for:',
      '`plan({ lint: true })`, `tsbuild plan --lint`.',
    ].join('\n'),
    ['| code | said by | meaning |', '|---|---|---|', ...rows].join('\n'),
  ].join('\n\n')}\n`;
}

async function run(check: boolean): Promise<number> {
  const root = new URL('../', import.meta.url);
  let stale = 0;
  for (const [path, text] of await generated()) {
    const url = new URL(path, root);
    const present = await readFile(url, 'utf8').catch(() => undefined);
    if (present === text) {
      continue;
    }
    stale += 1;
    if (check) {
      process.stderr.write(`${path} is stale: run 'npm run generate'\n`);
    } else {
      await mkdir(dirname(fileURLToPath(url)), { recursive: true });
      await writeFile(url, text);
      process.stdout.write(`wrote ${path}\n`);
    }
  }
  return check && stale > 0 ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exitCode = await run(process.argv.includes('--check'));
}
