import { DefinitionError } from '../errors.ts';
import type { Descriptor } from './descriptor.ts';
import type { Index } from './manifest.ts';

/** Source: OCI image-spec v1.1, `image-index.md`, property `platform`. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly 'os.version'?: string;
  readonly 'os.features'?: readonly string[];
}

const ARCHITECTURE_ALIASES: Readonly<Record<string, readonly [architecture: string, variant?: string]>> = {
  x86_64: ['amd64'],
  'x86-64': ['amd64'],
  x64: ['amd64'],
  aarch64: ['arm64'],
  i386: ['386'],
  i686: ['386'],
  ia32: ['386'],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v6'],
  ppc64el: ['ppc64le'],
};

/** Leaves out what a reader assumes anyway: arm64 is v8, amd64 is v1; arm without a variant is v7. */
export function normalizePlatform(platform: Platform): Platform {
  const alias = ARCHITECTURE_ALIASES[platform.architecture.toLowerCase()];
  const os = platform.os.toLowerCase() === 'macos' ? 'darwin' : platform.os.toLowerCase();
  const architecture = alias?.[0] ?? platform.architecture.toLowerCase();
  let variant = platform.variant?.toLowerCase() || alias?.[1];
  if (variant !== undefined && /^\d/.test(variant)) {
    variant = `v${variant}`;
  }
  if ((architecture === 'arm64' && variant === 'v8') || (architecture === 'amd64' && variant === 'v1')) {
    variant = undefined;
  }
  if (architecture === 'arm' && variant === undefined) {
    variant = 'v7';
  }
  const { variant: _variant, ...rest } = platform;
  return { ...rest, os, architecture, ...(variant === undefined ? {} : { variant }) };
}

/** The platform that this process runs on. */
export function hostPlatform(architecture: string = process.arch): Platform {
  return normalizePlatform({ os: 'linux', architecture });
}

/** `linux/arm64/v8`; `amd64` alone means Linux. @throws {DefinitionError} `E_NO_PLATFORM` */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  if (parts.length > 3 || !parts.every((part) => /^[A-Za-z0-9_.-]{1,32}$/.test(part))) {
    throw new DefinitionError(`cannot parse platform '${text.slice(0, 100)}'`, {
      code: 'E_NO_PLATFORM',
      hint: 'write os/architecture or os/architecture/variant, such as linux/arm64',
    });
  }
  const [os, architecture, variant] = parts.length === 1 ? ['linux', parts[0]] : parts;
  return normalizePlatform({
    os: os ?? '',
    architecture: architecture ?? '',
    ...(variant === undefined ? {} : { variant }),
  });
}

/** `linux/arm/v7`, normalised. */
export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = normalizePlatform(platform);
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/**
 * How well something made for `offered` runs on `wanted`: 0 is exact, greater is worse, undefined is not at all.
 * Within arm and amd64 a lower variant runs on a higher one.
 */
export function platformDistance(offered: Platform, wanted: Platform): number | undefined {
  const have = normalizePlatform(offered);
  const want = normalizePlatform(wanted);
  if (have.os !== want.os || have.architecture !== want.architecture) {
    return undefined;
  }
  if (want['os.version'] !== undefined && have['os.version'] !== want['os.version']) {
    return undefined;
  }
  if ((want['os.features'] ?? []).some((feature) => !(have['os.features'] ?? []).includes(feature))) {
    return undefined;
  }
  const haveLevel = variantLevel(have);
  const wantLevel = variantLevel(want);
  if (haveLevel === undefined || wantLevel === undefined) {
    return (have.variant ?? '') === (want.variant ?? '') ? 0 : undefined;
  }
  return haveLevel <= wantLevel ? wantLevel - haveLevel : undefined;
}

/**
 * The entry of `index` that suits `wanted` best; of equals the first. Attestations (`unknown/unknown`, or with
 * BuildKit's annotation) are never chosen. An index with one entry that names no platform offers just that.
 *
 * @throws {DefinitionError} `E_NO_PLATFORM`, which lists what there is
 */
export function choosePlatform(index: Index, wanted: Platform, what = 'the image'): Descriptor {
  const images = index.manifests.filter((entry) => !isAttestation(entry));
  let best: { entry: Descriptor; distance: number } | undefined;
  for (const entry of images) {
    const distance = entry.platform === undefined ? undefined : platformDistance(entry.platform, wanted);
    if (distance !== undefined && (best === undefined || distance < best.distance)) {
      best = { entry, distance };
    }
  }
  if (best !== undefined) {
    return best.entry;
  }
  const [only] = images;
  if (images.length === 1 && only !== undefined && only.platform === undefined) {
    return only;
  }
  const existing = [
    ...new Set(images.map((entry) => (entry.platform ? formatPlatform(entry.platform) : '(none named)'))),
  ];
  throw new DefinitionError(
    `${what} has no variant for ${formatPlatform(wanted)}; it has: ${existing.slice(0, 50).join(', ') || 'none at all'}`,
    { code: 'E_NO_PLATFORM' },
  );
}

export function isAttestation(entry: Descriptor): boolean {
  return (
    entry.annotations?.['vnd.docker.reference.type'] !== undefined ||
    (entry.platform?.os === 'unknown' && entry.platform.architecture === 'unknown')
  );
}

function variantLevel(platform: Platform): number | undefined {
  const implied = { amd64: 'v1', arm64: 'v8' }[platform.architecture];
  const match = /^v(\d{1,2})$/.exec(platform.variant ?? implied ?? '');
  return match?.[1] === undefined ? undefined : Number(match[1]);
}
