import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkLogin, eraseLogin, saveLogin, serverHost } from '../../../src/engine/login.ts';

let server: Server;
let host: string;
let directory: string;
const login = { username: 'me', password: 'hunter2' };

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tsbuild-login-'));
  const good = `Basic ${Buffer.from('me:hunter2').toString('base64')}`;
  server = createServer((request, response) => {
    response.statusCode = request.headers.authorization === good ? 200 : 401;
    response.setHeader('www-authenticate', 'Basic realm="test"');
    response.end('{}');
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(async () => {
  await new Promise((closed) => server.close(closed));
  await rm(directory, { recursive: true, force: true });
});

describe('login', () => {
  it('asks the registry', async () => {
    const options = { environment: {} };
    await checkLogin(host, login, options);
    await expect(checkLogin(host, { ...login, password: 'wrong' }, options)).rejects.toMatchObject({
      code: 'E_AUTH',
    });
  });

  it('is kept for the user alone, and forgotten', async () => {
    const environment = { DOCKER_CONFIG: join(directory, 'docker'), HOME: directory };
    const path = await saveLogin(`https://${host}/v2/`, login, environment);
    expect(path).toBe(join(directory, 'docker', 'config.json'));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({
      auths: { [host]: { auth: Buffer.from('me:hunter2').toString('base64') } },
    });
    expect(await eraseLogin(host, environment)).toBe(true);
    expect(await eraseLogin(host, environment)).toBe(false);
    expect(await readFile(path, 'utf8')).not.toContain('auth"');
  });

  it.each([
    ['docker.io', 'docker.io'],
    ['https://index.docker.io/v1/', 'docker.io'],
    ['Registry.Example:5000', 'registry.example:5000'],
    ['localhost', 'localhost'],
  ])('reads the server %s', (text, expected) => {
    expect(serverHost(text)).toBe(expected);
  });

  it.each(['', 'plain', 'r.example/team', 'r.example:x', 'r.example:99999', '-x.example', 'a b.example'])(
    'refuses the server %j',
    (text) => {
      expect(() => serverHost(text)).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
    },
  );
});
