/** Which named context stands for a name in a Dockerfile. */
import { formatPlatform, type Platform } from '../../oci/platform.ts';
import { formatReference, isReference, parseReference } from '../../oci/reference.ts';
import type { DockerfileRequest, NamedContext } from './request.ts';

/** Named contexts stand for stages, images and what `--from` names; `name::platform` for one platform only. */
export function contextFor(
  { namedContexts, platform: target }: DockerfileRequest,
  name: string,
  platform: Platform | undefined,
): NamedContext | undefined {
  if (namedContexts.size === 0 || ['scratch', 'context'].includes(name.toLowerCase())) {
    return undefined;
  }
  const suffix = `::${formatPlatform(platform ?? target)}`;
  for (const candidate of spellings(name)) {
    const found = namedContexts.get(`${candidate}${suffix}`) ?? namedContexts.get(candidate);
    if (found !== undefined && found.kind !== 'stage') {
      return found;
    }
  }
  return undefined;
}

/** As written, and as Docker completes and shortens it: a context may be named in any of these forms. */
function spellings(name: string): readonly string[] {
  const lower = name.toLowerCase();
  if (!isReference(name)) {
    return [lower];
  }
  const reference = parseReference(name);
  const whole = formatReference(reference);
  const short = whole.replace(/^docker\.io\/(library\/)?/, '');
  const all = [lower, short, short.replace(/:latest$/, ''), whole, whole.replace(/:latest$/, '')];
  return [...new Set(all.map((each) => each.toLowerCase()))];
}
