/** What a step of a Dockerfile sees besides its image, and that nothing of it stays in a layer. */
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacks } from '../../support/requires.ts';
import { SHELL_STAGE, Workbench } from '../../support/workbench.ts';

describe.skipIf(lacks('root', 'bwrap', 'busybox'))('mounts of steps', () => {
  let bench: Workbench;
  beforeAll(() => {
    bench = new Workbench();
  });
  afterAll(() => {
    expect(bench.leftovers()).toEqual([]);
    bench[Symbol.dispose]();
  });

  test('bind, cache, tmpfs, secrets and heredocs: seen by the step, in no layer, and times stay', async () => {
    const context = bench.context('all', {
      Dockerfile: `${SHELL_STAGE}FROM sh AS made
COPY made /made/file
FROM sh
RUN mkdir -p /mnt/have /out && touch -d @1000000000 /mnt /mnt/have /out
RUN --mount=type=bind,target=/mnt/ctx --mount=type=bind,from=made,source=/made,target=/mnt/made,rw \\
    --mount=target=/mnt/one,source=sub/f --mount=type=cache,target=/mnt/cache,mode=1770,uid=5,gid=6 \\
    --mount=type=cache,target=/mnt/seeded,from=made,source=/made \\
    --mount=type=tmpfs,target=/mnt/tmp,size=1m --mount=type=secret,id=s,target=/mnt/secret,mode=0440,uid=7,gid=8 \\
    --mount=type=secret,id=e,env=FROM_ENV --mount=type=secret,id=none --mount=type=secret,id=none,env=NONE <<EOT
set -e
cat /mnt/ctx/made /mnt/one /mnt/made/file /mnt/seeded/file
if echo no > /mnt/ctx/x; then exit 7; fi
echo kept > /mnt/cache/kept
echo dropped > /mnt/made/file
cat /mnt/made/file
stat -c '%a %u %g' /mnt/cache /mnt/secret
cat /mnt/secret
echo
echo "$FROM_ENV [$NONE] \${NONE-unset}"
test ! -e /run/secrets/none
echo kept > /mnt/cache/kept
dd if=/dev/zero of=/mnt/tmp/big bs=1024 count=2048 2>/dev/null && exit 8
ls /run/secrets 2>/dev/null || true
EOT
RUN --mount=type=cache,target=/mnt/cache,mode=1770,uid=5,gid=6 cat /mnt/cache/kept && test ! -e /mnt/secret
RUN <<EOT1 cat && cat <<EOT2
first
EOT1
second
EOT2
RUN <<SCRIPT
#!/bin/sh
echo "script $0 \${#}"
SCRIPT
RUN --mount=from=made,target=/mnt/deep/new cat /mnt/deep/new/made/file > /out/f
COPY <<"RAW" <<NAMED /texts/
$literal
RAW
from $PATH
NAMED
`,
      made: 'MADE\n',
      'sub/f': 'SUB\n',
    });
    bench.write({ 's.txt': 'the-file' });
    const image = await bench.image(
      ['--secret', `id=s,src=${bench.at('s.txt')}`, '--secret', 'id=e,env=E', context],
      { env: { E: 'the-variable' } },
    );
    const output = image.ran.stderr
      .split('\n')
      .flatMap((line) => /^#\d+ \d+\.\d+ (.*)$/.exec(line)?.[1] ?? [])
      .filter((line) => !line.includes("can't create"));
    expect(output).toEqual([
      'MADE',
      'SUB',
      'MADE',
      'MADE',
      'dropped',
      '1770 5 6',
      '440 7 8',
      // Secrets are masked even here.
      expect.stringMatching(/^\*+$/),
      expect.stringMatching(/^\*+ \[\] ?$/),
      'kept',
      'first',
      'second',
      expect.stringMatching(/^script \/dev\/pipes\/\S* 0$/),
    ]);
    expect(image.layers.slice(2)).toEqual([[], [], [], [], ['out/', 'out/f'], expect.anything()]);
    expect(image.stat('mnt')).toContain('2001-09-09 01:46:40');
    expect(image.stat('mnt/have')).toContain('2001-09-09 01:46:40');
    expect([image.read('texts/RAW'), image.read('texts/NAMED')]).toEqual(['$literal\n', 'from /bin\n']);
  });

  test('a cache that two stages share is locked, or private, or shared', async () => {
    // Each holds its mount until it saw what the other did; `locked` ones can never meet.
    const stage = (name: string, sharing: string, command: string) =>
      `FROM sh AS ${name}\nRUN --mount=type=cache,id=${sharing},sharing=${sharing},target=/c --mount=type=cache,id=meet,target=/meet ${command}\n`;
    const meet = (me: string, other: string, after: string) =>
      `touch /c/${me} /meet/${me}; until [ -e /meet/${other} ]; do sleep 0.02; done; ${after}`;
    const locked = 'mkdir /c/held && sleep 0.2 && rmdir /c/held && echo ok >> /c/log && cat /c/log > /log';
    const context = bench.context('sharing', {
      Dockerfile: `${SHELL_STAGE}${[
        stage('s1', 'shared', meet('s1', 's2', 'ls /c > /seen')),
        stage('s2', 'shared', meet('s2', 's1', 'ls /c > /seen')),
        stage('p1', 'private', meet('p1', 'p2', 'ls /c > /seen')),
        stage('p2', 'private', meet('p2', 'p1', 'ls /c > /seen')),
        stage('l1', 'locked', locked),
        stage('l2', 'locked', `true; ${locked}`),
      ].join('')}FROM scratch
COPY --from=s1 /seen /s1
COPY --from=s2 /seen /s2
COPY --from=p1 /seen /p1
COPY --from=p2 /seen /p2
COPY --from=l1 /log /l1
COPY --from=l2 /log /l2
`,
    });
    const image = await bench.image(['--jobs=8', context]);
    expect(image.read('s1')).toBe('s1\ns2\n');
    expect(image.read('s2')).toBe('s1\ns2\n');
    expect([image.read('p1'), image.read('p2')]).toEqual(['p1\n', 'p2\n']);
    expect([image.read('l1'), image.read('l2')].sort()).toEqual(['ok\n', 'ok\nok\n']);
  });

  test('a cache is listed and removed by the id that the Dockerfile gives it', async () => {
    const context = bench.context('ids', {
      Dockerfile: `${SHELL_STAGE}FROM sh
RUN --mount=type=cache,target=/root/.npm true
RUN --mount=type=cache,id=named,target=/n,mode=0700,uid=5 true
RUN --mount=type=cache,id=named,target=/n true
`,
    });
    const home = { env: { TSBUILD_HOME: bench.at('ids-store') } };
    expect((await bench.build([context], home)).status).toBe(0);
    const list = async () => (await bench.run(['cache-mount', 'list', '-q'], home)).stdout;
    expect(await list()).toBe('/root/.npm\nnamed\n');
    expect((await bench.run(['cache-mount', 'rm', 'named'], home)).status).toBe(0);
    expect(await list()).toBe('/root/.npm\n');
  });

  test('a real agent signs for the step and its keys stay outside', async () => {
    bench.write({ 'agent/empty': '' });
    execFileSync('ssh-keygen', [
      '-q',
      '-t',
      'ed25519',
      '-N',
      '',
      '-C',
      'made-for-the-test',
      '-f',
      bench.at('agent/key'),
    ]);
    const socket = bench.at('agent/socket');
    const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
    try {
      execFileSync(
        'sh',
        ['-c', `until [ -S ${socket} ]; do sleep 0.02; done; ssh-add -q ${bench.at('agent/key')}`],
        {
          env: { PATH: process.env.PATH, SSH_AUTH_SOCK: socket },
        },
      );
      // A request for identities, RFC draft-miller-ssh-agent 4.4: length 1, type 11.
      const context = bench.context('ssh', {
        Dockerfile: `${SHELL_STAGE}FROM sh
RUN --mount=type=ssh printf '\\\\000\\\\000\\\\000\\\\001\\\\013' | nc local:$SSH_AUTH_SOCK > /answer & sleep 0.5; kill %1; stat -c %a $SSH_AUTH_SOCK > /mode; echo $SSH_AUTH_SOCK > /name
RUN --mount=type=ssh,id=other,mode=0666,uid=3,target=/a.sock stat -c '%a %u' /a.sock > /other
RUN --mount=type=ssh,id=nobody echo "[$SSH_AUTH_SOCK]" > /nobody; ls -A /run > /run-after
`,
      });
      const image = await bench.image(
        ['--ssh', 'default', '--ssh', `other=${bench.at('agent/key')}`, context],
        {
          env: { SSH_AUTH_SOCK: socket },
        },
      );
      expect(image.read('mode')).toBe('600\n');
      expect(image.read('name')).toMatch(/^\/run\/buildkit\/ssh_agent\.0\n$/);
      expect(image.read('other')).toBe('666 3\n');
      expect(image.read('nobody')).toBe('[]\n');
      expect(image.layers.flat().filter((name) => name.includes('sock') || name.startsWith('run/'))).toEqual(
        [],
      );
    } finally {
      agent.kill();
    }
    const without = await bench.build(['-f', '-', bench.at('ssh')], {
      stdin: `${SHELL_STAGE}RUN --mount=type=ssh,required true\n`,
    });
    expect(without).toMatchObject({ status: 2, stderr: expect.stringContaining('E_SSH_MISSING') });
    expect(without.stderr).toContain('> 4 | RUN --mount=type=ssh,required true');
  });

  test('hosts, limits, memory for files, networks', async () => {
    const context = bench.context('limits', {
      Dockerfile: `${SHELL_STAGE}FROM sh
RUN grep example /etc/hosts > /hosts; ulimit -n > /nofile; df -k /dev/shm | tail -n 1 > /shm; hostname > /name
RUN --network=none ls /sys/class/net > /none 2>&1; cat /proc/net/dev | wc -l > /none
RUN --network=host cat /proc/net/dev | wc -l > /host
`,
    });
    const args = [
      '--add-host',
      'a.example:10.1.2.3',
      '--add-host',
      'b.example=::1',
      '--ulimit',
      'nofile=77:99',
      '--shm-size',
      '3m',
    ];
    const refused = await bench.build([...args, context]);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('network.host');
    const image = await bench.image([...args, '--allow', 'network.host', context]);
    expect(image.read('hosts')).toMatch(/^10\.1\.2\.3\s+a\.example\n::1\s+b\.example\n$/);
    expect(image.read('nofile')).toBe('77\n');
    expect(image.read('shm')).toMatch(/\b3072\b/);
    expect(image.read('name')).toBe('buildkitsandbox\n');
    expect(image.read('none')).toBe('3\n');
    expect(Number(image.read('host'))).toBe(readFileSync('/proc/net/dev', 'utf8').split('\n').length - 1);
    expect(image.layers.flat().filter((name) => name.startsWith('etc'))).toEqual([]);
    const insecure = await bench.build(['-f', '-', context], {
      stdin: `${SHELL_STAGE}RUN --security=insecure true\n`,
    });
    expect(insecure).toMatchObject({ status: 2, stderr: expect.stringContaining('security.insecure') });
  });

  test('mounts that cannot be are errors at their line', async () => {
    const context = bench.context('wrong', { f: 'f' });
    const cases: readonly (readonly [string, number, string])[] = [
      ['RUN --mount=type=secret,id=gone,required true', 2, 'E_SECRET_MISSING'],
      ['RUN --mount=source=missing,target=/m true', 2, 'E_'],
      ['RUN --mount=from=sh,source=/missing,target=/m true', 2, 'E_'],
      ['RUN --mount=type=cache,target=/ true', 2, 'E_'],
      ['RUN --mount=type=bind,from=sh:nope.invalid/x,target=/m true', 2, 'E_'],
    ];
    for (const [line, status, code] of cases) {
      const ran = await bench.build(['-f', '-', context], { stdin: `${SHELL_STAGE}FROM sh\n${line}\n` });
      expect(`${line} ${ran.status}\n${ran.stderr}`).toContain(`${line} ${status}`);
      expect(ran.stderr).toContain(code);
      expect(ran.stderr).toContain(`> 5 | ${line}`);
    }
  });
});
