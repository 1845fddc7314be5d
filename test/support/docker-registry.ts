/** The real registry (Debian's package `docker-registry`) as a child process on a free port of this machine. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface DockerRegistry extends AsyncDisposable {
  readonly host: string;
}

export function hasDockerRegistry(): boolean {
  return spawnSync('docker-registry', ['--version']).status === 0;
}

/** @param login - Everything then needs this login, by the Basic scheme. */
export async function startDockerRegistry(login?: {
  readonly username: string;
  readonly password: string;
}): Promise<DockerRegistry> {
  const directory = await mkdtemp(join(tmpdir(), 'tsbuild-registry-'));
  const port = await freePort();
  const config = join(directory, 'config.yml');
  await writeFile(
    config,
    `version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: ${directory}/data }, delete: { enabled: true } }
http: { addr: "127.0.0.1:${port}" }
${
  login === undefined
    ? ''
    : `auth: { htpasswd: { realm: test, path: ${directory}/htpasswd } }
`
}`,
  );
  if (login !== undefined) {
    await writeFile(join(directory, 'htpasswd'), `${login.username}:${bcrypt(login.password)}\n`);
  }
  const child = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const host = `127.0.0.1:${port}`;
  for (;;) {
    if (child.exitCode !== null) {
      throw new Error(`docker-registry ended with status ${child.exitCode}`);
    }
    const answer = await fetch(`http://${host}/v2/`).catch(() => undefined);
    if (answer?.ok || answer?.status === 401) {
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    host,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** The only kind of hash that the registry takes; the C library of Debian makes it. */
function bcrypt(password: string): string {
  const program = 'print crypt($ARGV[0], q($2y$05$abcdefghijklmnopqrstuu))';
  return execFileSync('perl', ['-e', program, password], { encoding: 'utf8' });
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
