/**
 * Device nodes of our own for steps whose root is the machine's. Were the host's nodes bound into the sandbox, `chmod 0 /dev/null` in a step would
 * change the host's. In a user namespace there is nothing to do: the host's nodes belong to nobody there.
 */
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { native } from '../native/addon.ts';

/** What every sandbox has in `/dev`. */
export const BASIC_DEVICES = ['full', 'null', 'random', 'tty', 'urandom', 'zero'];

export class OwnDevices {
  /** Nodes are made here, and seen there, where nothing can be changed but what is behind them. */
  readonly #dir: string;
  readonly #seen: string;
  readonly #made = new Map<string, string>();

  /** @param memoryDir - The worker's tmpfs; what is mounted in it goes with it. */
  constructor(memoryDir: string) {
    this.#dir = join(memoryDir, 'devices');
    this.#seen = join(memoryDir, 'devices-seen');
    mkdirSync(this.#dir);
    mkdirSync(this.#seen);
    native().mountTmpfs(this.#dir, 0o755, undefined, true);
    native().mountBind(this.#dir, this.#seen, true, false);
    for (const name of BASIC_DEVICES) {
      this.pathOf(`/dev/${name}`);
    }
  }

  /** Of a node like that one; the path itself where it is no device. */
  pathOf(source: string): string {
    const known = this.#made.get(source);
    if (known !== undefined) {
      return known;
    }
    const facts = statSync(source);
    if (!facts.isCharacterDevice() && !facts.isBlockDevice()) {
      return source;
    }
    const name = encodeURIComponent(source);
    native().makeDeviceLike(source, join(this.#dir, name));
    const path = join(this.#seen, name);
    this.#made.set(source, path);
    return path;
  }
}
