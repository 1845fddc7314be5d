/** Flags that several commands have, so that they mean the same everywhere. */
import { ISOLATION_CHOICES } from '../base/isolation.ts';
import { isObjectName } from '../base/object-name.ts';
import { GPU_FORMS, parseGpuRequest } from '../frontend/fluent/gpu-request.ts';
import type { Platform } from '../oci/platform.ts';
import { BadValue, choice, flag, list, nonEmpty, value, wholeNumber } from './option.ts';
import { parseParam } from './param-values.ts';
import { PROGRESS_KINDS } from './progress/open.ts';
import { parseCpus, parseDuration, parseMemoryLimit } from './quantity.ts';

export const PROGRESS_OPTION = choice({
  long: 'progress',
  valueName: 'KIND',
  words: PROGRESS_KINDS,
  summary: 'How progress is drawn',
  detail:
    'How progress is drawn, on standard error. `tty` draws live lines, `plain` writes lines that fit a log, `json` writes one event on each line, `quiet` writes nothing. `auto` is `tty` on a terminal and `plain` elsewhere; `TERM=dumb` is no terminal, and `NO_COLOR` removes colours.',
  defaultText: 'auto',
});

export const QUIET_OPTION = flag({
  long: 'quiet',
  short: 'q',
  summary: 'Draw no progress',
  detail: 'Draws no progress; results and errors are still written. The same as `--progress=quiet`.',
});

export const OFFLINE_OPTION = flag({
  long: 'offline',
  summary: 'Fail instead of fetching; steps keep their network',
  detail:
    'Fails with `E_OFFLINE` where tsbuild itself would use the network, such as for a base image that is not in the store. Steps keep the network that they ask for.',
  environment: 'TSBUILD_OFFLINE',
});

export const PLATFORM_OPTION = value({
  long: 'platform',
  valueName: 'OS/ARCH',
  summary: 'Which variant of an image to use',
  detail: 'The platform of base images and of the result, such as `linux/amd64` or `linux/arm64`.',
  defaultText: 'that of this machine',
  completion: ['linux/amd64', 'linux/arm64'],
  parse: parsePlatform,
});

export const PLATFORMS_OPTION = list({
  long: 'platform',
  valueName: 'OS/ARCH',
  summary: 'Platforms to build for',
  detail:
    'The platform of base images and of the result, such as `linux/amd64` or `linux/arm64`. Several, with commas between them or the flag again, make one image index with an image for each. Steps of another architecture need an emulator: see `tsbuild doctor`.',
  defaultText: 'that of this machine',
  completion: ['linux/amd64', 'linux/arm64', 'linux/amd64,linux/arm64'],
  parse: (given) => given.split(',').map((part) => parsePlatform(part.trim())),
});

export const ENVIRONMENT_OPTION = value({
  long: 'environment',
  valueName: 'NAME',
  summary: 'Namespace of the name',
  detail: 'The namespace in which secrets and volumes have their names.',
  defaultText: 'main',
  environment: 'TSBUILD_ENVIRONMENT',
  parse: (given) => {
    if (!isObjectName(given)) {
      throw new BadValue(`'${given}' cannot be the name of an environment`);
    }
    return given;
  },
});

/** Of every command that takes definitions. */
export const PARAM_OPTION = list({
  long: 'param',
  valueName: 'NAME=VALUE',
  summary: 'Give a parameter of the definition another value',
  detail:
    "Gives a parameter that the definition declares, as in `export const params = { python: '3.12', debug: false }`, another value of the same type. The functions that the definition exports receive all of them. Of a switch the name alone means true. See [definitions](../guide/definitions.md).",
  parse: parseParam,
});

/** Of every command that plans or builds definitions. */
export const BUILDER_VERSION_OPTION = choice({
  long: 'builder-version',
  valueName: 'VERSION',
  words: ['2025.06', '2026.10', 'PREVIEW'],
  summary: 'What the factories of definitions mean',
  detail:
    'The builder version of images whose factory pins none: which Debian, Ubuntu and Python the factories stand for. Another one builds everything anew.',
  defaultText: '2026.10',
  environment: 'TSBUILD_IMAGE_BUILDER_VERSION',
});

/** Of every command that looks for devices. */
export const DEVICE_OPTIONS = {
  cdiDir: list({
    long: 'cdi-dir',
    valueName: 'DIR',
    summary: 'A further directory that describes devices',
    detail:
      'A directory with specifications of the Container Device Interface, besides `/etc/cdi` and `/var/run/cdi` and over them. May be repeated; a later one stands over an earlier one.',
    environment: 'TSBUILD_CDI_DIRS',
    completion: 'directory',
    parse: nonEmpty,
  }),
  driverRoot: value({
    long: 'driver-root',
    valueName: 'DIR',
    summary: "The tree that NVIDIA's driver is in",
    detail:
      "Where `/proc/driver/nvidia`, `/dev/nvidia*`, the libraries and programs of NVIDIA's driver are looked for, for GPUs that nothing describes. Of use where the driver lives in a container of its own.",
    defaultText: '/',
    environment: 'TSBUILD_DRIVER_ROOT',
    completion: 'directory',
    parse: nonEmpty,
  }),
} as const;

/** Of every command that can lend GPUs itself. */
export const GPUS_OPTION = value({
  long: 'gpus',
  valueName: 'REQUEST',
  summary: 'Lend GPUs',
  detail:
    'GPUs of this machine: `all`, a number, a type and how many (`any`, `H100`, `A100-80GB:4`), or certain ones (`device=0,2`, `device=GPU-…`, `device=0:1` for a part). `memory>=40GB` and `compute>=8.0` after a comma say what each must have at least. Where they are not to be had it fails with `E_GPU_UNAVAILABLE`; see `--gpu-policy` and [GPUs](../guide/gpus.md).',
  defaultText: 'none',
  parse: (given) => {
    // Docker reads it as a line of CSV, for which scripts quote it.
    const text = given.replace(/^"(.*)"$/, '$1');
    if (parseGpuRequest(text) === undefined) {
      throw new BadValue(`'${given}' is no request for GPUs; ${GPU_FORMS}`);
    }
    return text;
  },
});

/** Of every command that looks into images, cache mounts or volumes: a store belongs to the ids that it was made with. */
export const ISOLATION_OPTION = choice({
  long: 'isolation',
  valueName: 'KIND',
  words: ISOLATION_CHOICES,
  summary: 'How steps are kept apart from this machine',
  detail:
    'How steps, and whatever else touches the files of an image, are kept apart from this machine: as `privileged` root, in a user namespace with `subordinate-ids` or with a `single-id`, or, weakly, in a `chroot` that shares the processes around it. `auto` is the best that works; `tsbuild doctor` tries them all. See [containers and CI](../guide/containers-and-ci.md).',
  defaultText: 'auto',
  environment: 'TSBUILD_ISOLATION',
});

/** Of commands that remove things. */
export const REMOVAL_OPTIONS = {
  dryRun: flag({
    long: 'dry-run',
    summary: 'Only say what would be removed',
    detail: 'Removes nothing and says what would be removed.',
  }),
  json: flag({
    long: 'json',
    summary: 'Print JSON',
    detail: 'Prints one JSON object with what was removed.',
  }),
  isolation: ISOLATION_OPTION,
} as const;

/** Flags of every command that runs steps. */
export const ENGINE_OPTIONS = {
  progress: PROGRESS_OPTION,
  quiet: QUIET_OPTION,
  jobs: value({
    long: 'jobs',
    short: 'j',
    valueName: 'N',
    summary: 'How many steps run at once',
    detail: 'How many steps run at the same time, at most.',
    defaultText: 'twice the number of processors, at least 8',
    parse: wholeNumber(1),
  }),
  hostCa: choice({
    long: 'host-ca',
    valueName: 'WHEN',
    words: ['auto', 'always', 'never'],
    summary: "Lend this machine's certificates to steps",
    detail:
      'Whether steps trust the certificate authorities that this machine trusts. They are lent to the step only and enter no layer. `auto` lends them when this machine trusts authorities beyond the public ones, as behind a proxy that inspects TLS.',
    defaultText: 'auto',
  }),
  isolation: ISOLATION_OPTION,
  offline: OFFLINE_OPTION,
  builderVersion: BUILDER_VERSION_OPTION,
  gpuPolicy: choice({
    long: 'gpu-policy',
    valueName: 'POLICY',
    words: ['auto', 'strict', 'ignore'],
    summary: 'Which GPUs satisfy a step that asks for some',
    detail:
      'What a step or container that asks for GPUs gets. `auto` takes any that are there in number and warns when they are of another type, `strict` takes only those of the type, `ignore` lends none and warns. Where there are too few, it fails with `E_GPU_UNAVAILABLE` before it starts.',
    defaultText: 'auto',
    environment: 'TSBUILD_GPU_POLICY',
  }),
  ...DEVICE_OPTIONS,
  seccomp: value({
    long: 'seccomp',
    valueName: 'PROFILE',
    summary: 'Which system calls steps get',
    detail:
      "Which system calls steps get: `default` is [tsbuild's own profile](seccomp.md), `unconfined` all of them, or a file with a profile as `docker run --security-opt seccomp=FILE` takes it. Not part of any cache key. Steps of `--security=insecure` have none.",
    defaultText: 'default',
    environment: 'TSBUILD_SECCOMP',
    parse: (given) => given,
  }),
  sandbox: choice({
    long: 'sandbox',
    valueName: 'PROGRAM',
    words: ['auto', 'bubblewrap', 'runc', 'crun'],
    summary: 'What makes the sandboxes of steps',
    detail:
      'The program that makes the sandboxes of steps and containers. `auto` is bubblewrap, or `runc` or `crun` where they are installed and a step needs what bubblewrap cannot give: `sudo` under another user than root, or `--security=insecure`. What a step makes is the same in each, and the choice is in no key. See [sandboxes](../guide/sandboxes.md).',
    defaultText: 'auto',
    environment: 'TSBUILD_SANDBOX',
  }),
  memory: value({
    long: 'memory',
    valueName: 'SIZE',
    summary: 'Memory that a step or container may use',
    detail:
      'How much memory each step, and the command of `run`, may use with all that it starts, such as `512m` or `2g`. One that needs more fails with `E_BUILD_MEMORY`. Where no control group can be had it is not kept, which a warning says; see [limits and network](../guide/limits-and-network.md).',
    defaultText: 'no limit',
    parse: parseMemoryLimit,
  }),
  cpus: value({
    long: 'cpus',
    valueName: 'N',
    summary: 'Processors that a step or container may use',
    detail:
      'How many processors each step, and the command of `run`, may use, such as `1.5`. Kept as `--memory`.',
    defaultText: 'all',
    parse: parseCpus,
  }),
  pidsLimit: value({
    long: 'pids-limit',
    valueName: 'N',
    summary: 'Processes that a step or container may have',
    detail:
      'How many processes and threads each step, and the command of `run`, may have at a time. Kept as `--memory`.',
    defaultText: 'no limit',
    parse: wholeNumber(1),
  }),
  stepTimeout: value({
    long: 'step-timeout',
    valueName: 'TIME',
    summary: 'End a step after this time',
    detail:
      'Ends each command of a step that runs longer than this, such as `90s` or `1h`, with `E_BUILD_TIMEOUT`.',
    defaultText: 'no limit',
    parse: parseDuration,
  }),
  stepRetries: value({
    long: 'step-retries',
    valueName: 'N',
    summary: 'Run a step that failed again',
    detail:
      'How often a step that failed is run again, on the file system that it began with, with waits that grow from half a second. What cannot be another time otherwise, such as a program that is not there, is not tried again.',
    defaultText: '0',
    parse: wholeNumber(0),
  }),
} as const;

const PART = /^[a-z0-9][a-z0-9._-]*$/;

export function parsePlatform(given: string): Platform {
  const [os = '', architecture = '', variant, ...more] = given.split('/');
  const parts = variant === undefined ? [os, architecture] : [os, architecture, variant];
  if (more.length > 0 || !parts.every((part) => PART.test(part))) {
    throw new BadValue(`'${given}' is not a platform such as linux/amd64`);
  }
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
}
