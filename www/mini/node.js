/** The model for Node. Bundlers of servers must leave its files where they are: a copy of theirs lies where only browsers
 * look. They follow `new URL('…', import.meta.url)`, but not this. */

import manifest from './model/manifest.js';

const beside = (path, here = import.meta.url) => new URL(path, here).href;

export default {
  name: 'rsafe-mini',
  manifest,
  files: {
    'tokenizer.json': beside('model/tokenizer.json'),
    'model-00001.safetensors': beside('model/model-00001.safetensors'),
  },
};
