/** Dockerfiles and contexts that mean harm, or are larger and odder than honest ones. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Account, makeAccount, processesOf } from '../../support/account.ts';
import { lacks } from '../../support/requires.ts';
import { installTsbuild } from '../../support/tsbuild.ts';
import { SHELL_STAGE, Workbench } from '../../support/workbench.ts';

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'newuidmap'))('hostile', () => {
  let bench: Workbench;
  beforeAll(() => {
    bench = new Workbench();
  });
  afterAll(() => {
    expect(bench.leftovers()).toEqual([]);
    bench[Symbol.dispose]();
  });
  const refused = async (dockerfile: string, context: string, code: string, ...more: readonly string[]) => {
    const ran = await bench.build([...more, '-f', '-', context], { stdin: dockerfile });
    expect(ran.stderr).toContain(`(${code})`);
    expect(ran.status, ran.stderr).toBe(2);
    return ran;
  };

  test('links in a context lead nowhere but into it, and are copied as links', async () => {
    const context = bench.context('links', { 'in/f': 'inside', deep: { link: 'in/../../../../../../in/f' } });
    for (const [name, target] of [
      ['absolute', '/etc/shadow'],
      ['up', '../../../../../../../../etc/shadow'],
      ['directory', '/etc'],
      ['loop', 'loop'],
      ['in/outside', bench.at('links')],
    ] as const) {
      symlinkSync(target, join(context, name));
    }
    for (const source of [
      'absolute',
      'up',
      'directory/shadow',
      'loop',
      'abs*',
      './in/../up',
      'in/outside/in/f',
    ]) {
      await refused(`FROM scratch\nCOPY ${source} /got\n`, context, 'E_COPY_SOURCE_MISSING');
    }
    const image = await bench.image(['-f', '-', context], {
      stdin: 'FROM scratch\nCOPY . /all/\nCOPY deep ../../in/f /each/\n',
    });
    // A named link is followed inside the context; `..` ends at its root.
    expect(image.read('each/deep')).toBe('inside');
    expect(image.read('each/f')).toBe('inside');
    expect(image.stat('all/absolute')).toContain('-> /etc/shadow');
  });

  test('links of an image lead nowhere but into it: as sources, destinations, mounts and directories', async () => {
    const context = bench.context('image-links', { f: 'f' });
    const evil = `${SHELL_STAGE}FROM sh AS evil
RUN ln -s /proc /p && ln -s /etc /e && ln -s /etc/shadow /s && ln -s ../../../.. /up && ln -s ${bench.at('out')} /host && ln -s /l1 /l2 && ln -s /l2 /l1
`;
    const image = await bench.image(['-f', '-', context], {
      stdin: `${evil}FROM evil
COPY f /p/sys/f
COPY f /up/escaped
COPY f /host/f
COPY f /s
COPY f /proc/self/root/f
ADD --chmod=4755 f /e/
WORKDIR /e/dir
RUN --mount=type=cache,target=/e/mounted pwd > where
`,
    });
    expect(image.layers.slice(2).map((names) => names.filter((name) => !name.endsWith('/')))).toEqual([
      ['proc/sys/f'],
      ['escaped'],
      [`${bench.at('out').slice(1)}/f`],
      ['etc/shadow'],
      ['proc/self/root/f'],
      ['etc/f'],
      [],
      ['etc/dir/where'],
    ]);
    expect(existsSync(bench.at('out'))).toBe(false);
    for (const source of ['/s', '/e/shadow', '/up/etc/shadow', '/p/self/environ', '/l1', '/host']) {
      await refused(
        `${evil}FROM scratch\nCOPY --from=evil ${source} /got\n`,
        context,
        'E_COPY_SOURCE_MISSING',
      );
    }
    await refused(
      `${evil}FROM sh\nRUN --mount=from=evil,source=/e,target=/m true\n`,
      context,
      'E_FILE_NOT_FOUND',
    );
    await refused(
      `${evil}FROM sh\nRUN --mount=type=cache,from=evil,source=/e,target=/m true\n`,
      context,
      'E_FILE_NOT_FOUND',
    );
    for (const target of ['/p/x', '/p', '/up']) {
      await refused(
        `${evil}FROM evil\nRUN --mount=type=tmpfs,target=${target} true\n`,
        context,
        'E_MOUNT_TARGET',
      );
    }
  });

  test('the Dockerfile that a context holds is no other file of the user', async () => {
    bench.write({
      'victim/keys': 'machine h password p4ssw0rd\n',
      'strange/real': 'FROM scratch\nLABEL in=it\n',
    });
    const [strange, victim] = [bench.at('strange'), bench.at('victim')];
    symlinkSync(join(victim, 'keys'), join(strange, 'Dockerfile'));
    symlinkSync(victim, join(strange, 'dir'));
    symlinkSync('/real', join(strange, 'inside'));
    const tar = execFileSync('tar', ['-C', strange, '-c', '.']);
    for (const args of [['-'], ['-f', 'dir/keys', '-'], ['-f', 'dir/../keys', '-']]) {
      const ran = await bench.build(args, { stdin: tar });
      expect(ran.status, ran.stderr).toBe(2);
      expect(ran.stderr).toContain('there is no Dockerfile');
      // Neither what the link leads to nor where the context lay.
      expect(ran.stderr).not.toMatch(/p4ssw0rd|context-/);
    }
    const ran = await bench.build(['strange']);
    expect(ran.stderr).toContain(`there is no Dockerfile '${join(strange, 'Dockerfile')}'`);
    expect(ran.stderr).toContain('it is a link to nothing in the context');
    rmSync(join(strange, 'Dockerfile'));
    symlinkSync('/real', join(strange, 'Dockerfile'));
    for (const [args, stdin] of [
      [['-f', 'inside', '-'], tar],
      [['strange'], ''],
    ] as const) {
      const image = await bench.image(args, { stdin });
      expect(image.config.config?.Labels).toEqual({ in: 'it' });
    }
  });

  test('long chains, many instructions, expansions that grow, stages in circles', async () => {
    bench.write({ 'none/x': 'x' });
    const chain = [
      'FROM scratch AS s0',
      ...Array.from({ length: 300 }, (_, n) => `FROM s${n} AS s${n + 1}\nENV A${n}=1`),
    ];
    const deep = await bench.image(['-f', '-', 'none'], { stdin: `${chain.join('\n')}\n` });
    expect(deep.config.config?.Env).toHaveLength(301);
    const many = Array.from({ length: 5000 }, (_, n) => `LABEL l${n}=v`);
    const labelled = await bench.image(['-f', '-', 'none'], { stdin: `FROM scratch\n${many.join('\n')}\n` });
    expect(Object.keys(labelled.config.config?.Labels ?? {})).toHaveLength(5000);
    const doubling = Array.from({ length: 60 }, (_, n) => `ARG A${n + 1}=\${A${n}}\${A${n}}`);
    await refused(
      `ARG A0=0123456789\n${doubling.join('\n')}\nFROM scratch\n`,
      'none',
      'E_DOCKERFILE_VARIABLE',
    );
    await refused('FROM b AS a\nCOPY --from=b / /\nFROM a AS b\n', 'none', 'E_DOCKERFILE_STAGE');
    await refused(
      'FROM scratch AS a\nONBUILD COPY --from=b / /\nFROM a AS b\nLABEL a=b\n',
      'none',
      'E_DOCKERFILE_STAGE',
    );
    await refused('FROM scratch\nONBUILD ONBUILD LABEL a=b\n', 'none', 'E_DOCKERFILE_INSTRUCTION');
    await refused(`FROM scratch\nLABEL a=${'x'.repeat(70_000)}\n`, 'none', 'E_DOCKERFILE_SYNTAX');
    await refused(`FROM scratch\nCOPY x /${'d/'.repeat(3000)}x\n`, 'none', 'E_DOCKERFILE_INSTRUCTION');
  });

  test('what a terminal would act on arrives nowhere', async () => {
    const context = bench.context('terminal', { 'f\x1b[31m': 'f' });
    const ESC = '\x1b]0;title\x07\x1b[31m\x9b2J';
    const good = `# check=skip=none
# ${ESC} described
FROM sh AS shell
ARG A="${ESC}"
LABEL "k${ESC}"="v${ESC}"
copy f* "/to${ESC}/"
RUN echo '${ESC}' >&2; printf '\\033]0;o\\007\\033[2J'; true '${ESC}'
`;
    const bad = [
      `FROM scratch\nNO${ESC} x\n`,
      `FROM scratch\nCOPY missing${ESC} /x\n`,
      `FROM a${ESC}b\n`,
      `# syntax=${ESC}\nFROM scratch\nLABEL ${ESC} x\nRUN false\n`,
    ];
    const texts: string[] = [];
    const show = async (args: readonly string[], stdin: string) => {
      const { stdout, stderr, status } = await bench.build([...args, '-f', '-', context], { stdin });
      texts.push(stdout, stderr);
      return status;
    };
    expect(await show(['-t', 'terminal', '--build-arg', `no${ESC}=1`], SHELL_STAGE + good)).toBe(0);
    for (const args of [
      ['--no-cache', '--progress=json'],
      ['--check'],
      ['--call=outline'],
      ['--call=targets'],
      ['--target', `x${ESC}`],
    ]) {
      await show(args, SHELL_STAGE + good);
    }
    for (const text of bad) {
      expect(await show([], text)).not.toBe(0);
    }
    for (const args of [
      ['image', 'list'],
      ['image', 'inspect', 'terminal'],
    ]) {
      texts.push((await bench.run(args)).stdout);
    }
    expect(texts.join('')).toContain('title');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for.
    expect(texts.filter((text) => /[\x00-\x08\x0b-\x1f\x7f-\x9f]/.test(text))).toEqual([]);
  });

  test('a context with pipes, sockets, odd and very long names', async () => {
    const context = bench.context('odd', {
      'new\nline': 'n',
      Dockerfile: 'FROM scratch\nCOPY . /\n',
      '.dockerignore': 'busybox\n',
    });
    execFileSync('mkfifo', [join(context, 'pipe')]);
    const long = ['n'.repeat(255), 'm'.repeat(255), 'o'.repeat(255)].join('/');
    mkdirSync(join(context, long), { recursive: true });
    writeFileSync(join(context, long, 'f'), 'deep');
    const server = createServer().listen(join(context, 'socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    try {
      const image = await bench.image([context]);
      // A socket is an empty file, a pipe is nothing, as in other builders.
      expect(image.layers.flat()).toEqual(expect.arrayContaining(['socket', `${long}/f`]));
      expect(image.layers.flat()).not.toContain('pipe');
      expect(image.stat('socket')).toMatch(/ 0\/0 +0 /);
    } finally {
      server.close();
    }
    await refused('FROM scratch\nCOPY pipe /x\n', context, 'E_LOCAL_FILE_MISSING');
  });

  test('a file that changes between key and copy fails the build instead of poisoning the cache', async () => {
    // The RUN changes the context while the COPY, whose key is known by then, waits for it.
    const context = bench.context('changing', { f: 'one' });
    const dockerfile = `${SHELL_STAGE}FROM sh\nRUN echo running; sleep 1\nCOPY f /f\n`;
    const ran = await bench.build(['-f', '-', context], {
      stdin: dockerfile,
      at: { text: ' running', act: () => writeFileSync(join(context, 'f'), 'two') },
    });
    expect(ran.stderr).toContain('E_FILE_CHANGED_DURING_BUILD');
    expect(ran.status).toBe(2);
    expect((await bench.image(['-f', '-', context], { stdin: dockerfile })).read('f')).toBe('two');
  });

  describe('as an ordinary user', () => {
    let account: Account;
    let own: Workbench;
    beforeAll(() => {
      account = makeAccount({ subordinateIds: true });
      own = new Workbench({ account, tsbuild: installTsbuild(join(account.home, 'package')) });
      chmodSync(account.home, 0o755);
    });
    afterAll(() => {
      expect(own.leftovers()).toEqual([]);
      expect(processesOf(account)).toEqual([]);
      own[Symbol.dispose]();
      account?.[Symbol.dispose]();
    });

    test('files that cannot be read are an error if they are wanted, and nothing otherwise', async () => {
      const context = own.context('unreadable', {
        secret: { text: 's', mode: 0o000 },
        'dir/x': 'x',
        ok: 'ok',
      });
      chmodSync(join(context, 'dir'), 0o000);
      const image = await own.image(['-f', '-', context], {
        stdin: `${SHELL_STAGE}FROM sh\nCOPY --chown=1000:1001 ok /ok\nRUN --mount=type=bind,source=ok,target=/m cat /m > /copy; id -u >> /copy\n`,
      });
      expect(image.read('copy')).toBe('ok0\n');
      expect(image.stat('ok')).toContain('1000/1001');
      for (const source of ['secret', 'dir', '.']) {
        const ran = await own.build(['-f', '-', context], { stdin: `FROM scratch\nCOPY ${source} /x/\n` });
        expect(ran.stderr).toContain('permission denied');
        expect([2, 3]).toContain(ran.status);
      }
      chmodSync(join(context, 'dir'), 0o755);
    });

    test('the same Dockerfile gives the same layers as for root', async () => {
      const dockerfile = `${SHELL_STAGE}FROM sh
RUN mkdir -p /srv && echo a > /srv/a && chown -R 33:44 /srv && chmod 2750 /srv && touch -d @1000000000 /srv/a /srv /
COPY --chown=5:6 --chmod=640 f /srv/
COPY --from=sh --link /bin/sh /linked
RUN --mount=type=secret,id=s --mount=type=cache,target=/c,uid=9 test "$(stat -c %u /c)" = 9 && test -s /run/secrets/s
`;
      const benches = [bench, own];
      const images = await Promise.all(
        benches.map(async (each) => {
          const context = each.context('same', { f: 'f' });
          each.write({ 'token.txt': 'token' });
          for (const path of ['f', 'busybox']) {
            execFileSync('touch', ['-d', '@1000000000', join(context, path)]);
          }
          return await each.image(
            ['--secret', `id=s,src=${each.at('token.txt')}`, '--rewrite-timestamp', '-f', '-', context],
            { stdin: dockerfile, env: { SOURCE_DATE_EPOCH: '1000000000' } },
          );
        }),
      );
      expect(images[0]?.layers).toEqual(images[1]?.layers);
      expect(images[0]?.diffIds).toEqual(images[1]?.diffIds);
    });
  });
});
