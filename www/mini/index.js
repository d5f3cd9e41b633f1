/** The model for browsers. Addresses are spelt out, because that is how bundlers find what to copy. */

import manifest from './model/manifest.js';

export default {
  name: 'rsafe-mini',
  manifest,
  files: {
    'tokenizer.json': new URL('./model/tokenizer.json', import.meta.url).href,
    'model-00001.safetensors': new URL('./model/model-00001.safetensors', import.meta.url).href,
  },
};
