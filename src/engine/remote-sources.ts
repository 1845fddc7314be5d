/** What one build gets from web servers and git repositories, with the credentials of that build. */
import { GitRepositories } from './git-repositories.ts';
import { HttpFiles } from './http-files.ts';
import type { EngineParts } from './parts.ts';
import type { AuthSecrets } from './source-auth.ts';

export interface RemoteSourcesOptions {
  /** Secrets of the build by id, for credentials with fixed names. @defaultValue none */
  readonly secrets?: AuthSecrets;
  /** Socket of the ssh agent that the build was given. @defaultValue none: ssh has no keys */
  readonly sshAuthSock?: () => Promise<string | undefined>;
}

/** Connects to nobody until somebody asks. */
export class RemoteSources implements AsyncDisposable {
  readonly http: HttpFiles;
  readonly git: GitRepositories;

  constructor(
    { store, settings, environment }: Pick<EngineParts, 'store' | 'settings' | 'environment'>,
    { secrets = async () => undefined, sshAuthSock }: RemoteSourcesOptions = {},
  ) {
    const shared = { records: store.sources, offline: settings.offline, environment, secrets };
    this.http = new HttpFiles({ ...shared, blobs: store.blobs });
    this.git = new GitRepositories({
      ...shared,
      storeDir: store.dir,
      scratchFile: (name) => store.scratchFile(name),
      ...(sshAuthSock === undefined ? {} : { sshAuthSock }),
    });
  }

  async close(): Promise<void> {
    await this.http.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
