/** Every error code with who acts and what it means; docs/reference/errors.md is generated from this table. */
export interface ErrorCodeFacts {
  readonly who: 'step' | 'definition' | 'usage' | 'host' | 'remote' | 'integrity' | 'internal';
  readonly meaning: string;
}

export const ERROR_CODES = {
  E_INTERNAL: { who: 'internal', meaning: 'An invariant of tsbuild broke. Please report it.' },

  // Definition (Image API).
  E_NOT_STRINGS: {
    who: 'definition',
    meaning: 'A list of strings holds something else, or is nested too deep.',
  },
  E_UNKNOWN_OPTION: { who: 'definition', meaning: 'An option that the method does not have.' },
  E_ARG_TYPE: { who: 'definition', meaning: 'A named argument has the wrong type or is given twice.' },
  E_EMPTY_COMMAND: { who: 'definition', meaning: 'A command with nothing but white space.' },
  E_OPTION_VALUE_MISSING: { who: 'definition', meaning: 'An inline pip or uv option lacks its value.' },
  E_UNDEFINED_VARIABLE: {
    who: 'definition',
    meaning: 'A variable in braces that no secret, step variable or image variable defines.',
  },
  E_ENV_NOT_STRING: { who: 'definition', meaning: 'A value given to env() is not a string.' },
  E_PYTHON_VERSION_TYPE: { who: 'definition', meaning: 'A Python version that is not a string.' },
  E_PYTHON_VERSION_FORMAT: { who: 'definition', meaning: 'A Python version of the wrong shape.' },
  E_PYTHON_VERSION_UNSUPPORTED: {
    who: 'definition',
    meaning: 'A Python series that this base or builder version does not have.',
  },
  E_PYTHON_MICRO: { who: 'definition', meaning: '`addPython` takes a series, not an exact version.' },
  E_FREE_THREADED: { who: 'definition', meaning: 'A free-threaded Python where none exists.' },
  E_BUILDER_VERSION: { who: 'definition', meaning: 'An unknown builder version.' },
  E_REMOTE_PATH_RELATIVE: { who: 'definition', meaning: 'A path in the image must be absolute here.' },
  E_GPU_FORMAT: {
    who: 'definition',
    meaning:
      'A request for GPUs that is none, such as H100, A100-80GB:4, all, device=0 or any,memory>=40GB; or a list where one request is taken.',
  },
  E_STEP_AFTER_MOUNT: {
    who: 'definition',
    meaning: 'A build step follows local files that are only mounted.',
  },
  E_FN_NOT_FUNCTION: {
    who: 'definition',
    meaning:
      'What should run in a container is not a plain function, or not one at the top level of its module.',
  },
  E_FN_ANONYMOUS: { who: 'definition', meaning: 'A function without a name of its own, bound, or native.' },
  E_FN_CAPTURES: {
    who: 'definition',
    meaning: 'An inline function uses names from around it, which do not exist in the container.',
  },
  E_FN_KWARGS: {
    who: 'definition',
    meaning: 'Keyword arguments for a function that is not written in Python.',
  },
  E_FN_ARGS_TOO_LARGE: { who: 'definition', meaning: 'The arguments of a function are larger than 2 MiB.' },
  E_FN_NOT_FOUND: {
    who: 'definition',
    meaning: 'A file has no function of that name at its top level, or a module no such export.',
  },
  E_FN_BUNDLE: { who: 'definition', meaning: 'The module of a function cannot be bundled.' },
  E_FN_RESULT: {
    who: 'definition',
    meaning: 'A function returned what cannot be carried out of its container.',
  },
  E_IMPORT_UNAVAILABLE: {
    who: 'definition',
    meaning: 'What image.imports() names was used where it is not there, or not yet.',
  },
  E_BUNDLER_MISSING: {
    who: 'host',
    meaning: 'The optional package `rolldown`, which bundles modules of functions, is not installed.',
  },
  E_IGNORE_AND_CONDITION: { who: 'definition', meaning: '`ignore` and `condition` are both given.' },
  E_BAD_PATTERN: { who: 'definition', meaning: 'An ignore pattern that cannot be parsed.' },
  E_LOCAL_FILE_MISSING: {
    who: 'definition',
    meaning: 'A local file that the definition names does not exist.',
  },
  E_LOCAL_DIR_MISSING: {
    who: 'definition',
    meaning: 'A local directory that the definition names does not exist.',
  },
  E_COPY_SOURCE_MISSING: {
    who: 'definition',
    meaning: 'A build context does not hold what an instruction takes from it, or an ignore file hides it.',
  },
  E_LOCAL_NOT_DIR: { who: 'definition', meaning: 'A directory is expected where there is something else.' },
  E_MODULE_NOT_FOUND: {
    who: 'definition',
    meaning: 'A Python module is in none of the directories that are looked into, or has no Python files.',
  },
  E_MODULE_BINARY: {
    who: 'definition',
    meaning: 'A local Python module has compiled parts, which may not run in the image.',
  },
  E_NO_DOCKERFILE: { who: 'definition', meaning: 'An image does something that no Dockerfile can say.' },
  E_REQUIREMENTS_NESTED: {
    who: 'definition',
    meaning: 'A requirements file names other local files, which do not travel with it.',
  },
  E_PYPROJECT_MISSING: {
    who: 'definition',
    meaning: 'There is no pyproject.toml where the call expects it.',
  },
  E_PYPROJECT_SYNTAX: {
    who: 'definition',
    meaning: 'A pyproject.toml that is not TOML, or whose dependencies are not lists of requirements.',
  },
  E_PYPROJECT_NO_DEPENDENCIES: {
    who: 'definition',
    meaning: 'A pyproject.toml that has no list of dependencies.',
  },
  E_PYPROJECT_UNKNOWN_GROUP: {
    who: 'definition',
    meaning: 'A pyproject.toml does not have those optional dependencies.',
  },
  E_UV_WORKSPACE: {
    who: 'definition',
    meaning: 'A pyproject.toml is the root of a workspace of uv, of which only this file would travel.',
  },
  E_POETRY_LOCK_MISSING: { who: 'definition', meaning: 'The lock file of a Poetry project does not exist.' },
  E_PRIVATE_REPO_NO_SECRET: {
    who: 'definition',
    meaning: 'Private repositories are to be installed without a secret that holds a token.',
  },
  E_PRIVATE_REPO_HOST: {
    who: 'definition',
    meaning: 'A private repository that is not of github.com or gitlab.com.',
  },
  E_NOT_A_PYTHON_PACKAGE: {
    who: 'definition',
    meaning: 'A local path that is no wheel, source archive, project or package of Python.',
  },
  E_FILE_CHANGED_DURING_BUILD: {
    who: 'definition',
    meaning: 'An input file changed after the build began, or between being read and being copied.',
  },
  E_SECRET_TYPE: { who: 'definition', meaning: 'Something that is not a Secret where a Secret belongs.' },
  E_SECRET_KEY: { who: 'definition', meaning: 'A variable name that is not one.' },
  E_SECRET_VALUE: { who: 'definition', meaning: 'A variable value that is not a string.' },
  E_SECRET_NOT_FOUND: { who: 'definition', meaning: 'No stored secret of that name.' },
  E_SECRET_MISSING_KEYS: {
    who: 'definition',
    meaning: 'A stored secret lacks a variable that the definition requires of it.',
  },
  E_SECRET_MISSING: { who: 'definition', meaning: 'A secret that a step requires has no value.' },
  E_SSH_MISSING: { who: 'definition', meaning: 'A step requires an ssh agent that the build was not given.' },
  E_FILE_TOO_LARGE: { who: 'definition', meaning: 'A file of the image is larger than what was asked for.' },
  E_PATH_BLOCKED: {
    who: 'definition',
    meaning: 'A directory is where a file must go in the image, or the other way round.',
  },
  E_BAD_MODE: { who: 'definition', meaning: 'A mode that chmod would not take.' },
  E_TOO_MANY_LAYERS: {
    who: 'definition',
    meaning: 'An image of more layers than the kernel can stack.',
  },
  E_NAME: { who: 'definition', meaning: 'A name that a secret, a volume or an environment cannot have.' },
  E_VOLUME_PATH: {
    who: 'definition',
    meaning: 'A volume is to be mounted where that is not possible, or a path within a volume is not plain.',
  },
  E_VOLUME_TYPE: { who: 'definition', meaning: 'Something that is not a Volume where a Volume belongs.' },
  E_OBJECT_NOT_FOUND: { who: 'definition', meaning: 'No secret or volume of that name to delete.' },
  E_VOLUME_NOT_FOUND: { who: 'definition', meaning: 'No volume of that name.' },
  E_VOLUME_READ_ONLY: {
    who: 'definition',
    meaning: 'A change through a handle of a volume that is read-only.',
  },
  E_VOLUME_DUPLICATE: {
    who: 'definition',
    meaning: 'One volume is to be mounted at two places of one call.',
  },
  E_ENVIRON_MISSING: {
    who: 'definition',
    meaning: 'An environment variable that a secret reads is not set.',
  },
  E_IMAGE_NAME: { who: 'definition', meaning: 'A name or reference of an image that cannot be parsed.' },
  E_IMAGE_TAG: { who: 'definition', meaning: 'A name of an image with a tag that is none.' },
  E_IMAGE_NAME_PREFIX: { who: 'definition', meaning: 'A name of an image that begins as ids do.' },
  E_IMAGE_NOT_FOUND: { who: 'definition', meaning: 'No image of that name or id in the store.' },
  E_IMAGE_IN_USE: { who: 'definition', meaning: 'An image of the store is part of another one.' },
  E_NO_PLATFORM: { who: 'definition', meaning: 'An image has no variant for the wanted platform.' },
  E_NOTHING_TO_RUN: { who: 'definition', meaning: 'Neither a command nor an entrypoint to run.' },
  E_NO_SHELL: { who: 'definition', meaning: 'A shell is asked for, and the image has neither bash nor sh.' },
  E_FILE_NOT_FOUND: { who: 'definition', meaning: 'No such file in the image.' },
  E_LOGS_LAYERS: { who: 'definition', meaning: 'A number of layers to show logs of that is below 1.' },
  E_NOT_BUILT: { who: 'definition', meaning: 'The image was not built yet.' },
  E_DEFINITION_LOAD: {
    who: 'definition',
    meaning: 'The definition file cannot be loaded, or exports no image.',
  },
  E_PARAM_UNKNOWN: {
    who: 'usage',
    meaning: 'A `--param` names a parameter that the definition does not have, or that reaches no function.',
  },
  E_PARAM_VALUE: {
    who: 'usage',
    meaning: 'The value of a `--param` is not of the type that the definition declares.',
  },
  E_PACKAGE_NOT_FOUND: {
    who: 'definition',
    meaning: 'A Debian package that the suite does not have, or whose dependencies it does not have.',
  },
  E_PACKAGE_CONFLICT: {
    who: 'definition',
    meaning: 'Debian packages that cannot be installed together.',
  },
  E_LAYER_UNREPRESENTABLE: {
    who: 'definition',
    meaning: 'A file that a layer cannot represent, such as a real name beginning with `.wh.`.',
  },

  E_MOUNT_TARGET: {
    who: 'definition',
    meaning: 'Something in the image is in the way of a mount, or its path cannot be resolved.',
  },

  E_DOCKERFILE_EMPTY: { who: 'definition', meaning: 'A Dockerfile without any instruction.' },
  E_DOCKERFILE_SYNTAX: {
    who: 'definition',
    meaning:
      'A Dockerfile whose lines cannot be put together: a directive, a heredoc, a line too long, no stage.',
  },
  E_DOCKERFILE_INSTRUCTION: {
    who: 'definition',
    meaning: 'An instruction of a Dockerfile that does not exist or whose arguments are wrong.',
  },
  E_DOCKERFILE_FLAG: {
    who: 'definition',
    meaning: 'A flag of an instruction that does not exist, is given twice or has a wrong value.',
  },
  E_DOCKERFILE_VARIABLE: {
    who: 'definition',
    meaning:
      'An expansion of a variable that cannot be parsed, or `${name:?message}` of one that is not set.',
  },

  E_UNKNOWN_USER: { who: 'definition', meaning: 'A user or group that the image does not have.' },

  E_DOCKERFILE_STAGE: {
    who: 'definition',
    meaning: 'A stage of a Dockerfile that does not exist, comes too late or has no proper base.',
  },
  E_DOCKERFILE_CHECK: {
    who: 'definition',
    meaning: 'Build checks that are to fail the build found something, or their options cannot be read.',
  },
  E_ENTITLEMENT: {
    who: 'definition',
    meaning: 'A Dockerfile asks for something that it has to be trusted with, and is not.',
  },
  E_NO_CONTEXT: { who: 'definition', meaning: 'A Dockerfile copies files, and there is no build context.' },
  E_SOURCE_DATE_EPOCH: {
    who: 'definition',
    meaning: 'SOURCE_DATE_EPOCH is neither a number nor something that has a time.',
  },
  E_GIT_URL: {
    who: 'definition',
    meaning: 'The URL of a git repository that cannot be understood or contradicts itself.',
  },
  E_GIT_NOT_FOUND: {
    who: 'definition',
    meaning: 'A git repository does not have that branch, tag, commit or directory.',
  },
  E_URL: { who: 'definition', meaning: 'A URL that cannot be read.' },
  E_CHECKSUM: { who: 'definition', meaning: 'A checksum that cannot be used.' },
  E_OUTPUT_CONFLICT: {
    who: 'definition',
    meaning: 'Images of several platforms that are written to one place hold the same file.',
  },
  E_CONTEXT: { who: 'definition', meaning: 'Something that cannot be a build context.' },

  // Command line.
  E_USAGE: { who: 'usage', meaning: 'The command line cannot be understood.' },
  E_SECCOMP_PROFILE: { who: 'usage', meaning: 'A file that is given as a seccomp profile is none.' },
  E_NO_TERMINAL: { who: 'usage', meaning: 'A terminal is asked for, and standard input is none.' },
  E_FAILED_STEP_NOT_FOUND: { who: 'usage', meaning: 'No failed step of that id is kept in the store.' },
  E_CACHE_MOUNT_NOT_FOUND: { who: 'usage', meaning: 'No cache mount of that id in the store.' },
  E_CACHE_MOUNT_IN_USE: { who: 'usage', meaning: 'A cache mount that a step is using cannot be touched.' },
  E_SECRET_EXISTS: { who: 'usage', meaning: 'A secret of that name is stored already.' },
  E_VOLUME_EXISTS: { who: 'usage', meaning: 'A volume of that name is there already.' },
  E_STORE_IN_USE: {
    who: 'usage',
    meaning: 'The store is to be emptied, and somebody else is at work in it.',
  },
  E_VOLUME_IN_USE: {
    who: 'usage',
    meaning: 'A volume that a step or a container is using cannot be deleted.',
  },
  E_OUTPUT_UNSAFE: {
    who: 'usage',
    meaning: 'An output that deletes extra files was given a directory that holds more than outputs.',
  },
  E_OUTPUT_EXISTS: { who: 'usage', meaning: 'The destination of an output exists and is something else.' },

  // Steps.
  E_BUILD_FAILED: { who: 'step', meaning: 'A step ended with a status other than 0.' },
  E_BUILD_SIGNAL: { who: 'step', meaning: 'A step was ended by a signal.' },
  E_MUSL_PYTHON: {
    who: 'step',
    meaning: 'A Python that needs glibc is to be added to a base with musl.',
  },
  E_BUILD_TIMEOUT: { who: 'step', meaning: 'A step ran longer than its time limit.' },
  E_BUILD_MEMORY: { who: 'step', meaning: 'A step used more memory than its limit and was ended.' },
  E_STEP_NOT_STARTED: {
    who: 'step',
    meaning: 'The program of a step does not exist in the image or cannot be executed.',
  },

  // Host.
  E_USERNS: {
    who: 'host',
    meaning: 'No isolation works here: what user namespaces or mounts need is forbidden.',
  },
  E_ISOLATION: {
    who: 'host',
    meaning: 'The isolation that was asked for does not work here, or cannot do what a step asks for.',
  },
  E_SUBUID_MISSING: {
    who: 'host',
    meaning:
      'A file or a step is to belong to a user id that is not to be had here: outside of the subordinate ids, or where there are none and it cannot be recorded either.',
  },
  E_STORE_MAP: { who: 'host', meaning: 'The store was written with another mapping of user ids.' },
  E_SECRET_STORE_MODE: {
    who: 'host',
    meaning: 'A stored secret or a key file that others than its owner can read.',
  },
  E_SECRET_STORE_KEY: {
    who: 'host',
    meaning: 'A stored secret that cannot be opened: its key is not given, or is another one.',
  },
  E_STORE_VERSION: { who: 'host', meaning: 'The store was written by a newer tsbuild.' },
  E_SNAPSHOT_MISSING: { who: 'host', meaning: 'A layer that the build needs was removed from the store.' },
  E_OVERLAY_DENIED: { who: 'host', meaning: 'The kernel refuses an overlay mount.' },
  E_PLATFORM_EMULATION: {
    who: 'host',
    meaning: 'A step is for another architecture, whose programs this machine cannot execute.',
  },
  E_SECCOMP: { who: 'host', meaning: 'The kernel cannot filter system calls, or does not take the profile.' },
  E_SANDBOX_MISSING: {
    who: 'host',
    meaning: 'The sandbox (bubblewrap, runc or crun) is not installed or cannot run.',
  },
  E_WORKER_START: { who: 'host', meaning: 'The worker process could not be started.' },
  E_WORKER_DIED: { who: 'host', meaning: 'The worker process ended unexpectedly.' },
  E_DISK_FULL: { who: 'host', meaning: 'No space is left on a device.' },
  E_IO: { who: 'host', meaning: 'A system call failed.' },
  E_NATIVE_MISSING: { who: 'host', meaning: 'The native helper is not built for this platform.' },
  E_TOOL_MISSING: {
    who: 'host',
    meaning: 'A program that the build needs, such as git, is not on this machine.',
  },
  E_SSH_KEY: { who: 'host', meaning: 'A key given with --ssh cannot be served by an agent.' },
  E_TERMINAL: { who: 'host', meaning: 'No pseudo-terminal can be opened in the sandbox.' },
  E_ULIMIT: {
    who: 'host',
    meaning: 'A step asks for a resource limit that this machine does not allow.',
  },
  E_LIMITS: {
    who: 'host',
    meaning:
      'A limit of memory, processors or processes cannot be kept, and `TSBUILD_LIMITS_POLICY` is `require`.',
  },
  E_NETWORK_PRIVATE: {
    who: 'host',
    meaning: 'A private network cannot be made: pasta is not installed, or this machine has no way out.',
  },
  E_GPU_UNAVAILABLE: {
    who: 'host',
    meaning:
      'A step asks for GPUs that this machine does not have, not so many, or not with that memory or compute capability.',
  },
  E_DEVICE_UNAVAILABLE: {
    who: 'host',
    meaning: 'A device that a step requires is not on this machine, or wants a hook that is not known.',
  },
  E_CA_BUNDLE: { who: 'host', meaning: 'The certificate bundle of this machine cannot be read.' },

  // Remote.
  E_AUTH: { who: 'remote', meaning: 'A registry refused the credentials, or they are incomplete.' },
  E_REGISTRY: { who: 'remote', meaning: 'A registry answered with an error.' },
  E_REGISTRY_NOT_FOUND: { who: 'remote', meaning: 'A registry does not have that repository, tag or blob.' },
  E_BLOB_GONE: {
    who: 'remote',
    meaning: 'A blob that a registry or a cache promised is no longer there.',
  },
  E_NETWORK: { who: 'remote', meaning: 'A server cannot be reached or broke the connection.' },
  E_REFUSED_URL: { who: 'remote', meaning: 'A server sent us to an address that it must not choose.' },
  E_ARCHIVE_FETCH: { who: 'remote', meaning: "A file of Debian's archive cannot be fetched." },
  E_FETCH: { who: 'remote', meaning: 'A web server does not give the file that the build asks for.' },
  E_GIT: { who: 'remote', meaning: 'git could not get what the build asks for from a repository.' },
  E_OFFLINE: { who: 'remote', meaning: 'The build needs the network, and it is forbidden.' },

  // Integrity.
  E_DIGEST_MISMATCH: { who: 'integrity', meaning: 'Bytes do not have the digest that they should have.' },
  E_SIZE_MISMATCH: { who: 'integrity', meaning: 'Bytes do not have the size that they should have.' },
  E_SECRET_STORE_DAMAGED: { who: 'integrity', meaning: 'A stored secret is not what tsbuild wrote.' },
  E_SIGNATURE: { who: 'integrity', meaning: 'A signature is missing, wrong or by an unknown key.' },
  E_SNAPSHOT_DAMAGED: {
    who: 'integrity',
    meaning: 'What the store records of an unpacked layer is damaged.',
  },
  E_BLOB_DAMAGED: { who: 'integrity', meaning: 'A blob of the store is damaged.' },
  E_BAD_ARCHIVE: {
    who: 'integrity',
    meaning: 'A tar, gzip, zstd or Debian archive is malformed or hostile.',
  },
  E_ARCHIVE_LIMIT: {
    who: 'integrity',
    meaning: 'An archive expands beyond the limits (a decompression bomb).',
  },
  E_BAD_CACHE: { who: 'integrity', meaning: 'An exported cache is malformed or of an unknown version.' },
  E_BAD_MANIFEST: { who: 'integrity', meaning: 'A manifest, index or image config is malformed.' },
  E_UNSUPPORTED_MEDIA_TYPE: {
    who: 'integrity',
    meaning: 'A manifest or layer of a type that tsbuild does not read.',
  },
} as const satisfies Readonly<Record<string, ErrorCodeFacts>>;

export type ErrorCode = keyof typeof ERROR_CODES;
