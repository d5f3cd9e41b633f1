/** The model that travels with the package. Addresses are spelt out, because that is how bundlers find what to copy;
 * `scripts/build.mjs` checks that they are the manifest's files and puts the manifest's text in. */

import { GuardError } from './errors.ts';
import type { Bundled } from './model/source.ts';

declare const RSAFE_MINI_MANIFEST: string;

/** `assets` is where a copy of the package's files lies; absent: beside the code. */
export const bundled = (assets?: string): Bundled => ({
  manifest: RSAFE_MINI_MANIFEST,
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
