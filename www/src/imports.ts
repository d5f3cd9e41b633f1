/** Where code is imported while it runs, and where that cannot be. */

import { GuardError } from './errors.ts';

/** @throws GuardError `unsupported` in a service worker */
export function needsImport(): void {
  if (!('ServiceWorkerGlobalScope' in globalThis)) return;
  const message =
    'a service worker has no `import()`, which finds the compiled guard and the model; ' +
    "import { createGuard } from 'rsafe/workerd' there, and give it `wasm` and `model`";
  throw new GuardError('unsupported', message);
}
