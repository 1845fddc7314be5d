/** `--chown` and USER as the owner of what an instruction makes. */
import type { Owner } from '../../graph/action.ts';

/** Larger numbers are no ids: the last one means "unchanged" to the kernel. */
const ID_LIMIT = 0xffffffff;

/** `user[:group]`; numbers need no look-up, and a number alone is its own group. Undefined for the empty text. */
export function ownerOf(text: string): Owner | undefined {
  if (text === '') {
    return undefined;
  }
  const numbers = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(text);
  if (numbers !== null) {
    const uid = Number(numbers[1]);
    const gid = numbers[2] === undefined ? uid : Number(numbers[2]);
    if (uid < ID_LIMIT && gid < ID_LIMIT) {
      return { kind: 'ids', uid, gid };
    }
  }
  return { kind: 'names', names: text };
}
