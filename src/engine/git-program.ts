/**
 * The host's git, run so that a repository can do nothing but be read: no configuration but ours, no hooks, no filters, no
 * prompts, no protocols but those of the call, and no variables of the user's environment that change what git does.
 */
import { spawn } from 'node:child_process';
import { redactText } from '../base/redact.ts';
import { HostError, RemoteError } from '../errors.ts';
import { maskSecrets } from '../secret/mask.ts';

export interface GitProgramOptions {
  readonly environment: NodeJS.ProcessEnv;
  /** Host keys that were seen; those of the user's own file count too. */
  readonly knownHostsFile: string;
  /** Where the build's agent listens; asked when a remote is reached by ssh. */
  readonly sshAuthSock?: () => Promise<string | undefined>;
}

export interface GitCall {
  /** What is being done, for the error: `cannot look up …`. */
  readonly doing: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** `network`: the transports of remote repositories. `local`: repositories of this machine. @defaultValue none */
  readonly reach?: 'network' | 'local' | 'none';
  /** For whom, and what is said to them: goes through the environment, never through arguments. */
  readonly authorization?: { readonly scope: string; readonly header: string };
  readonly signal: AbortSignal;
}

export interface GitOutcome {
  readonly exitCode: number;
  readonly stdout: string;
  /** The last lines that git said, without secrets. */
  readonly complaint: string;
}

/** What we read of git's output is small; more is a repository with millions of refs, or an attack. */
const MAX_OUTPUT_BYTES = 32 * 1024 * 1024;
const MAX_COMPLAINT_BYTES = 16 * 1024;
/** Of git's last words, what an error shows. */
const COMPLAINT_LINES = 4;
/** A git that does not end when it is asked to is killed after so long. */
const KILL_AFTER_MS = 5_000;
/** `GIT_CONFIG_COUNT`, by which credentials are handed over, is of 2.31. */
const OLDEST_GIT = [2, 31] as const;

const PROTOCOLS = { network: 'http:https:git:ssh', local: 'file', none: 'none' } as const;
/** What is taken over from the user's environment. */
const PASSED = /^(PATH|TMPDIR|(https?|no|all)_proxy|GIT_SSL_CAINFO|GIT_SSL_CAPATH)$/i;
const SETTINGS: readonly string[] = [
  // Repositories bring no hooks, but templates of the host might.
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'core.attributesFile=/dev/null',
  'core.symlinks=true',
  'core.protectHFS=true',
  'core.protectNTFS=true',
  'credential.helper=',
  'fetch.recurseSubmodules=false',
  'gc.auto=0',
  'maintenance.auto=false',
  'init.defaultBranch=main',
  'advice.detachedHead=false',
  'protocol.version=2',
  // The store may have been made by the same user under another id, as in containers.
  'safe.directory=*',
  // Bytes a second, and for how many seconds fewer than that are waited for.
  'http.lowSpeedLimit=1',
  'http.lowSpeedTime=300',
];

export class GitProgram {
  readonly #options: GitProgramOptions;
  #checked: Promise<void> | undefined;

  constructor(options: GitProgramOptions) {
    this.#options = options;
  }

  /**
   * Runs git and gives what it wrote.
   *
   * @throws {RemoteError} `E_GIT` when git fails. @throws as {@link try}.
   */
  async run(call: GitCall): Promise<string> {
    const { exitCode, stdout, complaint } = await this.try(call);
    if (exitCode !== 0) {
      throw gitError(call.doing, complaint);
    }
    return stdout;
  }

  /** @throws {HostError} `E_TOOL_MISSING` where there is no git or too old a one. @throws `signal.reason` */
  async try(call: GitCall): Promise<GitOutcome> {
    this.#checked ??= this.#check(call).catch((error: unknown) => {
      this.#checked = undefined;
      throw error;
    });
    await this.#checked;
    return await this.#spawn(call);
  }

  async #check({ cwd, signal }: GitCall): Promise<void> {
    const { stdout } = await this.#spawn({ doing: 'cannot run git', args: ['--version'], cwd, signal });
    const [, major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(stdout) ?? []).map(Number);
    if (major < OLDEST_GIT[0] || (major === OLDEST_GIT[0] && minor < OLDEST_GIT[1])) {
      throw new HostError(
        `git ${OLDEST_GIT.join('.')} or later is needed; this machine has ${major}.${minor}`,
        {
          code: 'E_TOOL_MISSING',
          hint: 'install a newer git',
        },
      );
    }
  }

  async #spawn({ args, cwd, reach = 'none', authorization, signal }: GitCall): Promise<GitOutcome> {
    const agent = reach === 'network' ? await this.#options.sshAuthSock?.() : undefined;
    signal.throwIfAborted();
    const settings = [
      ...SETTINGS,
      // git repeats the header to whoever it is sent on to.
      `http.followRedirects=${authorization === undefined ? 'initial' : 'false'}`,
    ].flatMap((setting) => ['-c', setting]);
    const child = spawn('git', [...settings, ...args], {
      cwd,
      env: { ...this.#environment(reach, agent), ...credentials(authorization) },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A session of its own: no terminal to ask at, and its helpers end with it.
      detached: true,
    });
    return await new Promise((resolve, reject) => {
      const stdout: Buffer[] = [];
      let size = 0;
      let stderr = '';
      let killing: NodeJS.Timeout | undefined;
      const kill = () => {
        if (child.pid === undefined || killing !== undefined) {
          return;
        }
        const pid = child.pid;
        killGroup(pid, 'SIGTERM');
        killing = setTimeout(() => killGroup(pid, 'SIGKILL'), KILL_AFTER_MS);
      };
      signal.addEventListener('abort', kill, { once: true });
      child.stdout.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_OUTPUT_BYTES) {
          kill();
        } else {
          stdout.push(chunk);
        }
      });
      child.stderr.on('data', (chunk: Buffer) => {
        stderr = (stderr + chunk.toString('utf8')).slice(-MAX_COMPLAINT_BYTES);
      });
      const end = () => {
        signal.removeEventListener('abort', kill);
        clearTimeout(killing);
      };
      child.once('error', (cause) => {
        end();
        reject(noGit(cause));
      });
      child.once('close', (exitCode) => {
        end();
        if (signal.aborted) {
          reject(signal.reason);
          return;
        }
        const tooMuch = size > MAX_OUTPUT_BYTES;
        resolve({
          exitCode: tooMuch ? 1 : (exitCode ?? 1),
          stdout: Buffer.concat(stdout).toString('utf8'),
          complaint: tooMuch
            ? `it said more than ${MAX_OUTPUT_BYTES} bytes`
            : lastLines(maskSecrets(stderr, secretsOf(authorization))),
        });
      });
    });
  }

  #environment(reach: NonNullable<GitCall['reach']>, agent: string | undefined): NodeJS.ProcessEnv {
    const { environment } = this.#options;
    const passed = Object.entries(environment).filter(([name]) => PASSED.test(name));
    return {
      ...Object.fromEntries(passed),
      ...(environment.GIT_SSL_CAINFO === undefined && environment.SSL_CERT_FILE !== undefined
        ? { GIT_SSL_CAINFO: environment.SSL_CERT_FILE }
        : {}),
      LC_ALL: 'C',
      HOME: '/dev/null',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_ATTR_NOSYSTEM: '1',
      GIT_TERMINAL_PROMPT: '0',
      // Stands over all configuration, also for the submodules of submodules.
      GIT_ALLOW_PROTOCOL: PROTOCOLS[reach],
      GIT_SSH_COMMAND: this.#sshCommand(agent),
      GIT_SSH_VARIANT: 'ssh',
      ...(agent === undefined ? {} : { SSH_AUTH_SOCK: agent }),
    };
  }

  /** Keys come from the build's agent or not at all. A host that is new is believed, and has to stay what it was. */
  #sshCommand(agent: string | undefined): string {
    const { knownHostsFile } = this.#options;
    const options = [
      'BatchMode=yes',
      'IdentityFile=none',
      `IdentityAgent=${agent === undefined ? 'none' : `"${agent}"`}`,
      'StrictHostKeyChecking=accept-new',
      `UserKnownHostsFile="${knownHostsFile}" ~/.ssh/known_hosts`,
    ];
    return ['ssh', '-F', '/dev/null', ...options.flatMap((option) => ['-o', shellQuote(option)])].join(' ');
  }
}

/** What git could not do, and its last words. */
export function gitError(doing: string, complaint: string): RemoteError {
  return new RemoteError(`${doing}: ${complaint === '' ? 'git failed and said nothing' : complaint}`, {
    code: 'E_GIT',
    hint: 'a private repository needs a secret of the build named GIT_AUTH_TOKEN, or an ssh agent',
  });
}

function noGit(cause: Error): HostError {
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
  return new HostError(missing ? 'this machine has no git on its PATH' : `cannot run git: ${cause.message}`, {
    code: 'E_TOOL_MISSING',
    hint: 'install git; sources that are git repositories need it',
    cause,
  });
}

function credentials(authorization: GitCall['authorization']): NodeJS.ProcessEnv {
  return authorization === undefined
    ? {}
    : {
        GIT_CONFIG_COUNT: '1',
        GIT_CONFIG_KEY_0: `http.${authorization.scope}.extraHeader`,
        GIT_CONFIG_VALUE_0: `Authorization: ${authorization.header}`,
      };
}

function secretsOf(authorization: GitCall['authorization']): string[] {
  const header = authorization?.header ?? '';
  return header === '' ? [] : [header, header.replace(/^\S+\s+/, '')];
}

function lastLines(text: string): string {
  const lines = text
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line !== '');
  return redactText(lines.slice(-COMPLAINT_LINES).join('; '), 600);
}

function killGroup(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(-pid, name);
  } catch {
    // Gone already.
  }
}

function shellQuote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
