import { describe, expect, it } from 'vitest';
import { nearName } from '../../../src/base/near-name.ts';

describe('nearName', () => {
  it('forgives a slip and no more', () => {
    expect(nearName('porgress', ['progress', 'push'])).toBe('progress');
    expect(nearName('pusj', ['push', 'pull'])).toBe('push');
    expect(nearName('x', ['push', 'pull'])).toBeUndefined();
  });
});
