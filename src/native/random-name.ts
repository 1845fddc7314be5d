import { native } from './addon.ts';

const BYTES = 16;

/** One that nobody else has. By the addon, which is loaded; Node's own way loads all of its cryptography. */
export function randomName(): string {
  return native().randomHex(BYTES);
}
