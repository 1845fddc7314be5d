import type { HistoryEntry } from '../oci/image-config.ts';

/**
 * The history of an image with `layerCount` layers: as many entries that are not empty as there are layers (image-spec
 * v1.1, `config.md`, section "Properties", history). Bases in the wild leave entries out or have none at all; what is
 * missing is put in front, where the base's layers are.
 */
export function completeHistory(
  history: readonly HistoryEntry[],
  layerCount: number,
): readonly HistoryEntry[] {
  const described = history.filter((entry) => entry.empty_layer !== true).length;
  if (described > layerCount) {
    // Entries that cannot be told apart from layers would shift all others: keep the text, drop the claim.
    let surplus = described - layerCount;
    return history.map((entry) => {
      if (entry.empty_layer === true || surplus === 0) {
        return entry;
      }
      surplus -= 1;
      return { ...entry, empty_layer: true };
    });
  }
  const missing = Array.from({ length: layerCount - described }, () => ({
    comment: 'layer without history',
  }));
  return [...missing, ...history];
}
