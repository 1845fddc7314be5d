/** What a registry is told, by what an image says about it (A1.4 to A1.6 of the Image API). */
import { RemoteError } from '../errors.ts';
import type { RegistryLogin } from '../frontend/fluent/layer-definition.ts';
import { type SecretSources, secretValues } from '../secret/secret.ts';
import { type CredentialSource, fixedCredentials } from '../transport/registry/credentials.ts';

/** Which user name Google's registries take for "a key file follows". */
const GCP_USER = '_json_key';

/**
 * For one host. Secrets are read now, tokens are asked for when a registry is connected to.
 *
 * @throws {RemoteError} `E_AUTH` when the secret lacks something.
 */
export async function credentialsFor(
  host: string,
  { type, secret }: RegistryLogin,
  {
    environment,
    secretSources,
  }: { readonly environment: NodeJS.ProcessEnv; readonly secretSources: SecretSources },
): Promise<CredentialSource> {
  if (secret === undefined) {
    throw new RemoteError(`cannot log in to ${host}: the image names no secret`, {
      code: 'E_AUTH',
      hint: `pass secret: Secret.fromDict({ ${VARIABLES[type]}: … })`,
    });
  }
  const values = await secretValues(secret, secretSources);
  switch (type) {
    case 'static': {
      const { REGISTRY_USERNAME: username, REGISTRY_PASSWORD: password } = values;
      if (username === undefined || password === undefined) {
        throw new RemoteError('the registry secret lacks REGISTRY_USERNAME or REGISTRY_PASSWORD', {
          code: 'E_AUTH',
          hint: 'give a Secret with both variables',
        });
      }
      return fixedCredentials(host, { username, password });
    }
    case 'gcp': {
      const { SERVICE_ACCOUNT_JSON: password } = values;
      if (password === undefined) {
        throw new RemoteError('the registry secret lacks SERVICE_ACCOUNT_JSON', {
          code: 'E_AUTH',
          hint: 'it holds the content of the key file, not its path',
        });
      }
      return fixedCredentials(host, { username: GCP_USER, password });
    }
    case 'aws': {
      const { ecrCredentials } = await import('../transport/registry/ecr-credentials.ts');
      return ecrCredentials({ host, values, environment });
    }
  }
}

const VARIABLES = {
  static: 'REGISTRY_USERNAME, REGISTRY_PASSWORD',
  gcp: 'SERVICE_ACCOUNT_JSON',
  aws: 'AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION',
};
