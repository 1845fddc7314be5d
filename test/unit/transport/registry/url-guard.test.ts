import { describe, expect, it } from 'vitest';
import { proxyFor } from '../../../../src/http/proxy.ts';
import { parseChallenges } from '../../../../src/transport/registry/challenge.ts';
import { guardUrl } from '../../../../src/transport/registry/url-guard.ts';

const registry = new URL('https://registry.example/');

describe('guardUrl', () => {
  it.each([
    'https://127.0.0.1/x',
    'https://localhost/x',
    'https://10.1.2.3/x',
    'https://192.168.0.1/x',
    'https://172.20.0.1/x',
    'https://169.254.169.254/x',
    'https://[::1]/x',
    'https://[fd00::1]/x',
    'https://[::ffff:127.0.0.1]/x',
    'https://2130706433/x',
    'https://0x7f.1/x',
    'https://0.0.0.0/',
    'http://cdn.example/x',
    'https://user:pw@cdn.example/x',
    'file:///etc/passwd',
    'https://:::/',
  ])('17: refuses %s from a public registry', (url) => {
    expect(() => guardUrl(url, registry, registry, 'a test')).toThrow(
      expect.objectContaining({ code: 'E_REFUSED_URL' }),
    );
  });

  it.each(['https://cdn.example/x?sig=1', '/v2/x', '?a=b', 'https://registry.example:8443/x'])(
    'lets %s pass',
    (url) => {
      expect(guardUrl(url, registry, registry, 'a test').protocol).toBe('https:');
    },
  );

  it('a local registry may lead to this machine, and never to link-local addresses', () => {
    const local = new URL('http://127.0.0.1:5000/');
    expect(guardUrl('http://127.0.0.1:6000/x', local, local, 'a test').port).toBe('6000');
    expect(() => guardUrl('http://169.254.169.254/x', local, local, 'a test')).toThrow(
      expect.objectContaining({ code: 'E_REFUSED_URL' }),
    );
  });
});

describe('parseChallenges', () => {
  it('5: reads quotes, commas, odd case and tokens', () => {
    expect(
      parseChallenges([
        'Negotiate a87421000492aa874209af8bc028==,  BASIC realm="a, \\"b\\"" , Bearer Realm="https://x/t",scope="a:b,c"',
        'Digest',
        '=,,',
      ]),
    ).toEqual([
      { scheme: 'negotiate', parameters: {} },
      { scheme: 'basic', parameters: { realm: 'a, "b"' } },
      { scheme: 'bearer', parameters: { realm: 'https://x/t', scope: 'a:b,c' } },
      { scheme: 'digest', parameters: {} },
    ]);
  });
});

describe('proxyFor', () => {
  const environment = {
    https_proxy: 'http://proxy:3128',
    NO_PROXY: '.corp.example,10.0.0.0/8,host.example:8443',
  };
  it.each([
    ['https://registry.example/', 'http://proxy:3128'],
    ['https://a.corp.example/', undefined],
    ['https://10.2.3.4/', undefined],
    ['https://11.2.3.4/', 'http://proxy:3128'],
    ['https://host.example:8443/', undefined],
    ['https://host.example/', 'http://proxy:3128'],
    ['https://127.0.0.1/', undefined],
    ['http://registry.example/', undefined],
  ])('%s goes by %s', (url, proxy) => expect(proxyFor(new URL(url), environment)).toBe(proxy));
});
