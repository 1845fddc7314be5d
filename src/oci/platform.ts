/** Source: OCI image-spec v1.1, `image-index.md`, property `platform`. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}
