/** Every command, in the order in which help shows them. Only the one that runs is loaded. */
import type { Command, CommandEntry } from './command.ts';

export const COMMANDS: readonly CommandEntry[] = [
  entry('build', 'Build images from Dockerfiles and definitions', () => import('./commands/build.ts')),
  entry('run', 'Run a command in an image', () => import('./commands/run.ts')),
  entry('shell', 'Open a shell in an image or a failed step', () => import('./commands/shell.ts')),
  entry('plan', 'Show what a build would do', () => import('./commands/plan.ts')),
  entry('export', 'Write an image to an archive or a directory', () => import('./commands/export.ts')),
  entry('push', 'Send an image to a registry', () => import('./commands/push.ts')),
  entry('pull', 'Fetch an image from a registry', () => import('./commands/pull.ts')),
  entry('tag', 'Give an image more names', () => import('./commands/tag.ts')),
  entry('image list', 'List the images of the store', () => import('./commands/image-list.ts')),
  entry(
    'image inspect',
    'Show the manifest and config of images',
    () => import('./commands/image-inspect.ts'),
  ),
  entry('image logs', 'Show what the steps of an image said', () => import('./commands/image-logs.ts')),
  entry(
    'image names',
    'List the names that images were published under',
    () => import('./commands/image-names.ts'),
  ),
  entry('image rm', 'Remove names and images', () => import('./commands/image-rm.ts')),
  entry('cache-mount list', 'List the cache mounts', () => import('./commands/cache-mount-list.ts')),
  entry(
    'cache-mount export',
    'Write a cache mount to an archive',
    () => import('./commands/cache-mount-export.ts'),
  ),
  entry(
    'cache-mount import',
    'Make a cache mount of an archive',
    () => import('./commands/cache-mount-import.ts'),
  ),
  entry('cache-mount rm', 'Remove cache mounts', () => import('./commands/cache-mount-rm.ts')),
  entry('secret create', 'Store a secret', () => import('./commands/secret-create.ts')),
  entry('secret list', 'List the stored secrets', () => import('./commands/secret-list.ts')),
  entry('secret delete', 'Delete stored secrets', () => import('./commands/secret-delete.ts')),
  entry('volume create', 'Make volumes', () => import('./commands/volume-create.ts')),
  entry('volume list', 'List the volumes', () => import('./commands/volume-list.ts')),
  entry('volume ls', 'List the files of a volume', () => import('./commands/volume-ls.ts')),
  entry('volume get', 'Copy out of a volume', () => import('./commands/volume-get.ts')),
  entry('volume put', 'Copy into a volume', () => import('./commands/volume-put.ts')),
  entry('volume rm', 'Remove files from a volume', () => import('./commands/volume-rm.ts')),
  entry(
    'volume delete',
    'Delete volumes with all that is in them',
    () => import('./commands/volume-delete.ts'),
  ),
  entry('du', 'Show what the store takes on disk', () => import('./commands/du.ts')),
  entry('prune', 'Remove what is no longer needed', () => import('./commands/prune.ts')),
  entry('clean', 'Empty the store', () => import('./commands/clean.ts')),
  entry('doctor', 'Try what builds need from this machine', () => import('./commands/doctor.ts')),
  entry('login', 'Remember a login for a registry', () => import('./commands/login.ts')),
  entry('logout', 'Forget the login for a registry', () => import('./commands/logout.ts')),
  entry('completion', 'Print a completion script for a shell', () => import('./commands/completion.ts')),
];

/** A command module's one export is its default. */
function entry(
  name: string,
  summary: string,
  load: () => Promise<{ readonly default: Command }>,
): CommandEntry {
  return { name, summary, load: async () => (await load()).default };
}
