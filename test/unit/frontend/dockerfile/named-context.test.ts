import { describe, expect, test } from 'vitest';
import { parseNamedContext } from '../../../../src/frontend/dockerfile/named-context.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;

describe('an OCI layout as a named context', () => {
  test.for([
    ['oci-layout://dir/layout', { path: 'dir/layout', tag: undefined }],
    ['oci-layout:///dir/layout:v1', { path: '/dir/layout', tag: 'v1' }],
    [`oci-layout:///dir/layout@${DIGEST}`, { path: '/dir/layout', tag: DIGEST }],
    [`oci-layout:///dir/layout:v1@${DIGEST}`, { path: '/dir/layout', tag: DIGEST }],
    [`oci-layout:///d:ir/layout@${DIGEST}`, { path: '/d:ir/layout', tag: DIGEST }],
  ] as const)('%s', ([text, { path, tag }]) => {
    expect(parseNamedContext(text)).toEqual({ kind: 'layout', path, tag });
  });
});
