/** First images: a base, packages, variables, commands; stable layers first. */
import { Image } from 'tsbuild';
import { giant, hosted } from './stand-ins.ts';

/** The usual flow: start from a base, and chain. */
export const opening = Image.debianSlim({ pythonVersion: '3.13' })
  .aptInstall('git')
  .uvPipInstall(giant('torch<3', 'six<2'))
  .env({ HALT_AND_CATCH_FIRE: '0' })
  .runCommands(`git clone ${hosted('github.com/org/repo')} && echo 'ready to go!'`);

export const basic = Image.debianSlim().pipInstall('requests', 'pydantic');

/** System packages rarely change, requirements sometimes, your own code all the time. */
export const chained = Image.debianSlim()
  // 1. System packages.
  .aptInstall('git', 'curl')
  // 2. Python packages.
  .pipInstall(
    ...giant(
      [
        'crewai>=0.80.0',
        'crewai-tools>=0.14.0',
        'fastapi>=0.115.0',
        'pydantic>=2.0.0',
        'supabase>=2.0.0',
        'openai>=1.0.0',
      ],
      ['httpx>=0.27.0', 'pydantic>=2.0.0'],
    ),
  )
  // 3. Local code: put into containers when they start, so that no edit builds anything.
  .addLocalDir('src', '/root/src');

export const ordered = Image.debianSlim()
  .aptInstall(giant('ffmpeg', 'file'))
  .pipInstall(giant('torch==2.1.0', 'six==1.16.0'))
  .pipInstall(giant('transformers', 'packaging'))
  .addLocalPythonSource('app');
