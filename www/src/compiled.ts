/** What bundlers for the edge make of `rsafe/cpu.wasm` and `rsafe/webgpu.wasm`: types only, of the files that are compiled. */

declare const wasm: WebAssembly.Module;
export default wasm;
