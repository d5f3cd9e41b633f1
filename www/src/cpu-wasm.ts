/** What bundlers for the edge make of `rsafe/cpu.wasm`: types only, of the file that is compiled. */

declare const wasm: WebAssembly.Module;
export default wasm;
