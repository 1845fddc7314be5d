/**
 * Which archive of python-build-standalone each series is, and what it hashes to (A1.4 of the Image API). The digests are of
 * what the project published; they are here so that no mirror is trusted (docs/adr/0013-standalone-python.md).
 */
export interface StandaloneRelease {
  /** Of python-build-standalone: a day. */
  readonly release: string;
  /** Of CPython. */
  readonly version: string;
  /** How the archive's name ends, after the target triple. */
  readonly flavour:
    | 'install_only.tar.gz'
    | 'install_only_stripped.tar.gz'
    | 'freethreaded+pgo+lto-full.tar.zst';
  readonly sha256: { readonly amd64: string; readonly arm64: string };
}

export const STANDALONE_RELEASES: Readonly<Record<string, StandaloneRelease>> = {
  '3.10': {
    release: '20230826',
    version: '3.10.13',
    flavour: 'install_only.tar.gz',
    sha256: {
      amd64: 'ba512bcca3ac6cb6d834f496cd0a66416f0a53ff20b05c4794fa82ece185b85a',
      arm64: '0479cf10254adbf7a554453874e91bb526ba62cbac8a758f6865cdcdbef20f2d',
    },
  },
  '3.11': {
    release: '20230826',
    version: '3.11.5',
    flavour: 'install_only.tar.gz',
    sha256: {
      amd64: 'fbed6f7694b2faae5d7c401a856219c945397f772eea5ca50c6eb825cbc9d1e1',
      arm64: 'bb5c5d1ea0f199fe2d3f0996fff4b48ca6ddc415a3dbd98f50bff7fce48aac80',
    },
  },
  '3.12': {
    release: '20240107',
    version: '3.12.1',
    flavour: 'install_only.tar.gz',
    sha256: {
      amd64: '74e330b8212ca22fd4d9a2003b9eec14892155566738febc8e5e572f267b9472',
      arm64: '236533ef20e665007a111c2f36efb59c87ae195ad7dca223b6dc03fb07064f0b',
    },
  },
  '3.13': {
    release: '20241008',
    version: '3.13.0',
    flavour: 'install_only_stripped.tar.gz',
    sha256: {
      amd64: 'aa876c2660a802d0df8ef46f9c4b1c952e63c65d16e103663c22b9468dad40b7',
      arm64: '1bfc058821199c4313ae67bb6c105df2c9dd3515bca955ff96724976acf64462',
    },
  },
  '3.14': {
    release: '20251205',
    version: '3.14.2',
    flavour: 'install_only_stripped.tar.gz',
    sha256: {
      amd64: '39e256f39f4aa117bad065528febf381b63cf99bc8650f8e901362975ac0b67b',
      arm64: '5175b3ae01f131aaa85672aca43f4be5ff45f4a3cf6a499a1333e3b67cb83114',
    },
  },
  // Free-threaded builds are published as full archives only.
  '3.14t': {
    release: '20251209',
    version: '3.14.2',
    flavour: 'freethreaded+pgo+lto-full.tar.zst',
    sha256: {
      amd64: '3728872ffd74989a7b4bbf3f0c629ae8fe821cda2bd6544012c1b92b9f5d5a5b',
      arm64: 'adfcb90f3a7e1b3fbc6a99f9c8c8dce1f2e26ea72b724bbe4e9fa39e81e2b0db',
    },
  },
};
