/** Every warning code with who says it and what it means; docs/reference/warnings.md is generated from this table. */
export interface WarningCodeFacts {
  /** `lint` is only given when it is asked for. */
  readonly by: 'plan' | 'build' | 'lint';
  readonly meaning: string;
}

export const WARNING_CODES = {
  // Definition.
  W_APT_PURGE: { by: 'plan', meaning: '`--purge` given to aptInstall() removes nothing; aptRemove() does.' },
  W_BUILD_ARG_UNUSED: { by: 'plan', meaning: 'No ARG declares a build arg that is given.' },
  W_CD_LOST: { by: 'plan', meaning: 'A command ends in `cd`, which the next one does not see.' },
  W_EXPORT_LOST: { by: 'plan', meaning: 'A command only exports a variable, which nothing sees.' },
  W_COPY_UNFILTERED: {
    by: 'plan',
    meaning: 'A directory is copied with a `.git` or `node_modules` that nothing ignores.',
  },
  W_IGNORE_ROOT_ONLY: {
    by: 'plan',
    meaning: 'An ignore pattern without a slash matches nothing at the top, but would below.',
  },
  W_SYMLINK_OUTSIDE: { by: 'plan', meaning: 'A link that leads out of the directory is left out.' },
  W_FORCE_BUILD_LEFT: {
    by: 'plan',
    meaning: 'A call has `forceBuild: true`, so that it and what follows are built anew every time.',
  },
  W_PYTHON_FALLBACK: {
    by: 'plan',
    meaning: "The series of the host's Python is not supported, and another one is taken.",
  },
  W_IGNORED_OPTION: { by: 'plan', meaning: 'An option is accepted and has no effect here.' },
  W_GLOBAL_UNSERIALIZABLE: {
    by: 'plan',
    meaning: 'A value in `globals` cannot be handed to a build function; it is in no key.',
  },
  W_SYNTAX_IGNORED: { by: 'plan', meaning: 'The frontend that a Dockerfile asks for is not run.' },

  // Build and run.
  W_CACHE: { by: 'build', meaning: 'A cache of another machine cannot be read, or not be written.' },
  W_CACHE_LOST: { by: 'build', meaning: 'A layer that a cache promised is gone; what made it runs again.' },
  W_CONTEXT: { by: 'build', meaning: 'Devices and pipes of a build context are left out.' },
  W_DEVICE: {
    by: 'build',
    meaning:
      'A description of devices cannot be read or does not hold for this machine, or a step may not be able to use a device that it has.',
  },
  W_DEVICES_RECORDED: {
    by: 'build',
    meaning: 'Device nodes are empty files here, and devices in the image.',
  },
  W_DOTENV_MISSING: {
    by: 'build',
    meaning: 'There is no file for Secret.fromDotenv(); the secret is empty.',
  },
  W_OWNERS_PRETENDED: {
    by: 'build',
    meaning:
      'There is one user id, and something above tsbuild keeps it from recording others: files belong to root, whatever a step says.',
  },
  W_EVENTS_DROPPED: {
    by: 'build',
    meaning: 'An EventStream left out events that nobody read in time.',
  },
  W_FILE_CHANGED_DURING_BUILD: {
    by: 'build',
    meaning: 'An input file changed after the build began, and `TSBUILD_BUILD_VALIDATION` is `warn`.',
  },
  W_GPU_IGNORED: {
    by: 'build',
    meaning: 'A step asks for GPUs and gets none, because the policy is `ignore`.',
  },
  W_GPU_TYPE: { by: 'build', meaning: 'The GPUs that a step gets are of another type than it asks for.' },
  W_NO_TERMINAL: {
    by: 'build',
    meaning: 'A shell is asked for where a step fails, and there is no terminal to open it on.',
  },
  W_IMPORTS_ERROR: { by: 'build', meaning: 'The loader of image.imports() failed outside of its image.' },
  W_OWNERS_FLATTENED: {
    by: 'build',
    meaning: 'Files of several owners belong to one in a cache mount, since there is one user id.',
  },
  W_ISOLATION_CHROOT: {
    by: 'build',
    meaning: 'Steps are kept apart by little more than a file system of their own.',
  },
  W_ISOLATION_SINGLE_ID: {
    by: 'build',
    meaning: 'Steps have a single user id, because there are no subordinate ids.',
  },
  W_LIMITS: {
    by: 'build',
    meaning:
      'A limit of memory, processors or processes is not kept, for there is no control group to keep it.',
  },
  W_PROXY_LOOPBACK: {
    by: 'build',
    meaning: "A proxy is on this machine's loopback interface, where a private network does not lead.",
  },
  W_STEP_RETRIED: { by: 'build', meaning: 'A step failed and is run again, for it has retries left.' },
  W_REGISTRY: {
    by: 'build',
    meaning: 'A registry or a mirror of it does not behave, and another way was taken.',
  },
  W_SECRET_IN_LAYER: { by: 'build', meaning: 'A file of a layer holds the value of a secret of its step.' },

  // Style.
  W_ORDER: {
    by: 'lint',
    meaning: 'Local files are copied before an install, which is repeated whenever they change.',
  },
  W_PIP_WHERE_UV: { by: 'lint', meaning: 'pip installs what uv would install faster.' },
  W_UNPINNED: {
    by: 'lint',
    meaning: 'A requirement says no version; what is newest changes without notice.',
  },
} as const satisfies Record<string, WarningCodeFacts>;
