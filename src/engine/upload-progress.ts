/** What a push tells, as events of the build. */
import type { Emit } from '../solver/event.ts';
import type { PushOptions } from '../transport/registry/push.ts';

export function uploadProgress(emit: Emit): NonNullable<PushOptions['onProgress']> {
  return ({ digest, doneBytes, totalBytes, state }) =>
    emit({
      kind: 'progress',
      id: `upload ${digest}`,
      activity: 'upload',
      subject: digest,
      doneBytes,
      totalBytes,
      state: state === 'exists' || state === 'mounted' ? 'exists' : state === 'done' ? 'done' : 'running',
    });
}
