import { command } from '../command.ts';

export default command({
  operands: [
    {
      name: 'SERVER',
      summary: 'The registry, such as registry.example:5000; docker.io when absent',
      required: false,
      completion: 'nothing',
    },
  ],
  options: {},
  detail: 'Removes what `tsbuild login` or `docker login` remembered for a registry.',
  examples: [{ purpose: 'Forget a login', command: 'tsbuild logout registry.example' }],
  async run({ operands: [server = 'docker.io'] }, context) {
    const { eraseLogin } = await context.loadEngine();
    const had = await eraseLogin(server, context.env);
    context.stderr.write(had ? `logged out of ${server}\n` : `there was no login for ${server}\n`);
    return 0;
  },
});
