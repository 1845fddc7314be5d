/** A converted Dockerfile as text that a reader can check: vertices in order, configuration, history, findings. */
import { canonicalJson } from '../../src/base/canonical-json.ts';
import type { DockerfileGraph } from '../../src/frontend/dockerfile/convert.ts';
import { topologicalOrder, type Vertex } from '../../src/graph/vertex.ts';
import { formatPlatform } from '../../src/oci/platform.ts';

export function graphText(graph: DockerfileGraph): string {
  const order = topologicalOrder([graph.tip.vertex]);
  const number = new Map(order.map((each, index) => [each.digest, index + 1]));
  const lines = order.flatMap((each) => {
    const inputs = each.inputs.map((edge) => `#${number.get(edge.vertex.digest)}`).join(' ');
    const flags = each.force === true ? ' force' : '';
    return [
      `#${number.get(each.digest)} ${each.label}${inputs === '' ? '' : ` ← ${inputs}`}${flags}`,
      ...operationLines(each, graph).map((line) => `    ${line}`),
    ];
  });
  return `${[
    ...lines,
    '',
    `platform ${formatPlatform(graph.platform)}`,
    ...(graph.author === undefined ? [] : [`author ${graph.author}`]),
    ...(graph.sourceDateEpoch === undefined ? [] : [`epoch ${graph.sourceDateEpoch}`]),
    ...Object.entries(graph.config)
      .toSorted(([left], [right]) => (left < right ? -1 : 1))
      .map(([name, value]) => `config ${name} ${JSON.stringify(value)}`),
    ...graph.history.map(
      (entry) =>
        `history${entry.empty_layer === true ? ' empty' : ''}${entry.created === undefined ? '' : ` ${entry.created}`} ${JSON.stringify(entry.created_by ?? entry.comment ?? '')}`,
    ),
    ...graph.findings.map(
      ({ rule, location, message }) => `check ${rule} line ${location?.startLine ?? '-'}: ${message}`,
    ),
    ...(graph.checkFailure === undefined ? [] : [`fails ${graph.checkFailure.message}`]),
    ...graph.warnings.map(({ code, message }) => `warning ${code}: ${message}`),
    ...graph.outline.args.map((arg) => `takes ARG ${canonicalJson(plain(arg))}`),
    ...graph.outline.secrets.map((use) => `takes secret ${canonicalJson(plain(use))}`),
    ...graph.outline.ssh.map((use) => `takes agent ${canonicalJson(plain(use))}`),
  ].join('\n')}\n`;
}

function operationLines({ operation }: Vertex, graph: DockerfileGraph): string[] {
  switch (operation.kind) {
    case 'build':
      return operation.actions.map((action) => {
        const { kind, ...rest } = action;
        // Proxies would not be seen otherwise, and bodies are read as text.
        const data = 'data' in rest ? { data: Buffer.from(rest.data, 'base64').toString('utf8') } : {};
        return `${kind} ${canonicalJson(plain({ ...rest, ...data }))}`;
      });
    case 'source-local': {
      const input = graph.contextInputs.get(operation.input);
      return [
        `${input?.name} ${input?.directory} ${canonicalJson(plain(input?.selections ?? []))}${input?.ignore === undefined ? '' : ` without ${input.ignore.name}`}`,
      ];
    }
    case 'scratch':
    case 'merge':
      return [operation.kind];
    default: {
      const { kind, ...rest } = operation;
      return [`${kind} ${canonicalJson(plain(rest))}`];
    }
  }
}

function plain(value: unknown): Parameters<typeof canonicalJson>[0] {
  return JSON.parse(JSON.stringify(value)) as Parameters<typeof canonicalJson>[0];
}
