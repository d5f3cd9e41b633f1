/** SHA-256 where the platform has it. Insecure pages do not; the core checks every file again in any case. */

/** 32 bytes, or `undefined` where there is no `crypto.subtle`. */
export async function digest(bytes: Uint8Array): Promise<Uint8Array | undefined> {
  const found = await globalThis.crypto?.subtle?.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
  return found && new Uint8Array(found);
}

/** The same as 64 lower-case hexadecimal digits. */
export async function sha256(bytes: Uint8Array): Promise<string | undefined> {
  const found = await digest(bytes);
  return found && Array.from(found, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Whether the bytes are the ones promised, as far as can be told here. */
export async function matches(bytes: Uint8Array, promised: string): Promise<boolean> {
  const found = await sha256(bytes);
  return found === undefined || found === promised;
}
