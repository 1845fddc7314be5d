/** Shell commands: downloads, builds from source, what each command sees of the last one. */
import { Image } from 'tsbuild';
import { hosted } from './stand-ins.ts';

const base = Image.debianSlim().aptInstall('git', 'wget', 'make', 'gcc', 'libc6-dev');

export const cloned = base.runCommands(
  `git clone ${hosted('github.com/org/repo')} /root/repo`,
  'chmod +x /root/repo/setup.sh',
);

export const downloaded = base.runCommands(
  'mkdir -p /models',
  `wget -q ${hosted('example.com/model.bin')} -O /models/model.bin`,
);

/** Every command has a shell of its own, so `cd` holds for its own line only. */
export const fromSource = base
  .workdir('/usr/src')
  .runCommands(`git clone ${hosted('github.com/example/lib.git')}`, 'cd lib && make && make install');

/** One shell for all of them. */
export const sharedShell = base.runCommands(
  `git clone ${hosted('github.com/example/lib.git')} /tmp/lib`,
  'cd /tmp/lib',
  'make -j$(nproc)',
  'make install && rm -rf /tmp/lib',
  { sharedShell: true },
);

/** For shells that are started later; `.env()` is what commands and programs see. */
export const shellProfile = base.runCommands("echo 'export PATH=/custom/bin:$PATH' >> /root/.bashrc");

export const environment = base
  .env({ HF_HOME: '/models/huggingface', TORCH_HOME: '/models/torch' })
  .runCommands('mkdir -p $HF_HOME $TORCH_HOME')
  .workdir('/models')
  .entrypoint(['/usr/bin/env']);

/** A layer that is built anew every time, and all that follow it. */
export const forced = base.pipInstall('packaging', { forceBuild: true }).runCommands('echo hi');
