import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { checkObjectName } from '../../base/object-name.ts';
import { UsageError } from '../../errors.ts';
import { parseDotenv } from '../../secret/dotenv.ts';
import { stringEntries } from '../../secret/secret.ts';
import { command } from '../command.ts';
import type { CliContext } from '../context.ts';
import { list, nonEmpty } from '../option.ts';
import { readToEnd } from '../prompt.ts';
import { withEngine } from '../session.ts';
import { ENVIRONMENT_OPTION } from '../shared-options.ts';

const STDIN = '-';

export default command({
  operands: [
    { name: 'NAME', summary: 'Name of the secret', required: true, completion: 'nothing' },
    {
      name: 'VARIABLE',
      summary: 'NAME=VALUE, NAME of this environment, or - for standard input',
      required: false,
      repeatable: true,
      completion: 'nothing',
    },
  ],
  options: {
    fromDotenv: list({
      long: 'from-dotenv',
      valueName: 'FILE',
      summary: 'Take variables from a file',
      detail: 'Takes the variables of a file such as `.env`. May be repeated; a later one wins.',
      completion: 'file',
      parse: nonEmpty,
    }),
    environment: ENVIRONMENT_OPTION,
  },
  detail:
    'Stores variables under a name, for `Secret.fromName()`. Values that are written as `NAME=VALUE` can be read by others of this machine while the command runs and end up in the history of the shell: better write `NAME` alone, which takes the value from the environment, name a file, or write `-` and give `NAME=VALUE` lines on standard input. Only the user may read what is stored; with TSBUILD_SECRETS_KEY it is encrypted. A secret that is there already is an error.',
  examples: [
    { purpose: 'Store a token of the environment', command: 'tsbuild secret create huggingface HF_TOKEN' },
    {
      purpose: 'Store what a program prints',
      command: "pass show hf | sed 's/^/HF_TOKEN=/' | tsbuild secret create huggingface -",
    },
    { purpose: 'Store the variables of a file', command: 'tsbuild secret create db --from-dotenv .env' },
  ],
  async run({ options, operands: [name = '', ...variables] }, context) {
    checkObjectName('secret create', 'a secret', name);
    const values = await collect(variables, options.fromDotenv, context);
    const { environment } = options;
    const module = await context.loadEngine();
    await withEngine(context, module, { quiet: true }, ({ engine }) =>
      engine.secrets.create(name, values, environment === undefined ? {} : { environment }),
    );
    context.stdout.write(`created ${name}\n`);
    return 0;
  },
});

/** Files, then standard input, then what is written out; later wins. */
async function collect(
  variables: readonly string[],
  files: readonly string[],
  context: CliContext,
): Promise<Readonly<Record<string, string>>> {
  if (variables.length === 0 && files.length === 0) {
    throw new UsageError('there is nothing to store', {
      code: 'E_USAGE',
      hint: 'name variables, a file with --from-dotenv, or - for standard input',
    });
  }
  const values: Record<string, string> = {};
  for (const file of files) {
    const path = resolve(context.cwd, file);
    const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
      throw new UsageError(`cannot read '${file}': ${cause.code}`, { code: 'E_USAGE', cause });
    });
    Object.assign(values, parseDotenv(text, file, context.env));
  }
  if (variables.includes(STDIN)) {
    Object.assign(values, parseDotenv(await readToEnd(context), 'standard input', context.env));
  }
  const written = variables
    .filter((each) => each !== STDIN)
    .map((each): [string, string] => {
      const equals = each.indexOf('=');
      if (equals >= 0) {
        return [each.slice(0, equals), each.slice(equals + 1)];
      }
      const value = context.env[each];
      if (value === undefined) {
        throw new UsageError(`the environment has no variable '${each}'`, {
          code: 'E_USAGE',
          hint: `export ${each}, or write - and give ${each}=VALUE on standard input`,
        });
      }
      return [each, value];
    });
  return { ...values, ...stringEntries('secret create', Object.fromEntries(written)) };
}
