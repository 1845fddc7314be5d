/** Tokens that steps need: seen by the commands of one call, and in no layer, key, history or log. */
import { Image, Secret } from 'tsbuild';
import { hosted } from './stand-ins.ts';

const tokens = Secret.fromEnv(['GITHUB_TOKEN', 'PRIVATE_REGISTRY_TOKEN']);

/** Plain quotes: in a back-tick literal JavaScript itself would fill in `${GITHUB_TOKEN}`. */
const repository = hosted('github.com/private/repo.git', 'git:${GITHUB_TOKEN}');
const index = hosted('pypi.private.com/simple/', 'token:${PRIVATE_REGISTRY_TOKEN}');

/** Pinned, because an extra index does not stand before PyPI, where anybody may register the name of a package of yours. */
export const secure = Image.debianSlim()
  .aptInstall('git')
  .runCommands(`git clone ${repository} /app`, 'rm -rf /app/.git', { secrets: [tokens] })
  .pipInstall('--extra-index-url', index, 'acme-private-package==1.0', { secrets: [tokens] });
