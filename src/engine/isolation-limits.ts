/** What an isolation cannot promise, said once by every engine that has one at work. */
import type { Isolation } from '../base/isolation.ts';
import type { EventDraft } from '../solver/event.ts';
import type { HelloResult } from '../worker/protocol.ts';

interface Limits {
  readonly message: string;
  /** Of a warning: what holds elsewhere does not hold here. */
  readonly code?: 'W_ISOLATION_CHROOT' | 'W_ISOLATION_SINGLE_ID';
}

const LIMITS: Readonly<Record<Isolation, Limits>> = {
  privileged: {
    message: "root in a step is this machine's root, held back by its capabilities and namespaces",
  },
  'subordinate-ids': {
    message:
      'devices that steps make are in the image and cannot be opened in steps, and ids beyond the subordinate ones cannot be used',
  },
  'single-id': {
    code: 'W_ISOLATION_SINGLE_ID',
    message:
      'there is one user id for everybody in a step, so that users in it are not protected from each other',
  },
  chroot: {
    code: 'W_ISOLATION_CHROOT',
    message:
      'this isolation is weak: steps see the processes around them and each other, and may end those of the same user',
  },
};

export function isolationEvent({ isolation, idMode, notes }: HelloResult): EventDraft {
  const { code, message } = LIMITS[isolation];
  const more = isolation === 'chroot' && idMode === 'single' ? `; ${LIMITS['single-id'].message}` : '';
  if (code === undefined) {
    return { kind: 'isolation', isolation, message };
  }
  const why = notes.length === 0 ? '' : ` (${notes.join('; ')})`;
  return { kind: 'warning', code, message: `${isolation}: ${message}${more}${why}` };
}
