/** What a build was given by id on the command line: secrets, and agents for ssh. */
import { type BuildSecret, type BuildSecretValue, buildSecretReader } from '../secret/build-secret.ts';
import type { SshAgentSpec } from '../secret/ssh-agent-spec.ts';
import { type SshAgentSocket, SshAgents } from '../secret/ssh-agents.ts';

export interface GivenById {
  readonly secret: (id: string) => Promise<BuildSecretValue>;
  /** Undefined when the build was given none of that id. */
  readonly agent: (id: string) => Promise<SshAgentSocket | undefined>;
}

/** Nothing is read or started before a step needs it. Disposing of it ends the agents that were started. */
export function openGivenById(
  {
    secrets = [],
    ssh = [],
  }: { readonly secrets?: readonly BuildSecret[]; readonly ssh?: readonly SshAgentSpec[] },
  surroundings: { readonly environment: NodeJS.ProcessEnv; readonly cwd: string },
): GivenById & AsyncDisposable {
  const agents = new SshAgents(ssh, surroundings);
  return {
    secret: buildSecretReader(secrets, surroundings),
    agent: (id) => agents.socketOf(id),
    [Symbol.asyncDispose]: () => agents[Symbol.asyncDispose](),
  };
}
