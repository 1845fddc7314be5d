/** Images of this machine's store as bases, by id or by the name that they were published under (A1.9). */
import { knownOptions, requiredString } from './arguments.ts';
import { baseLayer } from './base-definitions.ts';
import { formatImageName, type ImageName, parseImageName } from './image-name.ts';
import type { LayerDefinition } from './layer-definition.ts';

export type StoredImage =
  | { readonly kind: 'id'; readonly id: string }
  | { readonly kind: 'name'; readonly name: ImageName };

export interface NameOptions {
  /** Namespace of the name. @defaultValue TSBUILD_ENVIRONMENT, or `main` */
  readonly environment?: string;
}

/** Of an image that exists nothing depends on the builder version or can be forced. */
export function fromId(given: unknown): LayerDefinition {
  const id = requiredString('fromId', 'id', given);
  return baseLayer('fromId', {}, [id], { kind: 'stored', image: { kind: 'id', id } });
}

export function fromName(given: unknown, options: unknown): LayerDefinition {
  const { environment } = knownOptions('fromName', options, ['environment']);
  const name = parseImageName('fromName', given, environment);
  return baseLayer('fromName', {}, [formatImageName(name)], {
    kind: 'stored',
    image: { kind: 'name', name },
  });
}

/** `im-…`, or `name:web:v1`. */
export function storedText(image: StoredImage): string {
  return image.kind === 'id' ? image.id : `name:${formatImageName(image.name)}`;
}
