/** The model that travels with the package. Addresses are spelt out, because that is how bundlers find what to copy. */

import manifest from '../../models/rsafe-mini/manifest.json' with { type: 'json' };
import { GuardError } from './errors.ts';
import type { Bundled } from './model/source.ts';

/** `assets` is where a copy of the package's files lies; absent: beside the code. */
export const bundled = (assets?: string): Bundled => ({
  manifest: JSON.stringify(manifest),
  locate(name) {
    if (assets !== undefined) return new URL(`model/rsafe-mini/${name}`, assets);
    switch (name) {
      case 'tokenizer.json':
        return new URL('./model/rsafe-mini/tokenizer.json', import.meta.url);
      case 'model-00001.safetensors':
        return new URL('./model/rsafe-mini/model-00001.safetensors', import.meta.url);
    }
    throw new GuardError('bad_model', `the package has no file ${name}`);
  },
});
