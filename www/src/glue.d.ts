/** The glue lies beside the built code, not beside its source. */
declare module '*/wasm/cpu.js' {
  const exports: Record<string, unknown>;
  export default exports;
}
