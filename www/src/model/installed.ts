/** The model that a guard takes where none is named: a package of its own, found by its name. */

import { GuardError } from '../errors.ts';
import { needsImport } from '../imports.ts';
import { MINI, type ModelSpec } from './source.ts';

/** The name stands in the call, which is how bundlers find the package, and in a `try`, which lets them pass where it is not
 * installed.
 *
 * @throws GuardError `bad_model` where it is not there, `unsupported` in a service worker */
export async function installedModel(): Promise<ModelSpec> {
  needsImport();
  try {
    const { name, manifest, files } = (await import('rsafe-mini')).default;
    return { kind: 'package', name, manifest, files };
  } catch (cause) {
    const message =
      `expected a \`model\`, or the package ${MINI}, which cannot be had here (${String(cause)}); ` +
      `run \`npm install ${MINI}\`, or pass \`model\`: in a page without a bundler, what \`import mini from '/…/${MINI}/index.js'\` gives`;
    throw new GuardError('bad_model', message, { cause });
  }
}
