import { expect, test } from 'vitest';
import { isLoopback, namesElsewhere, privateResolvers } from '../../../src/executor/private-network.ts';

test.each([
  [
    'resolvers elsewhere stay',
    'nameserver 10.1.1.1\nnameserver 9.9.9.9\n',
    'nameserver 10.1.1.1\nnameserver 9.9.9.9\n',
  ],
  ["the machine's own is asked through pasta", '# made\nnameserver 127.0.0.53\n', 'nameserver 10.0.2.3\n'],
  ['without one it is the machine (resolv.conf(5))', '', 'nameserver 10.0.2.3\n'],
  ['so is one of an interface of the machine', 'nameserver fe80::1%eth0\n', 'nameserver 10.0.2.3\n'],
  [
    'what else the file says stays',
    'nameserver ::1\nnameserver 9.9.9.9\nsearch corp.example\noptions edns0 trust-ad\nsortlist 1.2.3.0\n',
    'nameserver 10.0.2.3\nnameserver 9.9.9.9\nsearch corp.example\noptions edns0 trust-ad\n',
  ],
])('%s', (_, host, expected) => {
  expect(privateResolvers(host, true)).toBe(expected);
});

test('where there is only IPv6, pasta is asked by it', () => {
  expect(privateResolvers('nameserver ::1\n', false)).toBe('nameserver fd74:7362::3\n');
});

test('names of other machines are known, those of this one are not', () => {
  const hosts =
    '127.0.0.1 localhost\n127.0.1.1 machine\n::1 ip6-localhost\n# 10.0.0.1 no\n\n  10.1.2.3 db db.corp\nfd00::5 six\n';
  expect(namesElsewhere(hosts)).toBe('  10.1.2.3 db db.corp\nfd00::5 six\n');
});

test.each([
  ['127.0.0.1', true],
  ['127.8.9.1', true],
  ['localhost', true],
  ['[::1]', true],
  ['::1', true],
  ['10.0.0.1', false],
  ['127.example', false],
])('%s: on the machine itself is %s', (host, expected) => {
  expect(isLoopback(host)).toBe(expected);
});
