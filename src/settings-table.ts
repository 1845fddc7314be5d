/** Every variable and configuration key that tsbuild reads, for the reference and for those who misspell one (A5.2 of the Image API). */

export interface SettingFacts {
  readonly variable: string;
  /** Of the configuration files. Absent: only the environment says it. */
  readonly key?: string;
  /** What it may be. */
  readonly takes: string;
  readonly otherwise: string;
  readonly meaning: string;
}

const YES_OR_NO = 'yes or no';

export const SETTINGS: readonly SettingFacts[] = [
  {
    variable: 'TSBUILD_HOME',
    key: 'home',
    takes: 'a directory',
    otherwise: '`tsbuild` in the XDG data directory',
    meaning: 'The store, with images, caches, secrets and volumes.',
  },
  {
    variable: 'TSBUILD_CONFIG_PATH',
    takes: 'a file',
    otherwise: '`tsbuild/config.json` in the XDG configuration directory',
    meaning: "The user's configuration file.",
  },
  {
    variable: 'TSBUILD_ENVIRONMENT',
    key: 'environment',
    takes: 'a name',
    otherwise: '`main`',
    meaning: 'The namespace of secrets, volumes and published names.',
  },
  {
    variable: 'TSBUILD_FORCE_BUILD',
    key: 'forceBuild',
    takes: YES_OR_NO,
    otherwise: 'no',
    meaning: 'Every layer of every image anew, replacing what the cache knows.',
  },
  {
    variable: 'TSBUILD_IGNORE_CACHE',
    key: 'ignoreCache',
    takes: YES_OR_NO,
    otherwise: 'no',
    meaning: 'Every layer anew, without touching the cache. Stands over `TSBUILD_FORCE_BUILD`.',
  },
  {
    variable: 'TSBUILD_OFFLINE',
    key: 'offline',
    takes: YES_OR_NO,
    otherwise: 'no',
    meaning: 'Fail instead of using the network for bases and tools. Steps keep theirs.',
  },
  {
    variable: 'TSBUILD_IMAGE_BUILDER_VERSION',
    key: 'imageBuilderVersion',
    takes: '`2025.06`, `2026.10`, `PREVIEW`',
    otherwise: '`2026.10`',
    meaning: 'What the factories mean: releases of Debian and Ubuntu, Pythons.',
  },
  {
    variable: 'TSBUILD_PYTHON_VERSION',
    key: 'pythonVersion',
    takes: 'a series such as `3.12`',
    otherwise: "that of the host's `python3`, or 3.12",
    meaning: 'The Python of factories that are not told one.',
  },
  {
    variable: 'TSBUILD_DEBIAN_SOURCE',
    key: 'debianSource',
    takes: '`registry`, `archive`',
    otherwise: '`registry`',
    meaning: "Where `debianSlim()` comes from: an image, or Debian's signed archive.",
  },
  {
    variable: 'TSBUILD_REGISTRY_MIRRORS',
    key: 'registryMirrors',
    takes: '`host=url[,host=url…]`',
    otherwise: 'none',
    meaning: 'Mirrors that are asked before a registry when something is pulled.',
  },
  {
    variable: 'TSBUILD_APT_MIRROR',
    key: 'aptMirror',
    takes: 'a URL',
    otherwise: "Debian's own",
    meaning:
      'Serves `deb.debian.org/debian`, for bases of the archive and for apt in steps. In no key and no layer.',
  },
  {
    variable: 'TSBUILD_PIP_INDEX_URL',
    key: 'pipIndexUrl',
    takes: 'a URL',
    otherwise: "pip's own",
    meaning: 'The index of pip and uv in steps. In no key and no layer.',
  },
  {
    variable: 'TSBUILD_NPM_REGISTRY',
    key: 'npmRegistry',
    takes: 'a URL',
    otherwise: "npm's own",
    meaning: 'The registry of npm in steps. In no key and no layer.',
  },
  {
    variable: 'TSBUILD_UV_SOURCE',
    key: 'uvSource',
    takes: '`auto`, `registry`, `pypi`, `host`',
    otherwise: '`auto`',
    meaning: 'Where the uv of `uvPipInstall()` comes from. In no key.',
  },
  {
    variable: 'TSBUILD_PYTHON_STANDALONE_MIRROR',
    key: 'pythonStandaloneMirror',
    takes: 'a URL or a directory',
    otherwise: "the project's releases",
    meaning:
      'Where the Pythons of `addPython` come from, as `RELEASE/FILE`. They are checked by digest wherever they come from.',
  },
  {
    variable: 'TSBUILD_BUILD_VALIDATION',
    key: 'buildValidation',
    takes: '`error`, `warn`, `ignore`',
    otherwise: '`error`',
    meaning: 'What happens when a local file changes while the build that reads it runs.',
  },
  {
    variable: 'TSBUILD_GPU_POLICY',
    key: 'gpuPolicy',
    takes: '`auto`, `strict`, `ignore`',
    otherwise: '`auto`',
    meaning: 'What who asks for GPUs gets: any that are there, only those of the type, none.',
  },
  {
    variable: 'TSBUILD_CDI_DIRS',
    key: 'cdiDirs',
    takes: 'absolute paths, separated by `:`',
    otherwise: 'none',
    meaning:
      'Directories that describe devices, besides `/etc/cdi` and `/var/run/cdi`; later ones stand over earlier ones.',
  },
  {
    variable: 'TSBUILD_DRIVER_ROOT',
    key: 'driverRoot',
    takes: 'an absolute path',
    otherwise: '`/`',
    meaning:
      "The tree that NVIDIA's driver is in, for GPUs that nothing describes: its `/proc`, `/dev` and libraries are looked for below it.",
  },
  {
    variable: 'TSBUILD_SECCOMP',
    key: 'seccomp',
    takes: '`default`, `unconfined`, a file',
    otherwise: '`default`',
    meaning:
      "Which system calls steps get: those of [tsbuild's profile](seccomp.md), all, or those of a profile as Docker takes it. In no key.",
  },
  {
    variable: 'TSBUILD_SANDBOX',
    key: 'sandbox',
    takes: '`auto`, `bubblewrap`, `runc`, `crun`',
    otherwise: '`auto`',
    meaning:
      'What makes the sandboxes of steps and containers. `auto` is bubblewrap, or runc or crun where a step needs what only they give. In no key.',
  },
  {
    variable: 'TSBUILD_ISOLATION',
    key: 'isolation',
    takes: '`auto`, `privileged`, `subordinate-ids`, `single-id`, `chroot`',
    otherwise: '`auto`',
    meaning: 'How steps are kept apart from this machine. `auto` is the best that works.',
  },
  {
    variable: 'TSBUILD_LIMITS_POLICY',
    key: 'limitsPolicy',
    takes: '`warn`, `require`',
    otherwise: '`warn`',
    meaning: 'What happens when a limit of memory, processors or processes cannot be kept here.',
  },
  {
    variable: 'TSBUILD_NETWORK',
    key: 'network',
    takes: '`host`, `private`',
    otherwise: '`host`',
    meaning: 'Network of steps and containers that do not say. In no key.',
  },
  {
    variable: 'TSBUILD_SNAPSHOT',
    takes: '`auto`, `overlay`, `copy`',
    otherwise: '`auto`',
    meaning: 'How root file systems of steps are made. `copy` does without overlayfs.',
  },
  {
    variable: 'TSBUILD_LOGLEVEL',
    takes: '`quiet`, `info`, `debug`',
    otherwise: '`info`',
    meaning:
      'What the command shows of its progress, unless `--progress` or `--quiet` says it; `debug` is `--progress=plain`.',
  },
  {
    variable: 'TSBUILD_SECRETS_KEY',
    takes: 'any text',
    otherwise: 'secrets are stored readable, for the user only',
    meaning: 'Encrypts stored secrets.',
  },
  {
    variable: 'TSBUILD_SECRETS_KEY_FILE',
    key: 'secretsKeyFile',
    takes: 'a file',
    otherwise: 'none',
    meaning: 'The same, from a file. `TSBUILD_SECRETS_KEY` stands over it.',
  },
];

export const CONFIG_KEYS: readonly string[] = SETTINGS.flatMap(({ key }) => (key === undefined ? [] : [key]));
