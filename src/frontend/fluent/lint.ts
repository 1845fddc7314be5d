/** Warnings about style, given only when asked for (B14 of the Image API, `--lint`). */
import type { Diagnostic } from './diagnostic.ts';
import type { LayerDefinition } from './layer-definition.ts';
import { isPinned } from './requirement-tokens.ts';

const INSTALLS = [
  'aptInstall',
  'pipInstall',
  'pipInstallFromRequirements',
  'uvPipInstall',
  'uvPipInstallFromRequirements',
  'pipInstallFromPyproject',
  'pipInstallPrivateRepos',
  'uvSync',
  'poetryInstallFromFile',
  'addPythonPackages',
];

export function lint(layers: readonly LayerDefinition[]): Diagnostic[] {
  return layers.flatMap((layer, index): Diagnostic[] => {
    const found: Diagnostic[] = [];
    const unpinned = layer.requirements.filter((requirement) => !isPinned(requirement));
    if (unpinned.length > 0) {
      const message = `no version is given for ${unpinned.join(', ')}; what is newest changes without notice`;
      found.push({ code: 'W_UNPINNED', message, layer: index });
    }
    if (layer.method === 'pipInstall' || layer.method === 'pipInstallFromRequirements') {
      const message = `${layer.method}() could be uv${layer.method[0]?.toUpperCase()}${layer.method.slice(1)}(), which is faster`;
      found.push({ code: 'W_PIP_WHERE_UV', message, layer: index });
    }
    // Requirement files travel with their own install; only whole copies before an install are meant.
    const copies = layer.method.startsWith('copyLocal') || layer.method.startsWith('addLocal');
    const later = copies ? layers.slice(index + 1).find((each) => installsSomethingElse(each)) : undefined;
    if (later !== undefined) {
      const message = `${layer.method}() comes before ${later.method}(), which is repeated whenever the files change`;
      found.push({ code: 'W_ORDER', message, layer: index });
    }
    return found;
  });
}

/** An install from a file that was copied before has to follow the copy. */
function installsSomethingElse(layer: LayerDefinition): boolean {
  const usesImageFiles = layer.steps.some(
    (step) => step.kind === 'run' && /\s(-r|-c|-e|--requirement|--constraint|--editable)[ =]/.test(step.text),
  );
  return INSTALLS.includes(layer.method) && !usesImageFiles;
}
