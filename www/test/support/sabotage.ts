/** Script for a page or a worker that breaks the platform under the library, the way it breaks in the field. */

/** A module whose only function, `trap`, is `unreachable`: what a Rust panic ends in. */
const TRAP = [
  0x00,
  0x61,
  0x73,
  0x6d,
  0x01,
  0x00,
  0x00,
  0x00, // magic, version
  0x01,
  0x04,
  0x01,
  0x60,
  0x00,
  0x00, // type: () -> ()
  0x03,
  0x02,
  0x01,
  0x00, // one function of that type
  0x07,
  0x08,
  0x01,
  0x04,
  0x74,
  0x72,
  0x61,
  0x70,
  0x00,
  0x00, // exported as `trap`
  0x0a,
  0x05,
  0x01,
  0x03,
  0x00,
  0x00,
  0x0b, // its body
];

/** Lets the second check of a realm end in a trap: in the call itself, or in a later step of its future. The exports of
 * wasm-bindgen have these names; a build in which they are called otherwise is an error here, not a test that passes. */
export const trapInSecondCheck = (where: 'call' | 'step'): string => `{
  const { trap } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([${TRAP}]))).exports;
  let checks = 0;
  let armed = false;
  const sabotaged = (instance) => {
    const exports = Object.assign(Object.create(null), instance.exports);
    const names = Object.keys(exports);
    const check = names.find((name) => /guard_check$/.test(name));
    const steps = names.filter((name) => /invoke/.test(name));
    if (!check || steps.length === 0) throw new Error('expected exports of wasm-bindgen but got ' + names.join(', '));
    const real = exports[check];
    exports[check] = (...args) => {
      checks += 1;
      if (checks === 2 && ${where === 'call'}) trap();
      armed = checks === 2;
      return real(...args);
    };
    for (const name of steps) {
      const step = exports[name];
      exports[name] = (...args) => {
        if (armed) {
          armed = false;
          trap();
        }
        return step(...args);
      };
    }
    return Object.create(WebAssembly.Instance.prototype, { exports: { value: exports } });
  };
  const instantiate = WebAssembly.instantiate;
  WebAssembly.instantiate = async (source, imports) => {
    const made = await instantiate(source, imports);
    return source instanceof WebAssembly.Module ? sabotaged(made) : { ...made, instance: sabotaged(made.instance) };
  };
  WebAssembly.instantiateStreaming = async (response, imports) => {
    const bytes = await (await response).arrayBuffer();
    return WebAssembly.instantiate(bytes, imports);
  };
}`;

/** Takes away what the SIMD build needs. */
export const withoutSimd = 'WebAssembly.validate = () => false;';

/** Takes WebGPU away. */
export const withoutGpu = `
  for (const kind of [globalThis.Navigator, globalThis.WorkerNavigator]) {
    if (kind) Object.defineProperty(kind.prototype, 'gpu', { value: undefined });
  }`;

/** Takes the origin's private files away. */
export const withoutOpfs = 'delete globalThis.FileSystemFileHandle;';

/** Lets a software adapter pass for a GPU, so that `auto` considers it. */
export const softwareAsGpu = `
  for (const kind of [globalThis.GPUAdapterInfo, globalThis.GPUAdapter]) {
    if (kind && 'isFallbackAdapter' in kind.prototype) {
      Object.defineProperty(kind.prototype, 'isFallbackAdapter', { get: () => false });
    }
  }`;

/** Drops every dispatch without a word: what a shader that does not validate looks like from outside. */
export const deafGpu = `
  GPUComputePassEncoder.prototype.dispatchWorkgroups = () => {};
  GPUComputePassEncoder.prototype.dispatchWorkgroupsIndirect = () => {};`;

/** Keeps the devices that are made, as `devices`, so that a test can take them away. */
export const keepDevices = `{
  globalThis.devices = [];
  const real = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...args) {
    const device = await real.apply(this, args);
    globalThis.devices.push(device);
    return device;
  };
}`;
