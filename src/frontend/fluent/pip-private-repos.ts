/** Installs packages from private repositories of GitHub and GitLab, with pip (A2.4 of the Image API). */
import type { SecretIdentity } from '../../secret/secret.ts';
import { definitionError, knownOptions, requiredString, splitOptions } from './arguments.ts';
import { PIP_OPTIONS, type PipOptions, pipFlags, run } from './install-layers.ts';
import { type LayerDefinition, label } from './layer-definition.ts';
import { recipeOf, stepOptions } from './step-options.ts';

export interface PrivateReposOptions extends PipOptions {
  /** Whose tokens they are. Part of the key. */
  readonly gitUser: string;
}

const HOSTS = [
  { prefix: 'github.com/', token: 'GITHUB_TOKEN' },
  { prefix: 'gitlab.com/', token: 'GITLAB_TOKEN' },
] as const;

/** Undefined when the call adds nothing. */
export function pipInstallPrivateRepos(args: readonly unknown[]): LayerDefinition | undefined {
  const method = 'pipInstallPrivateRepos';
  const { values, options } = splitOptions(args);
  knownOptions(method, options, [...PIP_OPTIONS, 'gitUser']);
  const flags = pipFlags(method, options, ['--pre']);
  const common = stepOptions(method, options);
  const repositories = checkedRepositories(method, values.flat());
  if (repositories.length === 0) {
    return undefined;
  }
  if (common.secrets.length === 0) {
    throw definitionError(
      'E_PRIVATE_REPO_NO_SECRET',
      `${method}() needs secrets that give ${HOSTS.map(({ token }) => token).join(' or ')}`,
      "pass secrets: [Secret.fromEnv(['GITHUB_TOKEN'])] to the call",
    );
  }
  const gitUser = userInfo(requiredString(method, 'gitUser', options.gitUser));
  const given = common.secrets.map((secret) => secretText(secret.identity)).join(', ');
  const guards = HOSTS.filter(({ prefix }) => repositories.some(({ ref }) => ref.startsWith(prefix))).map(
    ({ token }) => {
      const message = `${method}() needs ${token}, which its secrets do not give: ${given}`;
      return run([`bash -c "[[ -v ${token} ]] || (echo '${message}' && exit 1)"`], { lend: [] });
    },
  );
  return {
    method,
    label: label(
      method,
      repositories.map(({ ref }) => ref),
    ),
    steps: [
      ...guards,
      run(['apt-get update && apt-get install -y git'], { lend: ['apt'] }),
      ...repositories.map(({ ref, token }) =>
        // The shell expands the token, so that no plan, key or history holds it.
        run(
          [
            `python3 -m pip install "git+https://${inDoubleQuotes(gitUser)}:$${token}@${inDoubleQuotes(ref)}"`,
            ...flags.words,
          ],
          { lend: ['pip'], expanded: flags.expanded },
        ),
      ),
    ],
    ...common,
    keyExtras: {},
    recipe: [repositories.map(({ ref }) => ref), recipeOf(options)],
    diagnostics: [],
    requirements: [],
  };
}

function checkedRepositories(method: string, values: readonly unknown[]) {
  const wrong: string[] = [];
  const repositories = values.flatMap((value) => {
    const ref = typeof value === 'string' ? value : '';
    const host = HOSTS.find(({ prefix }) => ref.startsWith(prefix) && ref.length > prefix.length);
    if (host === undefined || /[\s\0]/.test(ref)) {
      wrong.push(typeof value === 'string' ? `'${value}'` : `a value of type ${typeof value}`);
      return [];
    }
    return [{ ref, token: host.token }];
  });
  if (wrong.length > 0) {
    throw definitionError(
      'E_PRIVATE_REPO_HOST',
      `${method}() takes repositories of github.com and gitlab.com, not ${wrong.join(', ')}`,
      "write 'github.com/org/repo@ref', without a scheme",
    );
  }
  return repositories;
}

/** What cannot stand before the colon of a URL's userinfo is encoded, such as the @ of an address. Source: RFC 3986, 3.2.1. */
function userInfo(name: string): string {
  return name.replace(/[^\w.~!$&'()*+,;=%-]/gu, encodeURIComponent);
}

function inDoubleQuotes(text: string): string {
  return text.replace(/[\\"`$]/g, '\\$&');
}

/** `dict GITHUB_TOKEN`: kind and names, in letters that two levels of shell quotes leave alone. */
function secretText(identity: SecretIdentity): string {
  return Object.values(identity)
    .flat()
    .join(' ')
    .replace(/[^\w./ -]/g, '_');
}
