/** What the first layer is, once the builder version, the Python version and the platform are known (A1, B5, B6). */
import type { Json } from '../../base/canonical-json.ts';
import type { Digest } from '../../oci/digest.ts';
import type { ImageConfig } from '../../oci/image-config.ts';
import { type Platform, parsePlatform } from '../../oci/platform.ts';
import type { SecretIdentity } from '../../secret/secret.ts';
import type { Settings } from '../../settings.ts';
import type { DockerfileDeclaration } from '../dockerfile/declaration.ts';
import { parseDockerfile } from '../dockerfile/parse.ts';
import {
  BUILDER_VERSIONS,
  type BuilderFacts,
  type BuilderVersion,
  resolveBuilderVersion,
} from './builder-version.ts';
import type { Diagnostic } from './diagnostic.ts';
import { run } from './install-layers.ts';
import type { Base, OciLayoutSource, PlatformName, RegistryLogin, Step } from './layer-definition.ts';
import { micromambaSteps } from './micromamba-layers.ts';
import { checkDebianPython, choosePython, chooseSeries } from './python-version.ts';
import { addPythonSteps } from './standalone-python.ts';
import { type StoredImage, storedText } from './stored-base.ts';

/** What resolving a base asks of the outside. None of it may use the network. */
export interface BaseSurroundings {
  readonly settings: Settings;
  /** This machine's. */
  readonly platform: PlatformName;
  /** Series of the host's `python3`, such as `3.11`; undefined if there is none. Asked only when B6 needs it. */
  readonly hostPython: () => Promise<string | undefined>;
  readonly resolveOciLayout: ResolveOciLayout;
  /** Text and name of a Dockerfile on this machine; undefined for one that lies in a remote context. */
  readonly readDockerfile: (
    declaration: DockerfileDeclaration,
  ) => Promise<{ readonly text: string; readonly name: string } | undefined>;
}

export type ResolveOciLayout = (
  layout: OciLayoutSource,
  platform: Platform,
) => Promise<{ readonly manifestDigest: Digest; readonly config: ImageConfig }>;

export type BaseSource =
  | { readonly kind: 'image'; readonly reference: string; readonly login?: RegistryLogin }
  | {
      readonly kind: 'layout';
      readonly layout: OciLayoutSource;
      readonly manifestDigest: Digest;
      readonly config: ImageConfig;
    }
  | {
      readonly kind: 'debian';
      readonly suite: string;
      readonly components: readonly string[];
      readonly packages: readonly string[];
      readonly snapshot?: string;
      readonly mirror?: string;
    }
  | { readonly kind: 'stored'; readonly image: StoredImage }
  | { readonly kind: 'scratch' }
  | { readonly kind: 'dockerfile'; readonly declaration: DockerfileDeclaration };

/** What plans and keys see of a {@link RegistryLogin}. */
export interface RegistryAuth {
  readonly type: RegistryLogin['type'];
  readonly secret: SecretIdentity | null;
}

export interface ResolvedBase {
  readonly builderVersion: BuilderVersion;
  readonly platform: Platform;
  /** The caller or the definition said so. */
  readonly platformAsked: boolean;
  readonly source: BaseSource;
  /** The `FROM` line. */
  readonly from: string;
  readonly steps: readonly Step[];
  readonly keyExtras: Readonly<Record<string, Json>>;
  readonly registryAuth: RegistryAuth | null;
  readonly diagnostics: readonly Diagnostic[];
}

export async function resolveBase(
  base: Base,
  asked: { readonly builderVersion?: BuilderVersion; readonly platform?: PlatformName },
  surroundings: BaseSurroundings,
): Promise<ResolvedBase> {
  const builderVersion = resolveBuilderVersion(
    base.builderVersion,
    asked.builderVersion,
    surroundings.settings,
  );
  const facts = BUILDER_VERSIONS[builderVersion];
  const platform = parsePlatform(base.platform ?? asked.platform ?? surroundings.platform);
  const platformAsked = (base.platform ?? asked.platform) !== undefined;
  return {
    builderVersion,
    platform,
    platformAsked,
    ...PLAIN,
    ...(await sourceOf(base, facts, platform, surroundings)),
  };
}

const PLAIN = { steps: [], keyExtras: {}, registryAuth: null, diagnostics: [] };

type SourceParts = Pick<ResolvedBase, 'source' | 'from'> & Partial<ResolvedBase>;

async function sourceOf(
  base: Base,
  facts: BuilderFacts,
  platform: Platform,
  surroundings: BaseSurroundings,
): Promise<SourceParts> {
  switch (base.kind) {
    case 'scratch':
      return { source: { kind: 'scratch' }, from: 'FROM scratch' };
    case 'stored':
      return { source: { kind: 'stored', image: base.image }, from: `FROM ${storedText(base.image)}` };
    case 'dockerfile': {
      const { declaration } = base;
      const read = await surroundings.readDockerfile(declaration);
      if (read !== undefined) {
        // What is no Dockerfile at all is said when it is planned.
        parseDockerfile(read.text, { name: read.name });
      }
      return {
        source: { kind: 'dockerfile', declaration },
        from: read?.text.replace(/\n$/, '') ?? 'FROM Dockerfile',
        keyExtras: { target: declaration.target ?? null },
      };
    }
    case 'registry': {
      const { reference, login, addPython } = base;
      return {
        source: { kind: 'image', reference, ...(login === undefined ? {} : { login }) },
        from: `FROM ${reference}`,
        steps: addPython === undefined ? [] : addPythonSteps(addPython),
        registryAuth:
          login === undefined ? null : { type: login.type, secret: login.secret?.identity ?? null },
      };
    }
    case 'ubuntu':
      return await ubuntu(base, facts, surroundings);
    case 'micromamba': {
      const { settings, hostPython } = surroundings;
      const { version, diagnostics } = await choosePython(base.pythonVersion, facts, settings, hostPython);
      const reference = `mambaorg/micromamba:${facts.micromamba}`;
      return {
        source: { kind: 'image', reference },
        from: `FROM ${reference}`,
        steps: micromambaSteps(version),
        diagnostics,
      };
    }
    case 'oci-layout': {
      const resolved = await surroundings.resolveOciLayout(base.layout, platform);
      const { manifestDigest, config } = resolved;
      return {
        source: { kind: 'layout', layout: base.layout, manifestDigest, config },
        from: `FROM oci-layout:${base.layout.tag ?? manifestDigest}`,
        keyExtras: { manifestDigest },
      };
    }
    case 'debian': {
      const { packages, components, snapshot, mirror } = base;
      const suite = base.suite ?? facts.debian;
      const at = snapshot === undefined ? suite : `${suite}@${snapshot}`;
      return {
        source: {
          kind: 'debian',
          suite,
          components,
          packages,
          ...(snapshot === undefined ? {} : { snapshot }),
          ...(mirror === undefined ? {} : { mirror }),
        },
        from: ['FROM', `debian-archive:${at}`, ...packages].join(' '),
        keyExtras: { components },
      };
    }
    case 'debian-slim':
      return (base.source ?? surroundings.settings.debianSource) === 'archive'
        ? slimFromArchive(base, facts, surroundings.settings)
        : slimFromRegistry(base, facts, surroundings);
  }
}

async function ubuntu(
  { version, addPython }: Extract<Base, { kind: 'ubuntu' }>,
  facts: BuilderFacts,
  { settings, hostPython }: BaseSurroundings,
): Promise<SourceParts> {
  const reference = `ubuntu:${version ?? facts.ubuntu}`;
  const plain: SourceParts = { source: { kind: 'image', reference }, from: `FROM ${reference}` };
  if (addPython === false) {
    return plain;
  }
  const chosen =
    addPython === undefined
      ? await chooseSeries(facts, settings, hostPython)
      : { version: addPython, diagnostics: [] };
  return { ...plain, steps: addPythonSteps(chosen.version), diagnostics: chosen.diagnostics };
}

type DebianSlim = Extract<Base, { kind: 'debian-slim' }>;

const TOOLCHAIN = 'apt-get update && apt-get install -y build-essential gfortran';

async function slimFromRegistry(
  base: DebianSlim,
  facts: BuilderFacts,
  { settings, hostPython }: BaseSurroundings,
): Promise<SourceParts> {
  const { version, diagnostics } = await choosePython(base.pythonVersion, facts, settings, hostPython);
  const reference = `python:${version}-slim-${facts.debian}`;
  return {
    source: { kind: 'image', reference },
    from: `FROM ${reference}`,
    steps: base.toolchain ? [run([TOOLCHAIN], { lend: ['apt'] })] : [],
    diagnostics,
  };
}

function slimFromArchive(base: DebianSlim, facts: BuilderFacts, settings: Settings): SourceParts {
  checkDebianPython(base.pythonVersion, facts, settings);
  const packages = ['python3', 'python3-pip', 'python3-venv'];
  const python = facts.debianPython;
  return {
    source: { kind: 'debian', suite: facts.debian, components: ['main'], packages },
    from: ['FROM', `debian-archive:${facts.debian}`, ...packages].join(' '),
    steps: [
      run(['ln -s python3 /usr/bin/python'], { lend: [] }),
      // PEP 668's mark: without it, pip and uv install into the system's interpreter.
      run([`rm -f /usr/lib/python${python}/EXTERNALLY-MANAGED`], { lend: [] }),
      // Debian's distributions have no list of files, without which pip refuses to go past them. An empty one says that none
      // of theirs is pip's to remove: a newer version goes to /usr/local, which is before them on Python's path.
      run(['for info in /usr/lib/python3/dist-packages/*.dist-info; do touch "$info/RECORD"; done'], {
        lend: [],
      }),
      ...(base.toolchain ? [run([TOOLCHAIN], { lend: ['apt'] })] : []),
    ],
    keyExtras: { components: ['main'] },
  };
}
