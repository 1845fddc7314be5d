/** Annotations as buildx spells them: `--annotation [TYPES:]KEY=VALUE`, and `annotation-TYPE.KEY=VALUE` within `--output`. */
import type { Annotation, AnnotationTarget } from './engine-api.ts';
import { BadValue } from './option.ts';
import { parsePlatform } from './shared-options.ts';

const TARGETS: readonly AnnotationTarget[] = ['manifest', 'manifest-descriptor', 'index', 'index-descriptor'];
const TYPE = String.raw`[a-z-]+(?:\[[A-Za-z0-9_/.-]+\])?`;
const FLAG = new RegExp(`^(?:(${TYPE}(?:,${TYPE})*):)?([^=\\s]+)=([^]*)$`);
const FIELD = /^annotation(?:-([a-z-]+))?(?:\[([^\]]*)\])?\.(\S+)$/;

/** `--annotation`'s value. Without a type it is for manifests. @throws {BadValue} */
export function parseAnnotation(text: string): readonly Annotation[] {
  const match = FLAG.exec(text);
  if (match === null) {
    throw new BadValue(`'${text}' is not KEY=VALUE, with or without TYPE: before it`);
  }
  const [, types = 'manifest', key = '', value = ''] = match;
  return types.split(',').map((type) => {
    const [, target = '', platform] = /^([a-z-]+)(?:\[(.*)\])?$/.exec(type) ?? [];
    return annotation(target, platform, key, value);
  });
}

/** A field of `--output`, when it is an annotation. @throws {BadValue} */
export function annotationField(name: string, value: string): Annotation | undefined {
  const match = FIELD.exec(name);
  return match === null
    ? undefined
    : annotation(match[1] ?? 'manifest', match[2] ?? undefined, match[3] ?? '', value);
}

function annotation(
  targetText: string,
  platform: string | undefined,
  key: string,
  value: string,
): Annotation {
  const target = TARGETS.find((each) => each === targetText);
  if (target === undefined) {
    throw new BadValue(`'${targetText}' cannot be annotated; ${TARGETS.join(', ')} can`);
  }
  if (platform !== undefined && target.startsWith('index')) {
    throw new BadValue(`an ${target} is for all platforms, not for ${platform}`);
  }
  return {
    target,
    key,
    value,
    ...(platform === undefined ? {} : { platform: parsePlatform(platform) }),
  };
}
