/** What the worker imports by the package's name: its workerd form, and the compiled module as bundlers give it. */

declare module 'rsafe' {
  type Guard = import('./guard.ts').EdgeGuard;
  type Options = import('../../src/types.ts').GuardOptions;
  export function createGuard(options: Options & { wasm: WebAssembly.Module }): Promise<Guard>;
}

declare module 'rsafe/cpu.wasm' {
  const module: WebAssembly.Module;
  export default module;
}
