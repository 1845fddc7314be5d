import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  apiHost,
  credentialsKey,
  formatReference,
  isLoopbackHost,
  parseReference,
} from '../../../src/oci/reference.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;

describe('parseReference', () => {
  it.each([
    ['ubuntu', 'docker.io/library/ubuntu:latest'],
    ['ubuntu:22.04', 'docker.io/library/ubuntu:22.04'],
    ['pytorch/pytorch:2.0', 'docker.io/pytorch/pytorch:2.0'],
    ['index.docker.io/library/x', 'docker.io/library/x:latest'],
    ['localhost/x', 'localhost/x:latest'],
    ['localhost:5000/a/b:c', 'localhost:5000/a/b:c'],
    [`host.example:8443/a@${DIGEST}`, `host.example:8443/a@${DIGEST}`],
    [`a:t@${DIGEST}`, `docker.io/library/a:t@${DIGEST}`],
    ['[::1]:5000/a', '[::1]:5000/a:latest'],
  ])('completes %s', (text, complete) => {
    const reference = parseReference(text);
    expect(formatReference(reference)).toBe(complete);
    expect(reference.text).toBe(text);
    expect(formatReference(parseReference(complete))).toBe(complete);
  });

  it.each([
    '',
    'UPPER/case',
    'a//b',
    'a:',
    'a@sha256:12',
    '-x',
    'a/../b',
    'host:99999/a',
    'a:b/c d',
    'http://a/b',
    'é',
    'a?b',
    'u@h/x',
  ])('refuses %j', (text) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: 'E_IMAGE_NAME' }));
  });

  it('never gives a path that leaves the repository', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), (text) => {
        let reference: ReturnType<typeof parseReference>;
        try {
          reference = parseReference(text);
        } catch {
          return true;
        }
        const url = new URL(`https://${apiHost(reference.host)}/v2/${reference.repository}/manifests/x`);
        return url.pathname === `/v2/${reference.repository}/manifests/x` && url.username === '';
      }),
    );
  });

  it('knows where Docker Hub is', () => {
    expect(apiHost('docker.io')).toBe('registry-1.docker.io');
    expect(credentialsKey('docker.io')).toBe('https://index.docker.io/v1/');
    expect(credentialsKey('ghcr.io')).toBe('ghcr.io');
  });

  it.each([
    ['localhost:5000', true],
    ['a.localhost', true],
    ['127.9.9.9', true],
    ['[::1]:80', true],
    ['localhost.example', false],
    ['127.0.0.1.example', false],
    ['10.0.0.1', false],
  ])('isLoopbackHost(%s) is %s', (host, expected) => expect(isLoopbackHost(host)).toBe(expected));
});
