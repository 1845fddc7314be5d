/** Another place to pull from. Pushes always go to the origin. */
export interface Mirror {
  /** The registry that it mirrors: `docker.io`, `registry.example:5000`. */
  readonly host: string;
  /** `https://mirror.example` or `https://mirror.example/prefix`, where the prefix goes before the repository. */
  readonly url: string;
  /** @defaultValue 'all' */
  readonly pull?: 'all' | 'digest-only' | 'tag-only';
}
