/**
 * The agents of one build. The user's own is used where it listens; for key files an `ssh-agent` of the build's own is started,
 * which ends with the build: however this process ends.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DefinitionError, HostError } from '../errors.ts';
import type { SshAgentSpec } from './ssh-agent-spec.ts';

/** Where an agent listens on this machine. */
export interface SshAgentSocket {
  readonly path: string;
  /** See {@link SshAgentSpec.raw}. */
  readonly raw: boolean;
}

interface OwnAgent {
  readonly socket: string;
  end(): Promise<void>;
}

export interface SshAgentsOptions {
  readonly environment: NodeJS.ProcessEnv;
  readonly cwd: string;
}

const MAX_MESSAGE_CHARACTERS = 2000;

export class SshAgents implements AsyncDisposable {
  readonly #specs: ReadonlyMap<string, SshAgentSpec>;
  readonly #options: SshAgentsOptions;
  readonly #sockets = new Map<string, Promise<SshAgentSocket>>();
  readonly #own: OwnAgent[] = [];

  constructor(specs: readonly SshAgentSpec[], options: SshAgentsOptions) {
    this.#specs = new Map(specs.map((spec) => [spec.id, spec]));
    this.#options = options;
  }

  /**
   * Where the agent listens, started if it has to be; undefined when the build was given none of that id.
   *
   * @throws {DefinitionError} `E_SSH_MISSING`; {HostError} `E_TOOL_MISSING`, `E_SSH_KEY`.
   */
  async socketOf(id: string): Promise<SshAgentSocket | undefined> {
    const spec = this.#specs.get(id);
    if (spec === undefined) {
      return undefined;
    }
    const known = this.#sockets.get(id) ?? this.#open(spec);
    this.#sockets.set(id, known);
    return await known;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#sockets.values());
    await Promise.all(this.#own.splice(0).map((agent) => agent.end()));
  }

  async #open({ id, paths, raw }: SshAgentSpec): Promise<SshAgentSocket> {
    const { environment, cwd } = this.#options;
    const users = environment.SSH_AUTH_SOCK;
    if (paths.length === 0 && !users) {
      throw missing(`--ssh ${id} means your ssh-agent, and SSH_AUTH_SOCK is not set`, id);
    }
    const files = (paths.length === 0 ? [users ?? ''] : paths).map((path) => resolve(cwd, path));
    const keys: string[] = [];
    for (const path of files) {
      const found = await stat(path).catch((cause: unknown) => {
        throw missing(
          `cannot use '${path}' for --ssh ${id}: ${(cause as NodeJS.ErrnoException).code}`,
          id,
          cause,
        );
      });
      if (!found.isSocket()) {
        keys.push(path);
      }
    }
    const [first = ''] = files;
    if (keys.length === 0 && files.length === 1) {
      return { path: first, raw };
    }
    if (keys.length < files.length) {
      throw missing(`--ssh ${id} takes one socket, or files with keys`, id);
    }
    if (raw) {
      throw missing(`--ssh ${id} is raw, and '${first}' is no socket`, id);
    }
    const agent = await startAgent(environment);
    this.#own.push(agent);
    for (const key of keys) {
      await addKey(agent.socket, key, environment);
    }
    return { path: agent.socket, raw: false };
  }
}

/**
 * The agent is told to live as long as `cat`, and `cat` lives as long as its input is open: when this process is killed, the
 * kernel closes it.
 */
async function startAgent(environment: NodeJS.ProcessEnv): Promise<OwnAgent> {
  const directory = await mkdtemp(join(tmpdir(), 'tsbuild-agent-'));
  const socket = join(directory, 'agent');
  const child = spawn(
    'ssh-agent',
    ['-a', socket, 'sh', '-c', 'echo "agent=$SSH_AGENT_PID" && exec cat > /dev/null'],
    // Ctrl-C on the terminal is for us, who end it when the build has ended.
    { stdio: ['pipe', 'pipe', 'pipe'], detached: true, env: { PATH: environment.PATH } },
  );
  let said = '';
  const ended = new Promise<void>((done) => child.once('close', () => done()));
  try {
    const pid = await new Promise<number>((found, reject) => {
      child.once('error', (cause) => reject(toolMissing('ssh-agent', cause)));
      child.stderr.on('data', (chunk: Buffer) => {
        said = (said + chunk.toString('utf8')).slice(0, MAX_MESSAGE_CHARACTERS);
      });
      child.stdout.on('data', (chunk: Buffer) => {
        const match = /agent=(\d+)/.exec(chunk.toString('utf8'));
        if (match !== null) {
          found(Number(match[1]));
        }
      });
      void ended.then(() =>
        reject(
          new HostError(`ssh-agent could not be started: ${said.trim() || `status ${child.exitCode}`}`, {
            code: 'E_SSH_KEY',
          }),
        ),
      );
    });
    child.stdin.on('error', () => undefined);
    return {
      socket,
      end: async () => {
        child.stdin.end();
        try {
          process.kill(pid, 'SIGTERM');
        } catch {
          // It has ended already.
        }
        await ended;
        await rm(directory, { recursive: true, force: true });
      },
    };
  } catch (error) {
    child.kill();
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

async function addKey(socket: string, path: string, environment: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn('ssh-add', ['-q', path], {
    stdio: ['ignore', 'ignore', 'pipe'],
    // Without a terminal of its own it cannot ask for a passphrase, and fails instead of waiting for ever.
    detached: true,
    env: {
      PATH: environment.PATH,
      HOME: environment.HOME,
      SSH_AUTH_SOCK: socket,
      SSH_ASKPASS_REQUIRE: 'never',
    },
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString('utf8')).slice(0, MAX_MESSAGE_CHARACTERS);
  });
  const status = await new Promise<number | null>((done, reject) => {
    child.once('error', (cause) => reject(toolMissing('ssh-add', cause)));
    child.once('close', done);
  });
  if (status !== 0) {
    throw new HostError(
      `ssh-add does not take the key '${path}': ${said.trim().split('\n')[0] || `status ${status}`}`,
      {
        code: 'E_SSH_KEY',
        path,
        hint: 'a key with a passphrase belongs into your own agent: run ssh-add, and use --ssh default',
      },
    );
  }
}

function missing(message: string, id: string, cause?: unknown): DefinitionError {
  return new DefinitionError(message, {
    code: 'E_SSH_MISSING',
    cause,
    hint:
      id === 'default'
        ? 'start an agent with `eval "$(ssh-agent)" && ssh-add`, or name a key: --ssh default=KEYFILE'
        : `name the socket of an agent or a key: --ssh ${id}=PATH`,
  });
}

function toolMissing(program: string, cause: Error): HostError {
  return new HostError(`cannot start ${program}, which keys given with --ssh need: ${cause.message}`, {
    code: 'E_TOOL_MISSING',
    errno: (cause as NodeJS.ErrnoException).code,
    cause,
    hint: 'sudo apt-get install openssh-client',
  });
}
