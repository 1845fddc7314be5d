import { UsageError } from '../../errors.ts';
import { command } from '../command.ts';
import { flag, nonEmpty, value } from '../option.ts';
import { ask, readSecret, readToEnd } from '../prompt.ts';

export default command({
  operands: [
    {
      name: 'SERVER',
      summary: 'The registry, such as registry.example:5000; docker.io when absent',
      required: false,
      completion: 'nothing',
    },
  ],
  options: {
    username: value({
      long: 'username',
      short: 'u',
      valueName: 'NAME',
      summary: 'User name',
      detail: 'The user name. It is asked for when it is absent and standard input is a terminal.',
      parse: nonEmpty,
    }),
    passwordStdin: flag({
      long: 'password-stdin',
      summary: 'Read the password from standard input',
      detail:
        'Reads the password or token from standard input. There is no flag for the password itself: command lines can be read by others and end up in histories.',
    }),
  },
  detail:
    'Asks the registry whether the login is good and remembers it where docker does: with the credential helper that the docker config names, otherwise in that file.',
  examples: [
    { purpose: 'Log in, with a question for the password', command: 'tsbuild login registry.example' },
    {
      purpose: 'Log in from a script',
      command: 'printenv TOKEN | tsbuild login registry.example -u robot --password-stdin',
    },
  ],
  async run({ options, operands: [server = 'docker.io'] }, context) {
    const interactive = context.stdin.isTTY === true && !options.passwordStdin;
    if (!interactive && (!options.passwordStdin || options.username === undefined)) {
      throw new UsageError('standard input is no terminal to ask for a user name and a password', {
        code: 'E_USAGE',
        hint: 'give -u NAME and --password-stdin',
      });
    }
    const username = options.username ?? (await ask(context, 'Username: '));
    const password = options.passwordStdin
      ? (await readToEnd(context)).replace(/\r?\n$/, '')
      : await readSecret(context, 'Password: ');
    if (username === '' || password === '') {
      throw new UsageError(`the ${username === '' ? 'user name' : 'password'} is empty`, { code: 'E_USAGE' });
    }
    const { checkLogin, saveLogin } = await context.loadEngine();
    await checkLogin(server, { username, password }, { environment: context.env, signal: context.signal });
    const where = await saveLogin(server, { username, password }, context.env);
    context.stderr.write(`logged in to ${server}; the login is kept in ${where}\n`);
    return 0;
  },
});
