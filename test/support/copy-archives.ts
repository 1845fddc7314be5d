/** Archives for ADD: an honest one, and some that try to get out, to lie, or to grow without end. */
import { gzipSync } from 'node:zlib';
import { type RawEntry, rawTar } from './raw-tar.ts';

/** `./` would change the destination, if it were taken for it; `dir/x` is a file in some targets. */
export const GOOD: readonly RawEntry[] = [
  { name: './', type: '5', mode: 0o777, uid: 0, gid: 0 },
  { name: './f', content: 'new', mode: 0o4755, pax: { 'SCHILY.xattr.user.note': 'hello' } },
  { name: 'dir/', type: '5', mode: 0o710 },
  { name: '/dir/x/implied', content: 'implied' },
  { name: 'dir/hard', type: '1', link: './f' },
  { name: 'link', type: '2', link: '/etc', mode: 0o777 },
  { name: 'fifo', type: '6' },
];

/** Unpacked into the image that is copied from. CAP_NET_BIND_SERVICE, effective. */
export const SPECIAL: readonly RawEntry[] = [
  {
    name: 'capable',
    content: 'x',
    mode: 0o755,
    pax: {
      'SCHILY.xattr.security.capability': Buffer.from('0100000200040000000000000000000000000000', 'hex'),
      'SCHILY.xattr.user.note': 'hello',
    },
  },
  { name: 'directory/', type: '5', mode: 0o755, pax: { 'SCHILY.xattr.user.note': 'of a directory' } },
  { name: 'null', type: '3', mode: 0o666, device: [1, 3] },
];

export function hostileArchives(): Readonly<Record<string, Buffer>> {
  return {
    dots: rawTar([{ name: '../x', content: 'x' }]),
    'hard-out': rawTar([{ name: 'h', type: '1', link: '/etc/shadow' }]),
    'hard-dots': rawTar([{ name: 'h', type: '1', link: '../../etc/passwd' }]),
    'through-link': rawTar([
      { name: 'loop', type: '2', link: 'loop' },
      { name: 'loop/deeper/x', content: 'x' },
    ]),
    cut: rawTar([{ name: 'f', content: 'x'.repeat(2000) }], Buffer.alloc(0)).subarray(0, 1500),
    // A thousand times is allowed, beyond 64 MiB.
    bomb: gzipSync(rawTar([{ name: 'zeros', content: Buffer.alloc(100 * 1024 * 1024) }])),
    whiteout: rawTar([{ name: 'd/.wh.f', content: '' }]),
    // In the image, whose `/etc` is not the host's.
    host: rawTar([
      { name: 'esc', type: '2', link: '/etc' },
      { name: 'esc/owned-by-archive', content: 'mine' },
    ]),
  };
}
