/** The build for WebGPU, `rsafe/webgpu`: where it lies. An entry of its own, so that bundlers copy its 13 MB for those alone who ask
 * for it. */

import type { WebgpuBuild } from './types.ts';

const webgpu: WebgpuBuild = {
  glue: new URL('./wasm/webgpu.js', import.meta.url).href,
  code: new URL('./wasm/webgpu.wasm', import.meta.url).href,
};
export default webgpu;
