/** Runs the snapshot drivers' cases where mounts may be made, and prints what came of each. */

import { CopyDriver } from '../../src/snapshot/copy.ts';
import { OverlayDriver } from '../../src/snapshot/overlay.ts';
import { SnapshotStore } from '../../src/snapshot/snapshot-store.ts';
import type { LayerId } from '../../src/solver/op.ts';
import { SNAPSHOT_CASES } from '../suite/snapshot-driver-cases.ts';

const [storeDir = '', kind = ''] = process.argv.slice(2);
const outcomes: Record<string, string> = {};
for (const [index, [name, run]] of Object.entries(SNAPSHOT_CASES).entries()) {
  const store = SnapshotStore.open(storeDir);
  const driver = kind === 'overlay' ? new OverlayDriver(store, false) : new CopyDriver(store, 'trusted');
  try {
    await run({ driver, store, layer: (label) => `case-${index}-${label}` as LayerId });
    outcomes[name] = 'passed';
  } catch (error) {
    outcomes[name] = String((error as Error).stack ?? error);
  } finally {
    await store.close();
  }
}
console.log(JSON.stringify(outcomes));
