import { UsageError } from '../../errors.ts';
import { command } from '../command.ts';
import { completionScript, SHELLS } from '../completions.ts';
import { BadValue } from '../option.ts';

export default command({
  operands: [{ name: 'SHELL', summary: `One of ${SHELLS.join(', ')}`, required: true, completion: SHELLS }],
  options: {},
  detail: 'Prints a script that teaches a shell to complete commands, flags and values of tsbuild.',
  examples: [
    { purpose: 'In ~/.bashrc', command: 'source <(tsbuild completion bash)' },
    { purpose: 'For zsh, in a directory of $fpath', command: 'tsbuild completion zsh > ~/.zfunc/_tsbuild' },
    { purpose: 'For fish', command: 'tsbuild completion fish > ~/.config/fish/completions/tsbuild.fish' },
  ],
  async run({ operands: [shell = ''] }, context) {
    const { COMMANDS } = await import('../command-table.ts');
    try {
      context.stdout.write(await completionScript(shell, COMMANDS));
    } catch (error) {
      if (error instanceof BadValue) {
        throw new UsageError(error.message, { code: 'E_USAGE' });
      }
      throw error;
    }
    return 0;
  },
});
