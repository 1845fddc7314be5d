/** What a build context is by the looks of its argument. */
import { parseGitUrl } from './git-url.ts';
import { isHttpUrl } from './http-url.ts';

/** Whether it means anything but a directory: `-` for standard input, a git repository, a web URL. @throws as parseGitUrl */
export function isRemoteContext(argument: string): boolean {
  return argument === '-' || isHttpUrl(argument) || parseGitUrl(argument) !== undefined;
}
