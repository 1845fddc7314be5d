/**
 * The parts of undici that connections are made of. All of it, with its `fetch`, WebSockets and caches, takes three times as long to load, which
 * is more than the few requests of a command that finds nothing new.
 */
import { createRequire } from 'node:module';
import type { Agent, buildConnector, Dispatcher, ProxyAgent } from 'undici';

export interface Undici {
  readonly Agent: typeof Agent;
  /** Asks for all of undici. */
  readonly proxyAgent: () => typeof ProxyAgent;
  readonly buildConnector: typeof buildConnector;
  /** `Dispatcher.request`. */
  readonly request: (
    this: Dispatcher,
    options: Dispatcher.RequestOptions,
  ) => Promise<Dispatcher.ResponseData>;
}

export function loadUndici(): Undici {
  const require = createRequire(import.meta.url);
  const whole = () => require('undici') as typeof import('undici');
  const proxyAgent = () => whole().ProxyAgent;
  try {
    return {
      Agent: require('undici/lib/dispatcher/agent.js'),
      proxyAgent,
      buildConnector: require('undici/lib/core/connect.js'),
      request: require('undici/lib/api/api-request.js'),
    };
  } catch {
    // Another version may have them elsewhere.
    const { Agent, buildConnector, Dispatcher } = whole();
    return { Agent, proxyAgent, buildConnector, request: Dispatcher.prototype.request };
  }
}
