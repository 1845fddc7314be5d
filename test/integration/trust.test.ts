/**
 * Behind a proxy that inspects TLS: what this machine trusts is lent to the steps of a build and to nothing else. The base
 * comes from Debian's archive, because busybox verifies no certificates.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxDefinition } from '../support/busybox.ts';
import { type CompanyCa, type Listening, makeCompanyCa, serveText, serveTls } from '../support/company-ca.ts';
import { readImage, validateLayout } from '../support/layout-validation.ts';
import { tool } from '../support/other-tools.ts';
import { TestRegistry } from '../support/registry.ts';
import { lacks } from '../support/requires.ts';
import { networkEnvironment, run, succeed } from '../support/tsbuild.ts';

const SYSTEM_BUNDLE = '/etc/ssl/certs/ca-certificates.crt';

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'openssl'))('host trust', () => {
  let directory: string;
  let ca: CompanyCa;
  let server: Listening;
  /** The machine's bundle with the company's certificate in it, as `update-ca-certificates` would write it. */
  let bundle: string;
  const at = (...parts: string[]) => join(directory, ...parts);

  const PROXIES = {
    http_proxy: 'http://proxy.invalid:3128',
    HTTPS_PROXY: 'http://proxy.invalid:3128',
    no_proxy: 'localhost,127.0.0.1',
    TSBUILD_PIP_INDEX_URL: 'https://mirror.invalid/pip',
    TSBUILD_NPM_REGISTRY: 'https://mirror.invalid/npm',
    TSBUILD_APT_MIRROR: 'http://mirror.invalid/debian',
  };
  const inStore = (env: Readonly<Record<string, string>> = {}) => ({
    cwd: directory,
    env: { TSBUILD_HOME: at('store'), HOME: at('home'), ...env },
  });
  function define(name: string, rest: string): string {
    const base = "Image.fromDebian({ suite: 'trixie', packages: ['curl', 'openssl', 'python3'] })";
    writeFileSync(at(`${name}.ts`), `import { Image } from 'tsbuild';\nexport default ${base}${rest};\n`);
    return at(`${name}.ts`);
  }
  const url = () => `https://localhost:${server.port}/`;
  const curl = () => `curl -fsS ${url()} > /answer`;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-trust-'));
    ca = makeCompanyCa(directory);
    server = await serveText(ca, 'inspected');
    bundle = at('bundle.pem');
    const system = existsSync(SYSTEM_BUNDLE) ? readFileSync(SYSTEM_BUNDLE, 'utf8') : '';
    writeFileSync(bundle, `${system}\n${readFileSync(ca.path, 'utf8')}`);
    await succeed(['build', define('base', '')], {
      ...inStore(),
      env: { ...networkEnvironment(), ...inStore().env },
    });
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test('curl, openssl and Python of a step reach a server behind the proxy', async () => {
    const python = `import urllib.request as request; print(request.urlopen("${url()}").read().decode())`;
    const steps = [
      curl(),
      `openssl s_client -connect localhost:${server.port} -verify_return_error < /dev/null > /dev/null 2>&1`,
      `python3 -c '${python}' > /python`,
      // Patterns, so that the values are not in the command.
      'case $https_proxy in *prox[y].inv*:3128) ;; *) exit 3 ;; esac',
      'case $HTTP_PROXY in *prox[y].inv*:3128) ;; *) exit 4 ;; esac',
      'case $PIP_INDEX_URL$npm_config_registry in *mirro[r].inv*mirro[r].inv*) ;; *) exit 5 ;; esac',
    ];
    const file = define(
      'reaches',
      `.runCommands(${steps.map((step) => JSON.stringify(step)).join(', ')}).cmd(['/bin/cat', '/answer', '/python'])`,
    );
    const layout = at('layout');
    const args = (flags: readonly string[], dest: string) => [
      'build',
      file,
      '-t',
      'reaches',
      '--progress=plain',
      ...flags,
      '-o',
      `type=oci,dest=${dest},tar=false,compression=uncompressed`,
    ];
    await succeed(args(['--host-ca', 'auto'], layout), inStore({ SSL_CERT_FILE: bundle, ...PROXIES }));
    await validateLayout(layout);

    // Nothing of it is in the layer of the step, the config, the history, the store or its logs.
    for (const needle of [ca.needle, 'proxy.invalid', 'mirror.invalid', 'TSBUILD_', 'SSL_CERT_FILE']) {
      expect(needle.length).toBeGreaterThan(6);
      const ours = readImage(layout);
      const blob = (digest: string) => readFileSync(join(layout, 'blobs', digest.replace(':', '/')));
      expect(blob(ours.manifest.config.digest).includes(needle), `${needle} in the config`).toBe(false);
      expect(blob(ours.manifest.layers.at(-1)?.digest ?? '').includes(needle), `${needle} in the layer`).toBe(
        false,
      );
      const kept = tool('sh', [
        '-c',
        'grep -rlaF -e "$1" "$2" "$3" "$4" "$5" || true',
        'sh',
        needle,
        ...['logs', 'meta.db', 'index.json', 'blobs'].map((part) => at('store', part)),
      ]);
      // Debian's own openssl and curl know that variable's name.
      expect(needle === 'SSL_CERT_FILE' ? '' : kept, `${needle} in the store`).toBe('');
    }
    const names = tool('tar', [
      '-tf',
      join(layout, 'blobs', (readImage(layout).manifest.layers.at(-1)?.digest ?? '').replace(':', '/')),
    ]);
    expect(
      names
        .split('\n')
        .filter((name) => name !== '' && !name.endsWith('/'))
        .sort(),
    ).toEqual(expect.arrayContaining(['answer', 'python']));
    expect(names).not.toContain('run/');

    // Nor in a key: with other trust, other proxies and other mirrors everything is cached.
    for (const [flags, env] of [
      [['--host-ca', 'never'], {}],
      [
        ['--host-ca', 'always'],
        { https_proxy: 'http://other.invalid:1', TSBUILD_PIP_INDEX_URL: 'https://other.invalid/' },
      ],
    ] as const) {
      const { stderr } = await succeed([...args(flags, at(`again-${flags[1]}`))], inStore(env));
      expect(stderr).not.toContain('DONE 0.');
      expect(stderr.match(/CACHED/g)?.length).toBeGreaterThanOrEqual(2);
      expect(readImage(at(`again-${flags[1]}`)).digest).toBe(readImage(layout).digest);
    }
    expect((await succeed(['run', '-q', 'reaches'], inStore())).stdout).toBe('inspectedinspected\n');
  });

  test('--host-ca never lends nothing, and the step fails as it would in the image', async () => {
    const file = define(
      'never',
      `.runCommands(${JSON.stringify(`${curl()}; test -z "$SSL_CERT_FILE" && test ! -e /run/tsbuild/ca-certificates.crt && test ! -s /answer`)})`,
    );
    await succeed(
      ['build', file, '--host-ca', 'never', '--progress=plain'],
      inStore({ SSL_CERT_FILE: bundle }),
    );
    const fails = define('fails', `.runCommands(${JSON.stringify(curl())})`);
    const { status, stderr } = await run(
      ['build', fails, '--host-ca', 'never', '--progress=plain'],
      inStore({ SSL_CERT_FILE: bundle }),
    );
    expect(status).toBe(1);
    expect(stderr).toMatch(/certificate/i);
  });

  test.each(['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS'])(
    'a %s with the one certificate is added to the public ones',
    async (variable) => {
      const file = define(
        `alone-${variable}`,
        `.runCommands(${JSON.stringify(curl())}, 'test $(grep -c BEGIN $SSL_CERT_FILE) -gt 50 && test "$SSL_CERT_FILE" = "$CURL_CA_BUNDLE" # ${variable}')`,
      );
      await succeed(['build', file], inStore({ [variable]: ca.path }));
    },
  );

  test('what the step sets itself is left alone, and containers get the trust too', async () => {
    const file = define(
      'own',
      ".runCommands('test $SSL_CERT_FILE = /own', { env: { SSL_CERT_FILE: '/own' } })",
    );
    await succeed(['build', file], inStore({ SSL_CERT_FILE: bundle }));
    const { stdout } = await succeed(
      ['run', '-q', file, '--', '/bin/sh', '-c', `curl -fsS ${url()}`],
      inStore({ SSL_CERT_FILE: bundle }),
    );
    expect(stdout).toBe('inspected');
  });

  test('a bundle that cannot be read is E_CA_BUNDLE, when a step needs it', async () => {
    const file = define('unreadable', ".runCommands('true # unreadable')");
    const { status, stderr } = await run(['build', file], inStore({ SSL_CERT_FILE: at('no.pem') }));
    expect([status, stderr]).toEqual([3, expect.stringContaining('E_CA_BUNDLE')]);
  });

  test("tsbuild's own connections trust it, and nothing less", async () => {
    await using registry = await TestRegistry.start({ relativeLocations: true });
    await using front = await serveTls(ca, Number(registry.host.split(':')[1]));
    const base = at('pushed.ts');
    writeFileSync(base, busyboxDefinition("runCommands('echo base > /base')"));
    const reference = `localhost:${front.port}/base:1`;
    const push = ['build', base, '-t', reference, '--push'];
    const refused = await run(push, inStore());
    expect([refused.status, refused.stderr]).toEqual([4, expect.stringMatching(/certificate/i)]);
    expect(registry.requests).toEqual([]);
    await succeed(push, inStore({ SSL_CERT_FILE: bundle }));
    expect(registry.count('PUT', /manifests\/1$/)).toBe(1);
    expect(readdirSync(at('store', 'tmp'))).toEqual([]);
  });
});
